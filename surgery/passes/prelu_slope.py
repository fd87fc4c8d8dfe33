"""The pass ``prelu_slope``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import add_constant, remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_of, nodes_of
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types


@dataclass(frozen=True, kw_only=True, eq=False)
class _Slope(Site):
    """A ``PRelu`` and its new slope; None where the node is written with other operators."""

    slope: Array | None


@dataclass(frozen=True, kw_only=True)
class PreluSlope(GraphPass):
    """Give each ``PRelu`` a slope of one axis, or write it with other operators where none exists.

    Why: Ascend takes a slope of one axis with one or C numbers. In ONNX a slope of shape [C] runs along
    the *last* axis, so for maps the one that Ascend wants would mean something else everywhere else.
    Before: ``PRelu(x, slope[C,1,1])``.
    After: ``PRelu(x, slope[1])`` where all slopes are equal, ``[C]`` for x of rank 2, else
    ``Relu(x) - slope * Relu(-x)``, equal bit for bit.
    Seen in: face_net.
    Known as: prelu-slope (25).

    Attributes:
        decompose: whether to use other operators where no slope of one axis will do.
    """

    name: ClassVar[str] = "prelu_slope"
    decompose: bool = True

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``PRelu`` with another slope; see ``GraphPass.sites``."""
        found = list(nodes_of(model, "PRelu"))
        types = infer_types(model) if found else {}
        for node in found:
            place = self._judge(node, types)
            if place is not None:
                yield place

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Put in the new slope, or the other operators."""
        node = site.node
        if not isinstance(site, _Slope) or node.graph is None:
            return
        source, old, output = node.inputs[0], node.inputs[1], node.outputs[0]
        if site.slope is not None and old is not None:
            new_slope = add_constant(model, node, site.slope, f"{output.name or 'prelu'}.slope")
            node.replace_input_with(1, new_slope)
            remove_unread(model, [old])
            return
        new = NodeBuilder(model, node)
        above = new.op("Relu", source, like=output)
        below = new.op("Relu", new.op("Neg", source, like=output), like=output)
        new.replace(new.op("Sub", above, new.op("Mul", below, old, like=output), like=output))

    def _judge(self, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> Site | Declined | None:
        source, slope = node.inputs[0], node.inputs[1]
        known = types.get(source) if source is not None else None
        if known is None or known.shape is None or known.dtype is None or slope is None:
            return Declined(node=node, why="the rank or dtype of its input is not known")
        if not known.dtype.is_floating_point():
            return Declined(node=node, why=f"its input is {known.dtype.name}; Relu and targets want floats")
        array, rank = constant_of(slope), len(known.shape)
        shape = None if array is None else array.shape
        if shape == (1,) or (rank == 2 and shape is not None and len(shape) == 1):
            return None
        if array is not None and rank > 0 and array.size and bool((array == array.reshape(-1)[0]).all()):
            return _Slope(node=node, what="one slope for all", slope=array.reshape(-1)[:1].copy())
        if array is not None and rank == 2 and array.size == np.prod(array.shape[-1:]):
            return _Slope(node=node, what="one axis of slopes", slope=array.reshape(-1).copy())
        if self.decompose:
            return _Slope(node=node, what="Relu(x) - slope * Relu(-x)", slope=None)
        why = (
            "its slopes differ, and in ONNX a slope of one axis runs along the last axis; use decompose=true"
        )
        return Declined(node=node, why=why)
