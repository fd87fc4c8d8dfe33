"""Masks that are turned, mirrored or shifted, or whose classes are numbered otherwise."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from graphopt.validate.suspects.labels import suspect_labels

_AGREE = 0.7
"""Share of equal pixels that an undone mistake must bring."""
_MISSING = 0.5
"""Share of what is missing to 1 that it may leave."""
_SHIFTS = (-2, -1, 1, 2)

Masks = NDArray[np.int64]


def suspect_masks(reference: Masks, candidate: Masks, classes: Sequence[str]) -> str:
    """Say what was done to the candidate's masks.

    Args:
        reference: int64 [images, height, width], class numbers.
        candidate: as ``reference``, in question.
        classes: names by number.

    Returns:
        A clause; empty when there is no system.
    """
    if not reference.size or reference.shape != candidate.shape:
        return ""
    plain = best = float((reference == candidate).mean())
    name = ""
    for clause, undo in _mistakes(reference.shape[1:]):
        share = float((undo(candidate) == reference).mean())
        if share > best:
            best, name = share, clause
    if name and best >= _AGREE and 1 - best <= _MISSING * (1 - plain):
        return f"{name} (pixels agree by {plain:.0%}, by {best:.0%} when undone)"
    size = int(max(reference.max(), candidate.max())) + 1
    pairs, counts = np.unique(reference * size + candidate, return_counts=True)
    return suspect_labels(pairs // size, pairs % size, classes, weights=counts)


def _mistakes(shape: Sequence[int]) -> list[tuple[str, Callable[[Masks], Masks]]]:
    """Return what may have been done to masks, and how it is undone."""
    found: list[tuple[str, Callable[[Masks], Masks]]] = [
        ("masks mirrored left to right", lambda masks: masks[:, :, ::-1]),
        ("masks upside down", lambda masks: masks[:, ::-1]),
        ("masks turned by half a turn", lambda masks: masks[:, ::-1, ::-1]),
    ]
    if shape[0] == shape[1]:
        found.append(("x and y swapped", lambda masks: masks.transpose(0, 2, 1)))
    for step in _SHIFTS:
        found.append((f"masks shifted by {step:+d} cells in x", _rolled(2, -step)))
        found.append((f"masks shifted by {step:+d} cells in y", _rolled(1, -step)))
    return found


def _rolled(axis: int, step: int) -> Callable[[Masks], Masks]:
    return lambda masks: np.roll(masks, step, axis=axis)
