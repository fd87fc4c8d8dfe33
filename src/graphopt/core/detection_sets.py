"""Compare the detections of two models as sets: rows are paired by class and place, not by rank.

Near-equal scores may come in another order, and a fixed number of rows is filled up with zeros: neither
is a difference. A row that only one side has is one, unless it stands so near a cut (the number of rows,
a threshold) that rounding decides about it.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphopt.core._detection_pairs import Floats, Pairs, overlaps, pair_rows
from graphopt.core.comparison import Outcome
from graphopt.core.detections import (
    DetectionComparison,
    Detections,
    Side,
    UnpairedRow,
    merge_detections,
)
from graphopt.core.tensors import Array
from graphopt.core.words import counted

_COLUMNS = 5  # x1, y1, x2, y2, score
_SAME_PLACE = 0.9
"""IoU from which a row of another class is the same object under another label."""
_LARGEST_IOU_NOISE = 0.02
_BOX_ROUNDING = 0.01
"""Pixels by which boxes are rounded that a model moves apart by class: 80 times 1333, at 24 bits."""
_SCORE_ROUNDING = 1e-6


def compare_detections(
    reference: tuple[Array, Array | None],
    candidate: tuple[Array, Array | None],
    what: Detections,
    *,
    first_image: int = 0,
) -> DetectionComparison:
    """Compare the detections of two models on the same images.

    Args:
        reference: ``dets`` and ``labels``, shapes as in ``Detections``; the number of rows may differ
            between both sides, a missing batch axis is one image.
        candidate: as ``reference``.
        what: their names, cuts and tolerance.
        first_image: number of the first image, for reports.

    Returns:
        The comparison; NaN, and shapes that are no detections, are found in ``broken``.
    """
    sides = [_images(dets, labels) for dets, labels in (reference, candidate)]
    for side, found in zip(Side, sides, strict=True):
        if isinstance(found, str):
            return _nothing(what, (Outcome.SHAPE, f"{side.value}: {found}"))
    mine, its = (found for found in sides if not isinstance(found, str))
    if len(mine) != len(its):
        return _nothing(what, (Outcome.SHAPE, f"{len(its)} images, reference {len(mine)}"))
    for side, images in zip(Side, (mine, its), strict=True):
        for place, rows in enumerate(images):
            if rows.broken:
                text = f"{side.value}, image {first_image + place}: {rows.broken}"
                return _nothing(what, (Outcome.NOT_FINITE, text))
    compared = [
        _Match(one, two, what, first_image + place).compare()
        for place, (one, two) in enumerate(zip(mine, its, strict=True))
    ]
    return merge_detections(compared) if compared else _nothing(what, (Outcome.EMPTY, "no images"))


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The detections of one image, padding and boxes without area taken out."""

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]
    size: int
    zero_area: int
    padding: int
    dirty_padding: int
    broken: str = ""

    @classmethod
    def of(cls, dets: Floats, labels: Floats) -> "_Rows":
        real = dets[:, 4] != 0
        padding = dets[~real]
        dirty = int(((padding != 0).any(axis=1) | (labels[~real] != 0)).sum())
        rows, classes = dets[real], labels[real]
        flat = (rows[:, 2] <= rows[:, 0]) | (rows[:, 3] <= rows[:, 1])
        broken = ""
        if not (np.isfinite(rows).all() and np.isfinite(classes).all()):
            count = int((~np.isfinite(rows).all(axis=1) | ~np.isfinite(classes)).sum())
            broken = f"{counted(count, 'row')} of {len(rows)} not finite"
        elif (classes != np.round(classes)).any():
            broken = "class numbers are not whole"
        return cls(
            boxes=rows[~flat, :4],
            scores=rows[~flat, 4],
            labels=np.zeros(int((~flat).sum()), np.int64) if broken else classes[~flat].astype(np.int64),
            size=len(dets),
            zero_area=int(flat.sum()),
            padding=len(padding),
            dirty_padding=dirty,
            broken=broken,
        )

    @property
    def count(self) -> int:
        """Rows that the model filled."""
        return self.size - self.padding


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """By how much numbers at a cut may differ, judged by the rows that have partners."""

    box: float
    score: float


