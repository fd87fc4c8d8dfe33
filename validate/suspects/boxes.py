"""Boxes that are all wrong in the same way: another frame, swapped axes, a constant shift."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from graphopt.validate.suspects.labels import LEAST_PAIRS
from graphopt.validate.suspects.pairing import BoxesOfImages, Floats, Pairs, Places, pair_boxes

_AGREE = 0.6
"""Overlap that an undone mistake must bring, of 1 for equal boxes."""
_MISSING = 0.5
"""Share of what is missing to 1 that it may leave."""
_AHEAD = 0.02
"""Overlap by which a later suspicion must be better than an earlier one."""
_LEAST_MOVE = 0.1
"""Pixels of the input below which a shift is rounding."""
_LEFT = 0.5
"""Share of the moves that a shift may leave."""
_SIMPLER = 0.8
"""Share of what an earlier shift leaves that a later one may leave at most."""

_LEAST_FACTOR = 0.05
"""Logarithm of a scale below which it is none."""

Undo = Callable[[Floats, Places], Floats]

_MISTAKES: dict[str, Undo] = {
    "x and y swapped": lambda boxes, _: boxes[:, [1, 0, 3, 2]],
    "boxes as x, y, width, height": lambda boxes, _: np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
    "boxes as centre, width, height": lambda boxes, _: np.hstack(
        [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]
    ),
    "boxes divided by the size of the input": lambda boxes, at: boxes * at.canvas,
    "boxes in pixels of the image, not of the input": lambda boxes, at: boxes * at.scale + at.start,
    "boxes in pixels of the input, not of the image": lambda boxes, at: (boxes - at.start) / at.scale,
    "padding on the wrong side: the image at the upper left of the input": lambda boxes, at: boxes + at.start,
    "padding on the wrong side: the image at the lower right of the input": lambda boxes, at: (
        boxes - (at.canvas - at.size - at.start)
    ),
    "padding that is not taken off": lambda boxes, at: boxes - at.start,
    "an image stretched to the whole input, its aspect not kept": lambda boxes, at: (
        boxes * at.size / at.canvas + at.start
    ),
    "the scales of width and height swapped": lambda boxes, at: (
        (boxes - at.start) / at.scale[:, [1, 0, 3, 2]] * at.scale + at.start
    ),
}
"""What was done to boxes, and how it is undone; the simplest first."""


def suspect_boxes(reference: BoxesOfImages, candidate: BoxesOfImages, places: Places) -> tuple[str, Pairs]:
    """Say what was done to the candidate's boxes.

    Args:
        reference: right answers.
        candidate: answers in question, of the same images.
        places: of these images.

    Returns:
        A clause, empty when there is no system; and which boxes are the same objects once it is undone.
    """
    plain = pair_boxes(reference, candidate)
    if min(len(reference), len(candidate)) < LEAST_PAIRS:
        return "", plain
    at = places.of(candidate.image)
    best, name = plain, ""
    for clause, undo in [*_MISTAKES.items(), *_scaling(reference, candidate)]:
        pairs = pair_boxes(reference, replace(candidate, boxes=undo(candidate.boxes, at)))
        if pairs.agreement > best.agreement + _AHEAD:
            best, name = pairs, clause
    if name and best.agreement >= _AGREE and 1 - best.agreement <= _MISSING * (1 - plain.agreement):
        return f"{name} (boxes overlap by {plain.agreement:.0%}, by {best.agreement:.0%} when undone)", best
    return _suspect_shift(reference, candidate, plain, places), plain


def _scaling(reference: BoxesOfImages, candidate: BoxesOfImages) -> list[tuple[str, Undo]]:
    """Return the factor by which sides differ, as a suspicion; none when it is about 1."""
    sides = [np.median(side.boxes[:, 2:] - side.boxes[:, :2]) for side in (reference, candidate)]
    factor = float(sides[1] / sides[0]) if min(sides) > 0 else 1.0
    if abs(np.log(factor)) < _LEAST_FACTOR:
        return []
    return [(f"boxes scaled by {factor:.2f}", lambda boxes, _: boxes / factor)]


def _suspect_shift(reference: BoxesOfImages, candidate: BoxesOfImages, pairs: Pairs, places: Places) -> str:
    """Say whether all boxes moved alike, by pixels or less."""
    if len(pairs.first) < LEAST_PAIRS:
        return ""
    boxes = reference.boxes[pairs.first]
    moves = candidate.boxes[pairs.second] - boxes
    before = _middle(moves)
    if before < _LEAST_MOVE:
        return ""
    least, name = before, ""
    for clause, expected in _shifts(boxes, moves, places.of(reference.image[pairs.first])):
        left = _middle(moves - expected)
        if left <= _LEFT * before and left < (_SIMPLER * least if name else least):
            least, name = left, clause
    return f"{name} (boxes differ by {before:.2f} px, by {least:.2f} px when undone)" if name else ""


def _middle(moves: Floats) -> float:
    return float(np.median(np.abs(moves).max(axis=1)))


def _shifts(boxes: Floats, moves: Floats, at: Places) -> list[tuple[str, Floats]]:
    """Return what known shifts do to boxes, [n, 4] each, the simplest first."""
    centre = np.median(moves[:, :2] + moves[:, 2:], axis=0) / 2
    longer = 1.0 if np.median(moves[:, 2:] - moves[:, :2]) > 0 else -1.0
    words = f"({centre[0]:+.2f}, {centre[1]:+.2f} px of the input)"
    pixels = f"corners counted as pixels: sides one pixel {'longer' if longer > 0 else 'shorter'}"
    published = (boxes - at.published_start) / at.published_scale * at.scale + at.start - boxes
    resize = f"a resize half a pixel of the image off {words}"
    found = [
        (pixels, longer * np.array([0.0, 0.0, 1.0, 1.0])),
        (pixels, longer * np.array([-0.5, -0.5, 0.5, 0.5])),
        (resize, (at.scale - 1) / 2),
        (resize, (1 - at.scale) / 2),
        ("the published box mapping in place of the real one", published),
        ("the real box mapping in place of the published one", -published),
        (f"all boxes shifted alike {words}", np.tile(centre, 2)),
    ]
    if (np.abs(np.abs(centre) - 0.5) <= 0.1).all():
        found.insert(0, (f"a half-pixel shift {words}", np.tile(np.sign(centre) * 0.5, 2)))
    return found
