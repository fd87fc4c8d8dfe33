"""What detections are, and what a comparison of two sets of them found (``detection_sets`` compares)."""

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graphopt.core.comparison import Outcome, TensorComparison
from graphopt.core.tensors import TensorSpec
from graphopt.core.words import counted

_LISTED = 3


@dataclass(frozen=True, kw_only=True)
class DetectionTolerance:
    """How far two detections of one object may lie apart.

    Attributes:
        box: of each coordinate, in pixels of the network's input.
        score: of the score.
        exchanged: share of rows that may have an overlapping one of nearly the same score in their place,
            as rounding decides which of both stays; 0 to 0.1.
        why: where the numbers come from; printed in reports.
    """

    box: float
    score: float
    why: str
    exchanged: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.box < math.inf and 0 <= self.score <= 1 and 0 <= self.exchanged <= 0.1):
            raise ValueError(
                f"tolerance out of range: box {self.box}, score {self.score}, exchanged {self.exchanged}"
            )


FLOAT32_DETECTIONS = DetectionTolerance(
    box=0.05,
    score=1e-4,
    why="float32 noise through a detector: a few hundredths of a pixel, 1e-4 of score",
)
FLOAT16_DETECTIONS = DetectionTolerance(
    box=0.55,
    score=5e-4,
    exchanged=0.05,
    why="float16 at the suppression: half a pixel up to 2048 (0.48 measured at 1333), 2^-12 of the score and "
    "float32 noise; of two overlapping boxes of nearly the same score the other may stay",
)


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Which outputs of a model are detections, and what cuts them off.

    Attributes:
        dets: name of the output [n, 5] or [B, n, 5] of x1, y1, x2, y2, score; a score of 0 is padding.
        labels: name of the output [n] or [B, n] of class numbers; empty when there are no classes.
        limit: rows that the model answers at most; None when that is not known.
        score_threshold: below which it drops rows; None when not known.
        iou_threshold: above which a box suppresses another of its class; None when not known.
        tolerance: what may differ.
    """

    dets: str
    labels: str = ""
    limit: int | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    tolerance: DetectionTolerance = FLOAT32_DETECTIONS

    @property
    def name(self) -> str:
        """What reports call both outputs together."""
        return f"{self.dets}, {self.labels}" if self.labels else self.dets


def detections_of_roles(outputs: Sequence[TensorSpec]) -> Detections | None:
    """Return what outputs with the roles ``dets`` and ``labels`` are; None without such roles."""
    names = {spec.role: spec.name for spec in outputs if spec.role}
    if "dets" not in names:
        return None
    return Detections(dets=names["dets"], labels=names.get("labels", ""))


def roles_of_detections(
    found: Sequence[Detections], known: Sequence[TensorSpec] = ()
) -> tuple[TensorSpec, ...]:
    """Return the roles of outputs that are detections; those of ``known`` stay as they are.

    The specs have names and roles only.
    """
    pairs = [pair for item in found for pair in ((item.dets, "dets"), (item.labels, "labels"))]
    taken = {spec.name for spec in known if spec.role}
    return tuple(
        TensorSpec(name=name, shape=(), dtype="", role=role)
        for name, role in pairs
        if name and name not in taken
    )


class Side(enum.Enum):
    """Which of two models."""

    REFERENCE = "reference"
    CANDIDATE = "candidate"


@dataclass(frozen=True, kw_only=True)
class UnpairedRow:
    """A detection without a partner within the tolerance.

    Attributes:
        side: which model has it.
        image: its number over all that were compared, from 0.
        label: class number.
        box: x1, y1, x2, y2.
        score: from 0 to 1.
        why: what the other side has instead, or the cut that it stands at; a clause.
    """

    side: Side
    image: int
    label: int
    box: tuple[float, ...]
    score: float
    why: str

    def __str__(self) -> str:
        box = ", ".join(f"{value:.1f}" for value in self.box)
        where = f"class {self.label} [{box}] {self.score:.4f} in image {self.image}"
        return f"{self.side.value} has {where}: {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "side": self.side.value, "box": list(self.box)}


@dataclass(frozen=True, kw_only=True)
class DetectionComparison:
    """The detections of two models, compared as sets.

    Attributes:
        name: of the outputs.
        reference: rows of the reference, padding and boxes without area left out.
        candidate: as ``reference``.
        paired: rows with a partner within the tolerance.
        box: largest difference of a coordinate among them, in pixels; None without pairs.
        score: largest difference of a score among them; None without pairs.
        unpaired: rows that should have a partner and have none.
        near_ties: rows without a partner that stand at a cut.
        zero_area: rows of both sides left out, as their boxes have no area.
        padding: rows of the candidate with score 0.
        dirty_padding: those of them that are not all zero.
        images: how many were compared.
        broken: why rows could not be read (NaN, shapes), a clause; empty when they could.
        tolerance: what was allowed.
    """

    name: str
    reference: int
    candidate: int
    paired: int
    box: float | None
    score: float | None
    unpaired: tuple[UnpairedRow, ...]
    near_ties: tuple[UnpairedRow, ...]
    zero_area: int
    padding: int
    dirty_padding: int
    images: int
    broken: tuple[Outcome, str] | None
    tolerance: DetectionTolerance

    @property
    def says_nothing(self) -> bool:
        """Whether neither side detects anything."""
        return self.broken is None and self.reference == 0 and self.candidate == 0

    @property
    def passed(self) -> bool:
        """Whether detections were compared and are the same set."""
        return self.broken is None and self.paired > 0 and not self.unpaired

    @property
    def summary(self) -> str:
        """The figures in one line, without the verdict."""
        if self.broken is not None:
            return self.broken[1]
        parts = [f"{self.paired}/{max(self.reference, self.candidate)} paired"]
        if self.box is not None and self.score is not None:
            parts += [f"box {self.box:.2g} px", f"score {self.score:.2g}"]
        if self.near_ties:
            parts.append(counted(len(self.near_ties), "near tie") + " at a cut")
        if self.unpaired:
            parts.append(f"{len(self.unpaired)} unpaired")
        if self.zero_area:
            boxes = "box" if self.zero_area == 1 else "boxes"
            parts.append(f"{self.zero_area} zero-area {boxes} left out")
        if self.dirty_padding:
            parts.append(f"{counted(self.dirty_padding, 'padding row')} not zero")
        return ", ".join(parts)

    @property
    def failure(self) -> str:
        """Why they are not the same set, a clause; empty when they are."""
        if self.passed or self.broken is not None:
            return self.broken[1] if self.broken else ""
        if self.says_nothing:
            return "neither side detects anything"
        if not self.unpaired:
            return f"no row has a partner: {self.summary}"
        first = "; ".join(str(row) for row in self.unpaired[:_LISTED])
        more = len(self.unpaired) - _LISTED
        return f"{self.summary}: {first}{f'; and {more} more' if more > 0 else ''}"

    def as_tensor(self) -> TensorComparison:
        """Return it as one line of a table of tensors; the errors are those of the boxes, in pixels."""
        outcome = Outcome.MATCH if self.passed else Outcome.VALUES
        if self.broken is not None:
            outcome = self.broken[0]
        elif self.says_nothing:
            outcome = Outcome.EMPTY
        errors = ((self.box, self.tolerance.box), (self.score, self.tolerance.score))
        margins = [error / allowed for error, allowed in errors if error is not None and allowed > 0]
        return TensorComparison(
            name=self.name,
            outcome=outcome,
            max_abs=self.box,
            margin=max(margins, default=None),
            detail=self.failure,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and reports."""
        return {
            **vars(self),
            "unpaired": [row.to_json() for row in self.unpaired],
            "near_ties": [row.to_json() for row in self.near_ties],
            "broken": self.broken[1] if self.broken else "",
            "tolerance": vars(self.tolerance),
            "passed": self.passed,
            "summary": self.summary,
        }


def merge_detections(items: Sequence[DetectionComparison]) -> DetectionComparison:
    """Put comparisons of several images together: counts add up, the largest errors count.

    Args:
        items: at least one, all of the same outputs.
    """

    def worst(errors: Iterable[float | None]) -> float | None:
        return max((error for error in errors if error is not None), default=None)

    return DetectionComparison(
        name=items[0].name,
        reference=sum(item.reference for item in items),
        candidate=sum(item.candidate for item in items),
        paired=sum(item.paired for item in items),
        box=worst(item.box for item in items),
        score=worst(item.score for item in items),
        unpaired=tuple(row for item in items for row in item.unpaired),
        near_ties=tuple(row for item in items for row in item.near_ties),
        zero_area=sum(item.zero_area for item in items),
        padding=sum(item.padding for item in items),
        dirty_padding=sum(item.dirty_padding for item in items),
        images=sum(item.images for item in items),
        broken=next((item.broken for item in items if item.broken is not None), None),
        tolerance=items[0].tolerance,
    )
