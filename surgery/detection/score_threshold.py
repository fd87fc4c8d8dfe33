"""Which candidates a detector looks at: those whose score exceeds a threshold."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.reasons import UnsuitableError
from graphopt.surgery.graph_queries import input_of, is_op, label

_MIRRORED = {
    "Greater": "Less",
    "Less": "Greater",
    "GreaterOrEqual": "LessOrEqual",
    "LessOrEqual": "GreaterOrEqual",
}
_NEGATED = {
    "Greater": "LessOrEqual",
    "Less": "GreaterOrEqual",
    "GreaterOrEqual": "Less",
    "LessOrEqual": "Greater",
}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The candidates that count.

    Attributes:
        above: those with a score above this one; None counts all.
        judged: what is compared instead of the scores, of as many elements in the same order; None is
            the scores themselves.
    """

    above: float | None = None
    judged: ir.Value | None = None


def read_threshold(mask: ir.Value, scores: ir.Value, facts: Facts) -> Kept:
    """Read the comparison that makes a mask of candidates.

    Args:
        mask: bool, one for each candidate.
        scores: float, one for each candidate.
        facts: of the model.

    Raises:
        UnsuitableError: it is no comparison with a constant, or keeps the low scores.
    """
    node = _maker(mask)
    negated = False
    while node is not None and is_op(node, "Not"):
        negated, node = not negated, _maker(node.inputs[0])
    if node is None or not is_op(node, *_MIRRORED):
        raise UnsuitableError(
            f"its candidates are kept by {mask.name}, which compares nothing with a threshold"
        )
    kind, (compared, limit) = node.op_type, node.inputs
    threshold = facts.number(limit)
    if threshold is None:
        kind, compared, threshold = _MIRRORED[kind], limit, facts.number(node.inputs[0])
    if threshold is None or compared is None:
        raise UnsuitableError(f"the threshold of {label(node)} is computed at run time")
    kind = _NEGATED[kind] if negated else kind
    if kind.startswith("Less"):
        raise UnsuitableError(f"{label(node)} keeps the candidates below a threshold")
    if kind == "GreaterOrEqual":  # the operator wants a score above the threshold; floats have gaps
        threshold = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    return Kept(above=threshold, judged=None if _are_same(compared, scores, facts) else compared)


def _maker(value: ir.Value | None) -> ir.Node | None:
    """Return the node that makes a tensor, apart from those that only change its axes."""
    while value is not None:
        node = value.producer()
        if node is None or not is_op(node, "Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            return node
        value = input_of(node, 0)
    return None


def _are_same(first: ir.Value, second: ir.Value, facts: Facts) -> bool:
    if first is second:
        return True
    one, other = facts.sources(first), facts.sources(second)
    if not one or not other:
        return False
    return one[0].base is other[0].base and bool(np.array_equal(one[0].places, other[0].places))