@dataclass(frozen=True)
class _Match:
    """Two images' rows, and what cuts them."""

    reference: _Rows
    candidate: _Rows
    what: Detections
    image: int

    def compare(self) -> DetectionComparison:
        mine, its, tolerance = self.reference, self.candidate, self.what.tolerance
        pairs = pair_rows(
            (mine.boxes, mine.scores, mine.labels),
            (its.boxes, its.scores, its.labels),
            box=tolerance.box,
            score=tolerance.score,
        )
        near = pairs.within
        errors = np.abs(mine.boxes[pairs.first[near]] - its.boxes[pairs.second[near]])
        scores = np.abs(mine.scores[pairs.first[near]] - its.scores[pairs.second[near]])
        noise = _Noise(
            box=min(tolerance.box, _BOX_ROUNDING + float(errors.max(initial=0))),
            score=min(tolerance.score, _SCORE_ROUNDING + 2 * float(scores.max(initial=0))),
        )
        unpaired: list[UnpairedRow] = []
        ties: list[UnpairedRow] = []
        for side, place in self._lonely(pairs):
            tie = self._cut(side, place, pairs, noise)
            row = self._row(side, place, tie or self._instead(side, place, pairs))
            (ties if tie else unpaired).append(row)
        exchanged = self._exchanged(unpaired, noise)
        return DetectionComparison(
            name=self.what.name,
            reference=len(mine.scores),
            candidate=len(its.scores),
            paired=int(near.sum()),
            box=float(errors.max()) if errors.size else None,
            score=float(scores.max()) if scores.size else None,
            unpaired=tuple(row for row in unpaired if row not in exchanged),
            near_ties=(*ties, *exchanged.values()),
            zero_area=mine.zero_area + its.zero_area,
            padding=its.padding,
            dirty_padding=its.dirty_padding,
            images=1,
            broken=None,
            tolerance=tolerance,
        )

    def _exchanged(self, unpaired: list[UnpairedRow], noise: "_Noise") -> dict[UnpairedRow, UnpairedRow]:
        """Return the rows that stand for an overlapping one of the other side, as far as that is allowed.

        The box might as well have moved: so only a share of all rows may do that, and only if a pass says so.
        """
        threshold, found = self.what.iou_threshold, dict[UnpairedRow, UnpairedRow]()
        share = self.what.tolerance.exchanged * len(self.reference.scores)
        if threshold is None or share < 1:
            return found
        others = [row for row in unpaired if row.side is Side.CANDIDATE]
        for row in (row for row in unpaired if row.side is Side.REFERENCE):
            for other in others:
                near = row.label == other.label and abs(row.score - other.score) <= noise.score
                boxes = (np.array([item.box]) for item in (row, other))
                if near and other not in found and overlaps(*boxes)[0, 0] >= threshold:
                    why = "of two overlapping boxes of nearly the same score the other side keeps the other"
                    found |= {item: dataclasses.replace(item, why=why) for item in (row, other)}
                    break
        return found if len(found) <= 2 * share else {}

    def _lonely(self, pairs: Pairs) -> Iterator[tuple[Side, int]]:
        for side, rows, taken in (
            (Side.REFERENCE, self.reference, pairs.first[pairs.within]),
            (Side.CANDIDATE, self.candidate, pairs.second[pairs.within]),
        ):
            alone = np.setdiff1d(np.arange(len(rows.scores)), taken)
            yield from ((side, int(place)) for place in alone)

    def _sides(self, side: Side) -> tuple[_Rows, _Rows]:
        both = (self.reference, self.candidate)
        return both if side is Side.REFERENCE else both[::-1]

    def _row(self, side: Side, place: int, why: str) -> UnpairedRow:
        rows, _ = self._sides(side)
        return UnpairedRow(
            side=side,
            image=self.image,
            label=int(rows.labels[place]),
            box=tuple(float(value) for value in rows.boxes[place]),
            score=float(rows.scores[place]),
            why=why,
        )

    def _cut(self, side: Side, place: int, pairs: Pairs, noise: "_Noise") -> str:
        """Return the cut at which a row stands, so that rounding decides about it; empty for none."""
        own, other = self._sides(side)
        box, score = own.boxes[place], float(own.scores[place])
        limit = self.what.limit or max(own.size, other.size)
        if other.count >= limit and other.scores.size and score <= other.scores.min() + noise.score:
            return f"the other side's {limit} rows end at score {other.scores.min():.4f}"
        threshold = self.what.score_threshold or 0.0  # where none is known: a score of zero is no detection
        if score <= threshold + noise.score:
            return f"its score is the threshold {threshold:g}, up to rounding"
        if min(box[2] - box[0], box[3] - box[1]) <= noise.box:
            return "its box has no area, up to rounding"
        return self._at_iou(side, place, pairs, noise)

    def _at_iou(self, side: Side, place: int, pairs: Pairs, noise: "_Noise") -> str:
        """Say that a stronger box, which both sides have, overlaps this one just by the threshold."""
        threshold = self.what.iou_threshold
        own, _ = self._sides(side)
        kept = (pairs.first if side is Side.REFERENCE else pairs.second)[pairs.within]
        kept = kept[(own.labels[kept] == own.labels[place]) & (own.scores[kept] >= own.scores[place])]
        if threshold is None or not kept.size:
            return ""
        box = own.boxes[place]
        found = overlaps(box[np.newaxis], own.boxes[kept])[0]
        rounding = 4 * noise.box * (1 / (box[2] - box[0]) + 1 / (box[3] - box[1]))
        nearest = float(found[np.argmin(np.abs(found - threshold))])
        if abs(nearest - threshold) > min(rounding, _LARGEST_IOU_NOISE):
            return ""
        return f"it overlaps a stronger box by {nearest:.4f}, the threshold {threshold:g} up to rounding"

    def _instead(self, side: Side, place: int, pairs: Pairs) -> str:
        """Say what the other side has in place of a row."""
        own, other = self._sides(side)
        first, second = (pairs.first, pairs.second) if side is Side.REFERENCE else (pairs.second, pairs.first)
        partner = second[first == place]
        if partner.size:
            box = float(np.abs(own.boxes[place] - other.boxes[partner[0]]).max())
            score = abs(float(own.scores[place] - other.scores[partner[0]]))
            return f"its partner is {box:.3g} px off and differs by {score:.2g} in score"
        if not other.scores.size:
            return "the other side detects nothing"
        found = overlaps(own.boxes[place][np.newaxis], other.boxes)[0]
        best = int(np.argmax(found))
        if found[best] >= _SAME_PLACE and other.labels[best] != own.labels[place]:
            return f"the other side calls it class {int(other.labels[best])}"
        same = found[other.labels == own.labels[place]]
        nearest = f"{float(same.max()):.2f}" if same.size else "none of its class"
        return f"the other side lacks it (largest IoU within its class: {nearest})"


