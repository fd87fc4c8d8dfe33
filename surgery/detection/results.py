"""What a model makes of a suppression's choice: tables of boxes, scores and labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.detection.candidates import LABEL, SCORE, SIDES, Candidates, before_selection
from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.reasons import UnsuitableError
from graphopt.surgery.detection.rows import Column, Index, Rows, RowTracker
from graphopt.surgery.graph_queries import label

DETS, BOXES, SCORES, LABELS = "dets", "boxes", "scores", "labels"
_KINDS = {
    (*SIDES, SCORE): DETS,
    SIDES: BOXES,
    (SCORE,): SCORES,
    (LABEL,): LABELS,
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A tensor that holds chosen candidates and outlives the suppression.

    Attributes:
        value: the tensor.
        kind: ``dets`` (x1 y1 x2 y2 score), ``boxes``, ``scores`` or ``labels``.
        front: sizes of the axes in front of that of the rows: the batch, or none.
        sizes: of the axes behind it.
        dtype: of its elements.
        limit: the first rows that it holds; None is all.
    """

    value: ir.Value
    kind: str
    front: tuple[int, ...] = ()
    sizes: tuple[int, ...]
    limit: int | None
    dtype: ir.DataType


def read_results(nms: ir.Node, candidates: Candidates, facts: Facts, rows: RowTracker) -> list[Result]:
    """Follow the choice of a NonMaxSuppression to where other nodes or outputs read what was chosen.

    Raises:
        UnsuitableError: something is made of the choice that the operator does not tell.
    """
    found: list[Result] = []
    pending = [nms.outputs[0]]
    seen: set[ir.Value] = set()
    while pending:
        value = pending.pop(0)
        if value in seen:
            continue
        seen.add(value)
        held = rows.of(value)
        if held is None:
            raise UnsuitableError(f"the rows of {value.name} are not known")
        readers = [user for user, _ in value.uses()]
        others = [user for user in readers if rows.of(user.outputs[0]) is None]
        if value.is_graph_output() or others:
            found.append(_result(value, held, candidates, facts, rows, others))
        else:
            pending.extend(output for user in readers for output in user.outputs)
    if not found:
        raise UnsuitableError("nobody reads what it chooses")
    return found


def _result(
    value: ir.Value,
    held: Rows,
    candidates: Candidates,
    facts: Facts,
    rows: RowTracker,
    readers: Sequence[ir.Node],
) -> Result:
    roles = tuple(_role(column, candidates, rows) for column in held.listed())
    kind = _KINDS.get(tuple(role for role in roles if role is not None))
    if None in roles or kind is None:
        whose = label(readers[0]) if readers else "the caller of the model"
        what = "places of candidates" if any(isinstance(c, Index) for c in held.listed()) else "other columns"
        raise UnsuitableError(f"{whose} reads {value.name}, which holds {what}; the operator gives no such")
    if held.axis != 0:
        raise UnsuitableError(f"the detections of {value.name} are not along its first axis")
    return Result(
        value=value,
        kind=kind,
        sizes=held.columns.shape[1:],
        limit=held.limit,
        dtype=facts.dtype(value) or ir.DataType.FLOAT,
    )


def _role(column: Column, candidates: Candidates, rows: RowTracker) -> str | None:
    if isinstance(column, Index) or 2 not in {axis for _, axis in column.by}:
        return None
    return candidates.roles.get(before_selection(column, rows))
