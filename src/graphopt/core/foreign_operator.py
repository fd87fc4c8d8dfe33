"""What is known of an operator that is not ONNX's own."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx
import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class ForeignOperator:
    """One operator.

    Attributes:
        op_type: its name in graphs.
        domains: under which exporters write it.
        shaped_like: returns for one node of it a standard node of any opset from 9, with the same names
            of inputs (all or some) and outputs, whose outputs have the same dtypes and shapes; None when
            its attributes are not as they must be. Only inferences read that node, nothing runs it.
    """

    op_type: str
    domains: tuple[str, ...]
    shaped_like: Callable[[ir.Node], onnx.NodeProto | None]