def _images(dets: Array, labels: Array | None) -> list[_Rows] | str:
    """Return the rows per image, or why these are no detections."""
    if dets.ndim not in (2, 3) or dets.shape[-1] != _COLUMNS:
        return f"detections of shape {list(dets.shape)} instead of [n, 5] or [B, n, 5]"
    if dets.dtype.kind != "f":
        return f"detections of dtype {dets.dtype}"
    rows = (dets if dets.ndim == 3 else dets[np.newaxis]).astype(np.float64)
    if labels is None:
        classes = np.zeros(rows.shape[:2])
    elif labels.dtype.kind not in "iuf" or labels.size != rows.shape[0] * rows.shape[1]:
        return f"labels of shape {list(labels.shape)}, {labels.dtype}, for detections {list(dets.shape)}"
    else:
        classes = labels.reshape(rows.shape[:2]).astype(np.float64)
    return [_Rows.of(one, two) for one, two in zip(rows, classes, strict=True)]


def _nothing(what: Detections, broken: tuple[Outcome, str]) -> DetectionComparison:
    return DetectionComparison(
        name=what.name,
        reference=0,
        candidate=0,
        paired=0,
        box=None,
        score=None,
        unpaired=(),
        near_ties=(),
        zero_area=0,
        padding=0,
        dirty_padding=0,
        images=0,
        broken=broken,
        tolerance=what.tolerance,
    )
