"""Suppression of the sizes that detectors have: proposals, proposals by level, and final detections."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from operator_case import Case

from graphopt.core.tensors import Array

SIDE = 1216


def cases() -> Iterator[Case]:
    """Yield one case for each kind of detector."""
    yield _case("proposals", 5000, 1, 0.7, 0.0, 1000)
    yield _case("proposals by level", 5000, 5, 0.7, 0.0, 1000, one_class=True)
    yield _case("two-stage, own boxes", 1000, 80, 0.5, 0.05, 100, own_boxes=True)
    yield _case("two-stage", 2000, 80, 0.5, 0.05, 100)
    yield _case("one-stage", 22000, 80, 0.6, 0.05, 100)


def _case(
    what: str,
    count: int,
    classes: int,
    iou: float,
    score: float,
    total: int,
    *,
    one_class: bool = False,
    own_boxes: bool = False,
) -> Case:
    rng = np.random.default_rng(count + classes)
    corner = rng.uniform(0, SIDE - 50, (1, count, classes if own_boxes else 1, 2))
    boxes = np.concatenate([corner, corner + np.exp(rng.uniform(2, 5.5, corner.shape))], axis=-1)
    # All scores differ, so that there is one right order; few are high, as of a trained detector.
    ranks = rng.permutation(count * classes).reshape(1, count, classes) + 1
    scores = (ranks / (count * classes + 1)) ** (60 if classes > 5 else 3)
    if one_class:
        scores *= rng.integers(0, classes, count)[None, :, None] == np.arange(classes)
    feeds = {"b": boxes.astype(np.float32), "s": scores.astype(np.float32)}
    text = f"""<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,{count},{boxes.shape[2]},4] b, float[1,{count},{classes}] s)
            => (float[n,m,4] boxes, float[n,m] scores, float[n,m] classes, int32[n] count) {{
        boxes, scores, classes, count = BatchMultiClassNMS <iou_threshold: float = {iou},
            score_threshold: float = {score}, max_size_per_class: int = {total},
            max_total_size: int = {total}> (b, s) }}"""
    return Case(
        name=f"BatchMultiClassNMS {what}, {count} boxes, {classes} class{'es' if classes > 1 else ''}",
        text=text,
        feeds=feeds,
        rivals={"loop": lambda: _looped(feeds["b"], feeds["s"], iou, score, total)},
    )


def _looped(boxes: Array, scores: Array, iou: float, score: float, total: int) -> tuple[Array, ...]:
    """Suppress class by class; each step looks at all that are left at once."""
    import torch

    every, marks = torch.from_numpy(boxes[0]), torch.from_numpy(scores[0])
    kept = []
    for label in range(marks.shape[1]):
        rows = (marks[:, label] > score).nonzero()[:, 0]
        rows = rows[marks[rows, label].argsort(descending=True)]
        mine = every[rows, min(label, every.shape[1] - 1)]
        kept += [(float(marks[rows[row], label]), label, mine[row]) for row in _one_class(mine, iou, total)]
    kept = sorted(kept, key=lambda item: -item[0])[:total]
    found = [torch.zeros(1, total, 4), torch.zeros(1, total), torch.zeros(1, total)]
    for place, (value, label, box) in enumerate(kept):
        found[0][0, place], found[1][0, place], found[2][0, place] = box, value, label
    return (*(item.numpy() for item in found), np.array([len(kept)], dtype=np.int32))


def _one_class(boxes: Any, iou: float, total: int) -> list[int]:
    import torch

    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    left = torch.arange(len(boxes))
    while len(left) and len(kept) < total:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        ends = torch.minimum(boxes[left, 2:], boxes[best, 2:])
        common = (ends - torch.maximum(boxes[left, :2], boxes[best, :2])).clamp(min=0).prod(1)
        left = left[common / (areas[left] + areas[best] - common) <= iou]
    return kept
