"""Which nodes make tensors dynamic: not the hundreds that follow, but where it begins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.folding.constant_folding import DATA_DEPENDENT
from graphopt.surgery.graph_queries import is_op
from graphopt.surgery.shapes.shape_inference import Inferred


@dataclass(frozen=True, kw_only=True)
class DynamicCause:
    """Where sizes stop being known.

    Attributes:
        node: the first node of which an output is dynamic; for an input its first reader.
        why: what it makes dynamic and how many tensors follow, a clause.
    """

    node: ir.Node
    why: str


def dynamic_causes(
    model: ir.Model, types: Mapping[ir.Value, Inferred], is_folded: Callable[[ir.Node], bool]
) -> list[DynamicCause]:
    """Return the causes of dynamic tensors of the main graph, in its order.

    Args:
        model: only its main graph is looked at.
        types: from ``ShapeInference``.
        is_folded: whether a node is about to become a constant.
    """
    origin: dict[ir.Value, ir.Value] = {}  # every value that depends on a dynamic one
    counts: dict[ir.Value, int] = {}
    for value in model.graph.inputs:
        if not value.is_initializer() and _is_dynamic(types.get(value)):
            origin[value] = value
            counts[value] = 0
    for node in model.graph:
        if is_folded(node) or is_op(node, "Constant"):
            continue
        cause = _inherited(node, origin, types)
        for output in node.outputs:
            if output.name and _is_dynamic(types.get(output)):
                begin = cause or output
                origin[output] = begin
                counts[begin] = counts.get(begin, -1) + 1
            elif cause is not None:
                origin[output] = cause
    return [_cause(value, types[value], count) for value, count in counts.items() if _anchor(value)]


def _inherited(
    node: ir.Node, origin: Mapping[ir.Value, ir.Value], types: Mapping[ir.Value, Inferred]
) -> ir.Value | None:
    tainted = [value for value in node.inputs if value is not None and value in origin]
    dynamic = next((value for value in tainted if _is_dynamic(types.get(value))), None)
    if dynamic is not None:
        return origin[dynamic]
    if not tainted or node.op_type in DATA_DEPENDENT:
        return None
    return origin[tainted[0]]


def _cause(value: ir.Value, found: Inferred, count: int) -> DynamicCause:
    node = _anchor(value)
    if node is None:
        raise ValueError(f"nothing makes or reads {value.name}")
    what = f"input {value.name}" if value.producer() is None else f"{node.op_type} makes {value.name}, which"
    follow = f", and {count} tensors that follow from it" if count else ""
    return DynamicCause(node=node, why=f"{what} is {found.text}{follow}")


def _anchor(value: ir.Value) -> ir.Node | None:
    return value.producer() or next((user for user, _ in value.uses()), None)


def _is_dynamic(found: Inferred | None) -> bool:
    return found is None or found.static is None
