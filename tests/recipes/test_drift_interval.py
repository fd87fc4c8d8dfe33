"""The interval of a lost point of mAP holds the loss over all images, in about 19 of 20 samples of them."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.runtime.datasets.coco_annotations import CocoObjects
from graphopt.runtime.decode.boxes import FoundObjects
from graphopt.runtime.metrics.weighted_boxes import LazyBoxMap
from graphopt.validate.bootstrap import difference_interval, draw_images

pytest.importorskip("pycocotools")
CLASSES = [("a", 1), ("b", 2)]
ALL, DRAWN, EACH, TRIALS = 900, 40, 3, 40
Sides = tuple[CocoObjects, FoundObjects, FoundObjects]


def population() -> Sides:
    """Objects of many images, a detector, and one that is a little worse on the same images."""
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(ALL), EACH)
    boxes = np.concatenate(
        [rng.uniform(0, 300, (len(image), 2)), rng.uniform(20, 80, (len(image), 2))], axis=1
    )
    label = rng.integers(0, 2, len(image))
    truth = CocoObjects(
        image=image,
        category=label + 1,
        boxes=boxes,
        area=np.prod(boxes[:, 2:], axis=1),
        crowd=np.zeros(len(image), np.bool_),
        ids=np.arange(len(image)),
    )
    guess = np.abs(boxes * (1 + rng.normal(0, 0.06, boxes.shape)))
    first = FoundObjects(image=image, label=label, boxes=guess, scores=rng.uniform(0.1, 1, len(image)))
    worse = np.abs(guess * (1 + rng.normal(0, 0.03, boxes.shape)))
    second = replace(first, boxes=worse).at(rng.random(len(image)) > 0.03)
    return truth, first, second


def sample(sides: Sides, chosen: NDArray[np.int64]) -> Sides:
    place = np.full(ALL, -1)
    place[chosen] = np.arange(len(chosen))
    parts = [side.at(place[side.image] >= 0) for side in sides]
    return tuple(replace(part, image=place[part.image]) for part in parts)  # type: ignore[return-value]


def maps(sides: Sides, weights: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    ids = range(1, weights.shape[1] + 1)
    return [100 * LazyBoxMap(sides[0], side, image_ids=ids, classes=CLASSES)(weights) for side in sides[1:]]


def test_the_interval_covers_in_a_simulation() -> None:
    everything = population()
    first, second = (values[0] for values in maps(everything, np.ones((1, ALL), np.int64)))
    loss = first - second
    assert loss > 1
    rng = np.random.default_rng(2)
    weights = np.concatenate([np.ones((1, DRAWN), np.int64), draw_images(DRAWN, draws=200)])
    held, clear = 0, 0
    for _ in range(TRIALS):
        chosen = np.sort(rng.choice(ALL, DRAWN, replace=False))
        one, two = maps(sample(everything, chosen), weights)
        found = difference_interval(float(one[0] - two[0]), two[1:], one[1:])
        held += found.low <= loss <= found.high
        clear += not found.has_zero
    assert held / TRIALS >= 0.85
    assert clear / TRIALS > 0.1  # it is no interval that always holds everything
