"""COCO's box mAP over images that count several times or not at all, from one matching.

A detection is right or wrong by its own image alone, so images can be drawn anew without matching
again. Counting an image twice is exactly what evaluating a data set that holds it twice gives, but
where detections of different images have the same score: pycocotools then goes by the images' order.
"""

import contextlib
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.runtime.datasets.coco_annotations import CocoObjects
from graphopt.runtime.decode.boxes import FoundObjects
from graphopt.runtime.metrics.coco_boxes import boxes_evaluator

_RECALLS = np.linspace(0.0, 1.0, 101)
"""COCO's; made as pycocotools makes them, as a recall may lie exactly on one."""
_BLOCK = 1 << 22
"""Numbers in the largest array of one step: 16 MB."""
_ANY_SIZE = ((0.0, 1e10),)

Weights = NDArray[np.int64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class _Ranked:
    """The detections of one class, the surest first.

    Attributes:
        image: of each detection, its place in the data set.
        right: per IoU threshold, the rows of the detections that are right.
        neutral: per IoU threshold, the rows of those that do not count: they cover a crowd.
        objects: annotated ones of each image, crowds left out.
    """

    image: Indices
    right: tuple[Indices, ...]
    neutral: tuple[Indices, ...]
    objects: Indices


class LazyBoxMap:
    """Box mAP as a function of how often each image counts; nothing is matched before the first call.

    Args:
        objects: the truth; those of other categories do not count.
        found: the detections.
        image_ids: of all images, in the order of the weights.
        classes: name and category id by label, as for ``coco_figures``.
    """

    def __init__(
        self,
        objects: CocoObjects,
        found: FoundObjects,
        *,
        image_ids: Sequence[int],
        classes: Sequence[tuple[str, int | None]],
    ) -> None:
        self._make = functools.partial(boxes_evaluator, objects, found, image_ids=image_ids, classes=classes)
        self._place = {int(image): i for i, image in enumerate(image_ids)}

    @functools.cached_property
    def _classes(self) -> list[_Ranked]:
        run = self._make()
        run.params.areaRng = [list(size) for size in _ANY_SIZE]
        run.params.areaRngLbl = ["all"]
        run.store_eval_imgs = True  # the fast package asks; pycocotools always does
        with contextlib.redirect_stdout(io.StringIO()):
            run.evaluate()
        by_class: dict[int, list[Any]] = {}
        for item in run.evalImgs:
            if item is not None:
                by_class.setdefault(int(item["category_id"]), []).append(item)
        return [_ranked(items, self._place) for items in by_class.values()]

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """Return the mAP [B] for weights int64 [B, images]; nan where no object counts."""
        total, count = np.zeros(len(weights)), np.zeros(len(weights))
        for ranked in self._classes:
            objects = weights @ ranked.objects
            there = objects > 0
            rows = max(1, _BLOCK // max(1, len(ranked.image)))
            for start in range(0, len(weights), rows):
                part = slice(start, start + rows)
                total[part] += np.where(
                    there[part], _precisions(ranked, weights[part], np.maximum(objects[part], 1)), 0.0
                )
            count += there
        mean: NDArray[np.float64] = np.divide(
            total, count, out=np.full(len(weights), np.nan), where=count > 0
        )
        return mean


def _ranked(items: Sequence[Any], place: dict[int, int]) -> _Ranked:
    # Stable, over images in the order of their ids: so pycocotools breaks ties.
    items = sorted(items, key=lambda item: int(item["image_id"]))
    scores = np.concatenate([np.asarray(item["dtScores"], np.float64) for item in items])
    order = np.argsort(-scores, kind="stable")
    matched = _columns(items, "dtMatches", order) != 0
    ignored = _columns(items, "dtIgnore", order) != 0
    counts = [len(item["dtScores"]) for item in items]
    places = np.array([place[int(item["image_id"])] for item in items], np.int64)
    objects = np.zeros(len(place), np.int64)
    np.add.at(objects, places, [int((np.asarray(item["gtIgnore"]) == 0).sum()) for item in items])
    return _Ranked(
        image=np.repeat(places, counts)[order],
        right=tuple(np.flatnonzero(row) for row in matched & ~ignored),
        neutral=tuple(np.flatnonzero(row) for row in ignored),
        objects=objects,
    )


def _columns(items: Sequence[Any], name: str, order: Indices) -> NDArray[np.float64]:
    """Return [thresholds, detections] of all images, in the order of the scores."""
    parts = [np.asarray(item[name], np.float64) for item in items if len(item["dtScores"])]
    thresholds = len(np.asarray(items[0][name]))
    return np.concatenate([np.zeros((thresholds, 0)), *parts], axis=1)[:, order]


def _precisions(ranked: _Ranked, weights: Weights, objects: Indices) -> NDArray[np.float64]:
    """Return the mean over IoU thresholds of the mean precision at the 101 recalls, [B]."""
    counted = weights[:, ranked.image].astype(np.int32)
    seen = np.cumsum(counted, axis=1, dtype=np.int32)
    total = np.zeros(len(weights))
    for right, neutral in zip(ranked.right, ranked.neutral, strict=True):
        if not len(right):
            continue
        hits = np.cumsum(counted[:, right], axis=1, dtype=np.int32)
        all_seen = seen[:, right]
        if len(neutral):
            passed = np.cumsum(counted[:, neutral], axis=1, dtype=np.int32)
            before = np.searchsorted(neutral, right)
            all_seen = all_seen - np.where(before > 0, passed[:, np.maximum(before - 1, 0)], 0)
        precision = hits / (all_seen + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(_RECALLS, hits / objects[:, np.newaxis], side="right")
        total += (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(_RECALLS)
    return total / len(ranked.right)
