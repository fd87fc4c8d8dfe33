"""Round a reference's proposals where a suppression in half precision rounds them.

A second stage that is fed moved proposals answers otherwise: that is what the boundary costs, and no fault
of the rewrite. So like is compared with like.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import onnx_ir as ir

from graphopt.surgery.detection.suppression import Suppression
from graphopt.surgery.versioned_builder import VersionedBuilder

COUNTED = (
    "coordinates of boxes are rounded to float16 where they enter the suppression of proposals, in the "
    "reference just as in the result, so that both second stages see the same"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where proposals enter their suppression, by names of tensors.

    Attributes:
        boxes: that are chosen from.
        scores: of them.
        ends: what is made of the choice.
    """

    boxes: str
    scores: str
    ends: tuple[str, ...]

    @classmethod
    def of(cls, found: Suppression) -> Self:
        """Return that of a suppression."""
        chosen = found.candidates
        ends = tuple(result.value.name or "" for result in found.results)
        return cls(boxes=chosen.boxes.name or "", scores=chosen.scores.name or "", ends=ends)


def round_entries(model: ir.Model, entries: Sequence[Entry]) -> dict[str, str]:
    """Round boxes and scores to float16 and back, for those who read them to choose among them.

    Args:
        model: changed.
        entries: of this model; what it has no tensors for is passed over.

    Returns:
        The tensors that count the coordinates that rounding moves, int64 [1] -> what they are.
    """
    counters: dict[str, str] = {}
    for entry in entries:
        values = {value.name: value for node in model.graph for value in node.outputs}
        values.update({value.name: value for value in model.graph.inputs})
        if {entry.boxes, entry.scores, *entry.ends} - values.keys():
            continue
        readers = _behind([values[name] for name in entry.ends])
        rounded = _round(model, values[entry.boxes], readers)
        _round(model, values[entry.scores], readers)
        if rounded is not None:
            counters[rounded] = COUNTED
    return counters


def _behind(ends: Sequence[ir.Value]) -> set[ir.Node]:
    """Return all nodes that take part in some tensors."""
    found: set[ir.Node] = set()
    pending = [value.producer() for value in ends]
    while pending:
        node = pending.pop()
        if node is None or node in found:
            continue
        found.add(node)
        pending.extend(value.producer() for value in node.inputs if value is not None)
    return found


def _round(model: ir.Model, value: ir.Value, readers: set[ir.Node]) -> str | None:
    """Let some readers of a tensor read it rounded; return the tensor that counts what has moved."""
    uses = [(node, place) for node, place in value.uses() if node in readers and node.graph is model.graph]
    if not uses:
        return None
    users = {node for node, _ in uses}
    first = next(node for node in model.graph if node in users)
    new = VersionedBuilder(model, first, stem=f"{value.name}.rounded")
    back = new.cast(new.cast(value, ir.DataType.FLOAT16), value.dtype or ir.DataType.FLOAT)
    moved = new.cast(new.op("Not", new.op("Equal", value, back)), ir.DataType.INT64)
    count = new.reduce("ReduceSum", new.reshape(moved, [-1]), [0])
    for node, place in uses:
        node.replace_input_with(place, back)
    return count.name
