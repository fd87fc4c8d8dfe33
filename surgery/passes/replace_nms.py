"""The pass ``replace_nms``.

Exporters keep classes apart by moving boxes by ``class * (largest coordinate + 1)``, which rounds them to
1/128 px at 80 classes of an image of 1216 px. The operator compares the boxes themselves: pairs whose
overlap is that near to the threshold may be decided otherwise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import onnx_ir as ir

from graphopt.core.detections import FLOAT16_DETECTIONS, FLOAT32_DETECTIONS, Detections
from graphopt.core.errors import UsageError
from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.half_reference import Entry, round_entries
from graphopt.surgery.detection.naming import NAMES, name_outputs
from graphopt.surgery.detection.reasons import UnsuitableError
from graphopt.surgery.detection.row_filters import RowFilter, row_filters, undo_filter
from graphopt.surgery.detection.row_mixing import mixes_rows
from graphopt.surgery.detection.rows import RowTracker
from graphopt.surgery.detection.suppression import Suppression, read_suppression
from graphopt.surgery.detection.tried_results import readers_of
from graphopt.surgery.detection.writing import Choices, SuppressionWriter
from graphopt.surgery.graph_edits import bypass, remove_dead, take_over
from graphopt.surgery.graph_pass import Declined, Effect, GraphPass, Site
from graphopt.surgery.graph_queries import nodes_of

MOST_ON_NEW_KERNELS = 1000
"""The newest kernels document sizes from 1 to this (ops-cv, BatchMultiClassNonMaxSuppression)."""


_UNDONE = "rows that it leaves out stay, with scores of zero"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place(Site):
    """A suppression that the operator can do."""

    found: Suppression


@dataclass(frozen=True, kw_only=True, eq=False)
class _Filter(Site):
    """A choice of rows in front of the candidates."""

    found: RowFilter


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """What the pass comes to: a model, the suppression behind its outputs, and which ones hold what."""

    model: ir.Model
    found: Suppression
    dets: int
    labels: int | None


@dataclass(frozen=True, kw_only=True)
class ReplaceNms(GraphPass):
    """Replace a detector's post-processing by one static BatchMultiClassNMS.

    Why: NonZero and NonMaxSuppression make tensors of open sizes, which compilers for devices refuse;
    the device's own operator answers with as many rows each time.
    Before: ``scores -> Greater -> NonZero -> Gather -> NonMaxSuppression -> Gather -> Slice``.
    After: ``boxes[1,N,q,4], scores[1,N,C] -> npu.BatchMultiClassNMS -> dets[M,5], labels[M]``; missing
    detections are rows of zeros, missing proposals of a second stage are copies of the best one.
    Detections without area are dropped unless the model reads on; overlaps within rounding of the
    threshold may be decided otherwise. ``boundary=fp16`` is compared with proposals so rounded.
    Seen in: fcos, nas_fpn, faster_rcnn_dcn, dense_detector, two_stage_detector.
    Known as: nms-to-BatchMultiClassNMS (28), nms -> BatchMultiClassNMS (S2).

    Attributes:
        boundary: ``fp32``, or ``fp16``: what the operator reads and writes, all that older chips take.
        max_proposals: at most so many proposals for a second stage; 0 keeps the model's number.
        max_candidates: look at the best so many boxes; 0 looks at all.
        max_per_class: at most so many of each class; 0 keeps the model's number.
        per_class_boxes: give each class its own copy of shared boxes.
        drop_flat: drop boxes without area wherever they are read.
        unclipped: take classes as moved apart also where boxes may be negative.
        keep_names: do not rename the outputs to ``dets`` and ``labels``.
    """

    name: ClassVar[str] = "replace_nms"
    effect: ClassVar[Effect] = Effect.TARGET_ONLY

    boundary: Literal["fp32", "fp16"] = "fp32"
    max_proposals: int = 0
    max_candidates: int = 0
    max_per_class: int = 0
    per_class_boxes: bool = False
    drop_flat: bool = False
    unclipped: bool = False
    keep_names: bool = False

    def __post_init__(self) -> None:
        for option in ("max_proposals", "max_candidates", "max_per_class"):
            if getattr(self, option) < 0:
                raise UsageError(f"replace_nms: {option} is {getattr(self, option)}; give 0 for no limit")

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every NonMaxSuppression, or what stands in its way; see ``GraphPass.sites``."""
        facts = Facts(model)
        rows = RowTracker(model, facts)
        found = list(self._places(model, facts, rows))
        filters = row_filters(model, facts, rows) if any(isinstance(item, Declined) for item in found) else []
        if not filters:
            yield from found
            return
        then = self._without_filters(model)
        if _count(then) > _count(found):
            yield from (_Filter(node=item.node, what=_UNDONE, found=item) for item in filters)
            return
        for now, later in zip(found, then, strict=True):  # the copy may tell a reason that lies deeper
            is_place = isinstance(now, _Place) or isinstance(later, _Place)
            yield now if is_place else replace(later, node=now.node)

    def _without_filters(self, model: ir.Model) -> "list[_Place | Declined]":
        copy = model.clone()
        facts = Facts(copy)
        for item in row_filters(copy, facts, RowTracker(copy, facts)):
            undo_filter(copy, item)
        facts = Facts(copy)
        return list(self._places(copy, facts, RowTracker(copy, facts)))

    def _places(self, model: ir.Model, facts: Facts, rows: RowTracker) -> Iterator["_Place | Declined"]:
        for nms in list(nodes_of(model, "NonMaxSuppression")):
            if nms.graph is not model.graph:
                yield Declined(node=nms, why="it stands in a subgraph or function, whose sizes are not known")
                continue
            try:
                found = self._limited(read_suppression(nms, facts, rows))
            except UnsuitableError as error:
                yield Declined(node=nms, why=str(error))
                continue
            proposals = [result.value for result in found.results if found.is_inner]
            why = mixes_rows(model, nms, proposals, facts, rows)
            if found.candidates.may_mix and not self.unclipped:
                why = (
                    f"the boxes {found.candidates.boxes.name} may be negative, and then those of different "
                    "classes suppress each other, although these are moved apart; clip the boxes to the "
                    "image, or take them as apart with replace_nms:unclipped=true"
                )
            yield Declined(node=nms, why=why) if why else _Place(node=nms, what=_describe(found), found=found)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the operator, and let its answer take the place of what was made of the choice."""
        if isinstance(site, _Filter):
            undo_filter(model, site.found)
        if not isinstance(site, _Place):
            return
        choices = Choices(
            half=self.boundary == "fp16",
            per_class_boxes=self.per_class_boxes,
            max_candidates=self.max_candidates,
            drop_flat=self.drop_flat,
        )
        answers = SuppressionWriter(model, site.found, choices).write()
        behind = readers_of(site.node)
        for result, value in answers.items():
            take_over(value, result.value)
        remove_dead(model, behind)
        if self.max_proposals:
            _drop_fixed_counts(model)
        if not self.keep_names:
            name_outputs(model, {result.kind: value for result, value in answers.items()})

    def output_names(self, model: ir.Model) -> Mapping[str, str] | None:
        """Say which outputs will be called ``dets`` and ``labels``; see ``Pass.output_names``."""
        trial = None if self.keep_names else self._tried(model)
        if trial is None:
            return None
        before = [value.name or "" for value in model.graph.outputs]
        after = [value.name or "" for value in trial.model.graph.outputs]
        return None if before == after else dict(zip(after, before, strict=True))

    def detections(self, model: ir.Model) -> Detections | None:
        """Say which outputs are detections; see ``Pass.detections``."""
        trial = self._tried(model)
        if trial is None:
            return None
        names = [value.name or "" for value in model.graph.outputs]
        return Detections(
            dets=names[trial.dets],
            labels="" if trial.labels is None else names[trial.labels],
            limit=trial.found.total,
            score_threshold=trial.found.above,
            iou_threshold=trial.found.iou,
            tolerance=FLOAT16_DETECTIONS if self.boundary == "fp16" else FLOAT32_DETECTIONS,
        )

    @property
    def rounds_reference(self) -> bool:
        """Whether the reference is rounded too; see ``Pass.rounds_reference``."""
        return self.boundary == "fp16"

    def mend_reference(self, model: ir.Model) -> Mapping[str, str]:
        """Round proposals in the reference where the result does; final detections have bounds for it."""
        if not self.rounds_reference or next(nodes_of(model, "NonMaxSuppression"), None) is None:
            return {}
        places = self._rewritten(model.clone())
        return round_entries(model, [Entry.of(place.found) for place in places if place.found.is_inner])

    def _tried(self, model: ir.Model) -> "_Trial | None":
        """Run on a copy, to see which outputs it comes to: a second stage is read once the first is done."""
        if next(nodes_of(model, "NonMaxSuppression"), None) is None:
            return None
        copy, found = model.clone(), None
        for place in self._rewritten(copy):
            outputs = list(copy.graph.outputs)
            ends = [_place_among(outputs, place.found, kind) for kind in NAMES]
            if ends[0] is not None:
                found = _Trial(model=copy, found=place.found, dets=ends[0], labels=ends[1])
        return found

    def _rewritten(self, copy: ir.Model) -> Iterator["_Place"]:
        """Rewrite a copy, and yield each suppression just before its turn."""
        while places := [place for place in self.sites(copy) if isinstance(place, Site)]:
            for place in places:
                if isinstance(place, _Place):
                    yield place
                self.rewrite(copy, place)

    def _limited(self, found: Suppression) -> Suppression:
        total = found.total
        if self.max_proposals and found.is_inner:
            total = min(total, self.max_proposals)
        per_class = min(found.per_class, total, self.max_per_class or total)
        return replace(found, total=total, per_class=per_class)


def _count(found: "list[_Place | Declined]") -> int:
    return sum(isinstance(item, _Place) for item in found)


def _place_among(outputs: list[ir.Value], found: Suppression, kind: str) -> int | None:
    """Return which output holds the results of a kind."""
    held = [result.value for result in found.results if result.kind == kind]
    return next((place for place, value in enumerate(outputs) if value in held), None)


def _describe(found: Suppression) -> str:
    chosen = found.candidates
    text = (
        f"{chosen.count} boxes of {chosen.classes} classes, score above {found.above:.6g}, overlap up to "
        f"{found.iou:.6g}, the best {found.total}"
    )
    if found.total > MOST_ON_NEW_KERNELS:
        text += f" (the newest kernels give no more than {MOST_ON_NEW_KERNELS})"
    return text


def _drop_fixed_counts(model: ir.Model) -> None:
    """Remove splits into one part, which old exporters write with the number of proposals they saw."""
    for node in list(nodes_of(model, "Split")):
        if len(node.outputs) == 1:
            bypass(model, node)
