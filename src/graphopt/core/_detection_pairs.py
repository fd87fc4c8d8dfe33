"""Pair the boxes of two sides: within a class, the nearest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Boxes: TypeAlias = tuple[Floats, Floats, Indices]
"""Boxes [n, 4], scores [n], class numbers [n]."""

SAME_OBJECT = 0.5
"""IoU from which two boxes of a class are taken for one object that moved."""
_BLOCK = 1 << 18
"""Pairs looked at in one go."""


@dataclass(frozen=True)
class Pairs:
    """A one-to-one assignment.

    Attributes:
        first: rows of the one side.
        second: their partners.
        within: whether both lie within the tolerance; else they only overlap.
    """

    first: Indices
    second: Indices
    within: NDArray[np.bool_]


def overlaps(one: Floats, two: Floats) -> Floats:
    """Return the IoU [n, m] of boxes [n, 4] and [m, 4]; boxes without area overlap nothing."""
    corner = np.maximum(one[:, np.newaxis, :2], two[np.newaxis, :, :2])
    end = np.minimum(one[:, np.newaxis, 2:], two[np.newaxis, :, 2:])
    shared = np.prod(np.clip(end - corner, 0, None), axis=2)
    union = _area(one)[:, np.newaxis] + _area(two)[np.newaxis] - shared
    ratio: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def pair_rows(one: Boxes, two: Boxes, *, box: float, score: float) -> Pairs:
    """Pair rows of one class, those within the tolerance first, nearest first; then by IoU.

    Where boxes of a class lie within the tolerance of several others, the nearest takes its partner first.

    Args:
        one: rows of the one side.
        two: of the other.
        box: allowed difference of a coordinate.
        score: allowed difference of a score.
    """
    found = [
        _assign(*_candidates(one, two, label, box=box, score=score))
        for label in np.intersect1d(one[2], two[2])
    ]
    if not found:
        nothing = np.zeros(0, np.int64)
        return Pairs(nothing, nothing, np.zeros(0, bool))
    first, second, within = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Pairs(first, second, within)


def _candidates(
    one: Boxes, two: Boxes, label: np.int64, *, box: float, score: float
) -> tuple[Indices, Indices, Floats]:
    """Return the pairs that may be one object, and how far apart: up to 1 is within the tolerance."""
    mine, its = np.flatnonzero(one[2] == label), np.flatnonzero(two[2] == label)
    parts: list[tuple[Indices, Indices, Floats]] = []
    for rows in _blocks(mine, len(its)):
        far = np.abs(one[0][rows][:, np.newaxis] - two[0][its][np.newaxis]).max(axis=2)
        apart = np.abs(one[1][rows][:, np.newaxis] - two[1][its][np.newaxis])
        distance = np.maximum(_share(far, box), _share(apart, score))
        overlap = overlaps(one[0][rows], two[0][its])
        near = distance <= 1
        distance = np.where(near, distance, 3 - overlap)
        row, column = np.nonzero(near | (overlap >= SAME_OBJECT))
        parts.append((rows[row], its[column], distance[row, column]))
    first, second, distances = (np.concatenate(items) for items in zip(*parts, strict=True))
    return first, second, distances


def _blocks(rows: Indices, width: int) -> Iterator[Indices]:
    step = max(1, _BLOCK // max(1, width))
    yield from (rows[start : start + step] for start in range(0, len(rows), step))


def _share(error: Floats, allowed: float) -> Floats:
    if allowed > 0:
        return error / allowed
    return np.where(error == 0, 0.0, np.inf)


def _assign(first: Indices, second: Indices, distance: Floats) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    used: tuple[set[int], set[int]] = (set(), set())
    taken: list[int] = []
    for place in np.lexsort((second, first, distance)):
        row, column = int(first[place]), int(second[place])
        if row not in used[0] and column not in used[1]:
            used[0].add(row)
            used[1].add(column)
            taken.append(int(place))
    chosen = np.array(taken, np.int64)
    return first[chosen], second[chosen], distance[chosen] <= 1


def _area(boxes: Floats) -> Floats:
    area: Floats = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    return area
