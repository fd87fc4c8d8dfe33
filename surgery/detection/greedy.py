"""What ``BatchMultiClassNMS`` keeps of some candidates, in NumPy: to try a model's own tail against."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def best_of_classes(boxes: Floats, scores: Floats, iou: float, above: float, per_class: int | None) -> Floats:
    """Suppress class by class and sort by score.

    Args:
        boxes: float32[N, 4] of x1, y1, x2, y2, all with an area.
        scores: float32[N, C].
        iou: boxes that overlap more than this are suppressed.
        above: candidates up to this score do not count.
        per_class: at most so many of a class; None is all.

    Returns:
        float32[K, 6]: x1, y1, x2, y2, score, class.
    """
    rows = []
    for number in range(scores.shape[1]):
        column = scores[:, number]
        order = np.argsort(-column, kind="stable")
        kept = _apart(boxes[order[column[order] > above]], iou)[:per_class]
        chosen = order[kept]
        classes = np.full((len(chosen), 1), number, np.float32)
        rows.append(np.concatenate((boxes[chosen], column[chosen, None], classes), axis=1))
    table = np.concatenate(rows)
    found: Floats = table[np.argsort(-table[:, 4], kind="stable")]
    return found


def _apart(boxes: Floats, iou: float) -> list[int]:
    """Return the boxes that no better one overlaps too much; they come best first."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept: list[int] = []
    for place in range(len(boxes)):
        better = boxes[kept]
        low = np.maximum(better[:, :2], boxes[place, :2])
        high = np.minimum(better[:, 2:], boxes[place, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        if not (shared > iou * (areas[kept] + areas[place] - shared)).any():
            kept.append(place)
    return kept
