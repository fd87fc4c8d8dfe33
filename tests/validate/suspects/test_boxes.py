"""Each mistake that is made to boxes is named, and nothing is named where there is none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.validate.suspects.boxes import suspect_boxes
from graphopt.validate.suspects.pairing import BoxesOfImages, Places

Floats = NDArray[np.float64]
CANVAS = (133.0, 80.0)
IMAGES = 6


def places() -> Places:
    """Six images of different sizes, scaled to fit 133 x 80 and centred, by whole pixels."""
    sizes = np.array([[160, 120], [90, 131], [200, 90], [64, 64], [301, 117], [77, 50]], np.float64)
    fit = np.minimum(CANVAS[0] / sizes[:, 0], CANVAS[1] / sizes[:, 1])[:, np.newaxis]
    scaled = np.floor(sizes * fit)
    canvas = np.tile(np.array(CANVAS), (IMAGES, 1))
    return Places(
        start=np.floor((canvas - scaled) / 2),
        scale=scaled / sizes,
        size=scaled,
        canvas=canvas,
        published_start=(canvas - sizes * fit) // 2,
        published_scale=np.tile(fit, 2),
    )


def boxes(seed: int = 0, *, each: int = 7) -> BoxesOfImages:
    """Boxes inside their images."""
    rng, at = np.random.default_rng(seed), places()
    image = np.repeat(np.arange(IMAGES), each)
    corner = rng.uniform(0, 0.6, (len(image), 2))
    end = corner + rng.uniform(0.15, 0.4, (len(image), 2))
    inner = np.hstack([corner, end]) * np.tile(at.size[image], 2) + np.tile(at.start[image], 2)
    return BoxesOfImages(
        boxes=inner,
        scores=rng.uniform(0.3, 1, len(image)),
        labels=rng.integers(0, 5, len(image)),
        image=image,
    )


def noisy(side: BoxesOfImages, *, by: float = 0.02, seed: int = 1) -> BoxesOfImages:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(side))
    moved = side.boxes + rng.normal(0, by, side.boxes.shape)
    return BoxesOfImages(
        boxes=moved[order], scores=side.scores[order], labels=side.labels[order], image=side.image[order]
    )


def wronged(change: Callable[[Floats, Places], Floats], seed: int = 0) -> str:
    right = boxes(seed)
    wrong = replace(right, boxes=change(right.boxes, places().of(right.image)))
    return suspect_boxes(right, noisy(wrong), places())[0]


MISTAKES: dict[str, Callable[[Floats, Places], Floats]] = {
    "x and y swapped": lambda b, _: b[:, [1, 0, 3, 2]],
    "boxes as x, y, width, height": lambda b, _: np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]),
    "boxes as centre, width, height": lambda b, _: np.hstack(
        [(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]]
    ),
    "boxes in pixels of the image, not of the input": lambda b, at: (b - at.start) / at.scale,
    "boxes in pixels of the input, not of the image": lambda b, at: b * at.scale + at.start,
    "padding on the wrong side: the image at the upper left": lambda b, at: b - at.start,
    "an image stretched to the whole input": lambda b, at: (b - at.start) * at.canvas / at.size,
    "boxes scaled by 0.50 ": lambda b, _: b * 0.5,
    "boxes scaled by 1.25 ": lambda b, _: b * 1.25,
    "all boxes shifted alike (+3.00, -2.00 px": lambda b, _: b + np.array([3.0, -2, 3, -2]),
    "a half-pixel shift (+0.50, +0.50 px": lambda b, _: b + 0.5,
    "corners counted as pixels: sides one pixel shorter": lambda b, _: b - np.array([0, 0, 1.0, 1]),
    "corners counted as pixels: sides one pixel longer": lambda b, _: b + np.array([-0.5, -0.5, 0.5, 0.5]),
    "a resize half a pixel of the image off": lambda b, at: b + (at.scale - 1) / 2,
    "the published box mapping": lambda b, at: (
        (b - at.published_start) / at.published_scale * at.scale + at.start
    ),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name: str, seed: int) -> None:
    assert wronged(MISTAKES[name], seed).startswith(name)


def test_boxes_of_0_to_1_are_named() -> None:
    right = boxes()
    wrong = replace(right, boxes=right.boxes / np.tile(np.array(CANVAS), 2))
    found, pairs = suspect_boxes(right, wrong, places())
    assert found.startswith("boxes divided by the size of the input")
    assert pairs.agreement == pytest.approx(1)
    assert sorted(pairs.first.tolist()) == list(range(len(right)))


@pytest.mark.parametrize("by", [0.0, 0.05, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("seed", range(4))
def test_noise_is_not_named(by: float, seed: int) -> None:
    assert suspect_boxes(boxes(seed), noisy(boxes(seed), by=by), places())[0] == ""


@pytest.mark.parametrize("seed", range(4))
def test_other_answers_are_not_named(seed: int) -> None:
    assert suspect_boxes(boxes(seed), boxes(seed + 50), places())[0] == ""


def test_lost_boxes_are_no_shift() -> None:
    right = boxes()
    half = np.arange(0, len(right), 2)
    less = BoxesOfImages(**{name: values[half] for name, values in vars(right).items()})
    found, pairs = suspect_boxes(right, less, places())
    assert found == ""
    assert len(pairs.first) == len(half)


def test_a_few_boxes_say_nothing() -> None:
    right = boxes()
    few = BoxesOfImages(**{name: values[:5] for name, values in vars(right).items()})
    swapped = replace(few, boxes=few.boxes[:, [1, 0, 3, 2]])
    assert suspect_boxes(few, swapped, places())[0] == ""
    nothing = BoxesOfImages(**{name: values[:0] for name, values in vars(right).items()})
    assert suspect_boxes(right, nothing, places())[0] == ""


def test_a_mistake_is_seen_beside_lost_and_new_boxes() -> None:
    right, other = boxes(), boxes(9, each=1)
    kept = np.arange(len(right)) % 6 > 0
    parts = {name: np.concatenate([getattr(right, name)[kept], getattr(other, name)]) for name in vars(right)}
    wrong = BoxesOfImages(**{**parts, "boxes": parts["boxes"][:, [1, 0, 3, 2]]})
    assert suspect_boxes(right, wrong, places())[0].startswith("x and y swapped")
