"""Operators that are not ONNX's own: one file for each, found by walking this folder."""

import functools

import onnx_ir as ir

from graphopt.core.discovery import find_constant, names_in
from graphopt.core.foreign_operator import ForeignOperator

__all__ = ["ForeignOperator", "operator_of"]


def operator_of(node: ir.Node) -> ForeignOperator | None:
    """Return what is known of the operator of a node; None for ONNX's own, and for strangers."""
    return _operators().get((node.domain, node.op_type))


@functools.cache
def _operators() -> dict[tuple[str, str], ForeignOperator]:
    found = [
        find_constant(__name__, name, "OPERATOR", ForeignOperator, kind="operator")
        for name in names_in(__name__)
    ]
    return {(domain, item.op_type): item for item in found for domain in item.domains}
