"""What was done to a device's results is named from the results alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.recipes.drift_causes import suspicions
from graphopt.runtime.decode.detections import IN_IMAGES
from graphopt.runtime.predictions import Predictions

Change = Callable[[Any], Any]


def predictions(names: list[str], **outputs: Any) -> Predictions:
    return Predictions(names=tuple(names), outputs=outputs)


@pytest.fixture
def attributes(small: Any, tmp_path: Path) -> Callable[[Change], tuple[str, ...]]:
    """Suspicions after a change of logits [N, K] of people."""
    task = small.RECIPE.task
    dataset = task.open_data(small.write_data(tmp_path / "data", count=12))
    names = [sample.name for sample in dataset]
    logits = np.random.default_rng(1).normal(0, 2, (12, len(task.attributes))).astype(np.float32)

    def run(change: Change) -> tuple[str, ...]:
        one, two = predictions(names, output1=logits), predictions(names, output1=change(logits))
        return suspicions(task, dataset, one, two)

    return run


def test_of_attributes(attributes: Callable[[Change], tuple[str, ...]]) -> None:
    assert attributes(lambda logits: logits) == ()
    assert attributes(lambda logits: logits + 0.3) == ()
    (found,) = attributes(lambda logits: np.roll(logits, -1, axis=0))
    assert found.startswith("answers of other images, +1 places on: 00001.png has those of 00002.png")
    (found,) = attributes(lambda logits: np.roll(logits, 2, axis=1))
    assert found.startswith("attributes shifted by +2")
    (found,) = attributes(lambda logits: 1 / (1 + np.exp(-logits)))
    assert found.startswith("probabilities")


@pytest.fixture
def detections(boxes: Any, tmp_path: Path) -> Callable[[Change, Change], tuple[str, ...]]:
    """Suspicions after a change of dets [N, n, 5] and of labels [N, n]."""
    task = boxes.RECIPE.task
    dataset = task.open_data(boxes.write_data(tmp_path / "data", images=5))
    names = [sample.name for sample in dataset]
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 30, (5, 9, 2))
    ends = corner + rng.uniform(5, 18, (5, 9, 2))
    dets = np.concatenate([corner, ends, rng.uniform(0.3, 1, (5, 9, 1))], axis=2).astype(np.float32)
    labels = rng.integers(0, 79, (5, 9))

    def run(change: Change, relabel: Change = lambda labels: labels) -> tuple[str, ...]:
        one = predictions(names, dets=dets, labels=labels)
        two = predictions(names, dets=change(dets.copy()), labels=relabel(labels))
        return suspicions(task, dataset, one, two)

    return run


def test_of_detections(detections: Callable[..., tuple[str, ...]]) -> None:
    def swap(dets: Any) -> Any:
        return dets[..., [1, 0, 3, 2, 4]]

    assert detections(lambda dets: dets) == ()
    (found,) = detections(swap)
    assert found.startswith("x and y swapped")
    (found,) = detections(lambda dets: dets, lambda labels: labels + 1)
    assert found.startswith("labels one too high")
    both = detections(swap, lambda labels: labels + 1)
    assert [text.partition(" (")[0] for text in both] == [
        "x and y swapped",
        "labels one too high: a background class counted in front",
    ]
    (found,) = detections(lambda dets: np.roll(dets, 1, axis=0), lambda labels: np.roll(labels, 1, axis=0))
    assert found.startswith("answers of other images, -1 places on")


def test_detections_in_the_images_are_compared_with_those_in_the_input(boxes: Any, tmp_path: Path) -> None:
    task = boxes.RECIPE.task
    dataset = task.open_data(boxes.write_data(tmp_path / "data"))
    names = [sample.name for sample in dataset]
    rng = np.random.default_rng(3)
    corner = rng.uniform(10, 30, (3, 8, 2))
    rows = np.concatenate([corner, corner + 12, rng.uniform(0.3, 1, (3, 8, 1))], axis=2)
    labels = rng.integers(0, 79, (3, 8))
    inside = predictions(names, dets=rows, labels=labels)
    found = task.detections(dataset, inside)
    in_images = np.concatenate([found.boxes, found.scores[:, np.newaxis]], axis=1).reshape(3, 8, 5)
    mapped = Predictions(names=tuple(names), outputs={IN_IMAGES: in_images, "labels": labels})
    assert suspicions(task, dataset, inside, mapped) == ()
    in_images[..., :4] = np.concatenate([corner, np.full((3, 8, 2), 12.0)], axis=2)  # as if never mapped back
    (clause,) = suspicions(task, dataset, inside, mapped)
    assert clause.startswith("boxes in pixels of the input, not of the image")


def test_of_masks(colours: Any, tmp_path: Path) -> None:
    task = colours.RECIPE.task
    dataset = task.open_data(colours.write_data(tmp_path / "data"))
    names = [sample.name for sample in dataset]
    masks = np.zeros((len(names), 6, 6), np.int64)
    rng = np.random.default_rng(6)
    for mask in masks:
        top, left = rng.integers(0, 3, 2)
        mask[top : top + 4, left : left + 3] = rng.integers(1, 20)

    def logits(classes: Any) -> Predictions:
        return predictions(names, output=np.moveaxis(np.eye(21)[classes], -1, 1))

    def found(change: Change) -> tuple[str, ...]:
        return suspicions(task, dataset, logits(masks), logits(change(masks)))

    assert found(lambda masks: masks) == ()
    assert found(lambda masks: masks[:, :, ::-1])[0].startswith("masks mirrored")
    assert found(lambda masks: masks + 1)[0].startswith("labels one too high")
    assert "+1 places on" in found(lambda masks: np.roll(masks, -1, axis=0))[0]
