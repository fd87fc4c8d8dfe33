"""One suppression as a whole: what it chooses from, by which limits, and what is made of the choice."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.detection.candidates import Candidates, read_candidates
from graphopt.surgery.detection.class_offset import unwrapped
from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.reasons import UnsuitableError
from graphopt.surgery.detection.results import Result, read_results
from graphopt.surgery.detection.rows import RowTracker
from graphopt.surgery.detection.tried_results import Limits, try_results
from graphopt.surgery.graph_queries import attribute_int, input_of, is_op, label


@dataclass(frozen=True, kw_only=True, eq=False)
class Suppression:
    """A post-processing that one ``BatchMultiClassNMS`` can do.

    Attributes:
        nms: the NonMaxSuppression in its middle.
        candidates: what it chooses from.
        results: the tensors that outlive it.
        iou: boxes that overlap more than this are suppressed.
        above: candidates up to this score do not count.
        per_class: at most so many boxes are kept of each class.
        total: at most so many are kept, the best ones.
    """

    nms: ir.Node
    candidates: Candidates
    results: Sequence[Result]
    iou: float
    above: float
    per_class: int
    total: int

    @property
    def is_inner(self) -> bool:
        """Whether what is chosen stays in the model: proposals, not detections."""
        return not any(result.value.is_graph_output() for result in self.results)

    @property
    def keeps_flat(self) -> bool:
        """Whether boxes without area must keep their rows, as something in the model reads these."""
        chosen = self.candidates
        return (
            chosen.batch == 1 and chosen.are_positive and any(result.value.uses() for result in self.results)
        )


def read_suppression(nms: ir.Node, facts: Facts, rows: RowTracker) -> Suppression:
    """Read the post-processing around a NonMaxSuppression.

    Raises:
        UnsuitableError: the operator cannot do the same, or that cannot be proven.
    """
    if attribute_int(nms, "center_point_box", 0) != 0:
        raise UnsuitableError(
            "its boxes are centres and sizes (center_point_box); the operator takes corners"
        )
    candidates = read_candidates(nms, facts, rows)
    limits = Limits(
        iou=_overlap(nms, facts),
        above=_threshold(nms, candidates, facts),
        per_class=_most(nms, candidates, facts),
    )
    if candidates.by_class:
        results, total = try_results(nms, candidates, limits, facts)
        per_class = limits.per_class
    else:
        results = read_results(nms, candidates, facts, rows)
        total, per_class = _total(results, limits.per_class), None
    total = min(total, candidates.count * candidates.classes)
    return Suppression(
        nms=nms,
        candidates=candidates,
        results=results,
        iou=limits.iou,
        above=limits.above,
        per_class=min(per_class or total, total),
        total=total,
    )


def _total(results: Sequence[Result], limit: int | None) -> int:
    """Return how many rows all results hold at most; the suppression itself may have a limit, too."""
    limits = {result.limit for result in results}
    if len(limits) > 1:
        raise UnsuitableError("its results hold different numbers of detections")
    found = [item for item in (limit, *limits) if item is not None]
    if not found:
        raise UnsuitableError("nothing limits the number of detections; the operator wants a limit")
    return min(found)


def _overlap(nms: ir.Node, facts: Facts) -> float:
    given = input_of(nms, 3)
    found = 0.0 if given is None else facts.number(given)
    if found is None:
        raise UnsuitableError("its overlap threshold is computed at run time")
    return found


def _most(nms: ir.Node, candidates: Candidates, facts: Facts) -> int | None:
    """Return how many boxes of a class are kept; None when that is no limit."""
    given = input_of(nms, 2)
    if given is None:
        raise UnsuitableError("it keeps no box: its number of boxes per class is left out, which means none")
    found = facts.number(given)
    if found is None:
        if _counts_candidates(given, nms):
            return None
        raise UnsuitableError("its number of boxes per class is computed at run time")
    return int(found) if found < candidates.count * candidates.classes else None


def _counts_candidates(value: ir.Value, nms: ir.Node) -> bool:
    """Whether a number is how many candidates there are: exporters ask for as many as that."""
    node = value.producer()
    while node is not None and is_op(node, "Cast", "Gather", "Reshape", "Squeeze", "Unsqueeze"):
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    if node is None or not is_op(node, "Shape") or node.inputs[0] is None:
        return False
    candidates = [unwrapped(item) for item in nms.inputs[:2] if item is not None]
    return unwrapped(node.inputs[0]) in candidates


def _threshold(nms: ir.Node, candidates: Candidates, facts: Facts) -> float:
    """Return the score that a candidate of the operator must exceed.

    Where scores are set to zero (other classes, candidates that do not count), zero must not count.
    """
    kept, own = candidates.kept, None
    if (given := input_of(nms, 4)) is not None:
        own = facts.number(given)
        if own is None:
            raise UnsuitableError(f"the score threshold of {label(nms)} is computed at run time")
    marks_by_zero = candidates.one_hot is not None or kept.judged is not None
    found = [item for item in (own, kept.above if kept.judged is None else None) if item is not None]
    if found and (max(found) >= 0 or not marks_by_zero):
        return max(found)
    if not facts.is_non_negative(candidates.scores):
        raise UnsuitableError(
            f"its scores {candidates.scores.name} may be negative; the operator is told by a zero score that "
            "a candidate does not count"
        )
    return 0.0
