"""Which detection is which object: one to one, within an image and a class, the surest first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphopt.runtime.decode.boxes import Boxes, FoundObjects

SAME_OBJECT = 0.5
"""IoU from which a box is taken for an object: COCO's most lenient threshold."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Matches:
    """A one-to-one assignment.

    Attributes:
        truth: int64, of each detection the place of its object; -1 for none.
        found: int64, of each object the place of its detection; -1 for none.
    """

    truth: Indices
    found: Indices


def match_boxes(truth: FoundObjects, found: FoundObjects, *, iou: float = SAME_OBJECT) -> Matches:
    """Give each detection, from the highest score down, the free object that it covers best.

    Args:
        truth: objects, their scores are not looked at.
        found: detections.
        iou: least overlap of a pair.
    """
    first, second = _same_group(truth, found)
    overlap = overlaps(truth.boxes[first], found.boxes[second])
    near = overlap >= iou
    first, second, overlap = first[near], second[near], overlap[near]
    objects, partners = np.full(len(found), -1, np.int64), np.full(len(truth), -1, np.int64)
    # Ties in score and overlap go to what comes first.
    for place in np.lexsort((first, second, -overlap, -found.scores[second])).tolist():
        row, column = int(first[place]), int(second[place])
        if partners[row] < 0 and objects[column] < 0:
            partners[row], objects[column] = column, row
    return Matches(objects, partners)


def covered(regions: FoundObjects, found: FoundObjects, *, share: float = SAME_OBJECT) -> NDArray[np.bool_]:
    """Say which detections lie in a region of their class (a crowd) with this share of their area."""
    first, second = _same_group(regions, found)
    inside = _shared(regions.boxes[first], found.boxes[second])
    area = np.prod(found.boxes[second, 2:], axis=1)
    result = np.zeros(len(found), np.bool_)
    result[second[inside >= share * np.maximum(area, np.finfo(float).tiny)]] = True
    return result


def overlaps(one: Boxes, two: Boxes) -> NDArray[np.float64]:
    """Return the IoU of pairs of boxes [n, 4] of x, y, width, height; 0 where there is no area."""
    shared = _shared(one, two)
    union = np.prod(one[:, 2:], axis=1) + np.prod(two[:, 2:], axis=1) - shared
    ratio: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def _shared(one: Boxes, two: Boxes) -> NDArray[np.float64]:
    start = np.maximum(one[:, :2], two[:, :2])
    end = np.minimum(one[:, :2] + one[:, 2:], two[:, :2] + two[:, 2:])
    area: NDArray[np.float64] = np.prod(np.clip(end - start, 0, None), axis=1)
    return area


def _same_group(truth: FoundObjects, found: FoundObjects) -> tuple[Indices, Indices]:
    """Return all pairs of an object and a detection in the same image with the same label."""
    labels = int(max(truth.label.max(initial=0), found.label.max(initial=0))) + 1
    mine, its = truth.image * labels + truth.label, found.image * labels + found.label
    order = np.argsort(mine, kind="stable")
    groups, start, sizes = np.unique(mine[order], return_index=True, return_counts=True)
    if not len(groups):
        return order, order
    group = np.minimum(np.searchsorted(groups, its), len(groups) - 1)
    counts = np.where(groups[group] == its, sizes[group], 0)
    second = np.repeat(np.arange(len(its)), counts)
    within = np.arange(len(second)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[start[group[second]] + within], second
