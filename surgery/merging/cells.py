"""Find where two maps of a feature pyramid are added, and whether one gates the other.

The cells of neural architecture search for pyramids (Ghiasi et al. 2019): a *sum* adds two maps that
were brought to one size; *global pooling attention* adds to a map another one times the sigmoid of the
first one's mean per channel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.graph_queries import constant_of, constant_tensor, input_of, is_op, nodes_of, opset_of
from graphopt.surgery.semantics.windows import window_of
from graphopt.surgery.shapes.known_sizes import KnownSizes

_POOLS = ("AveragePool", "GlobalAveragePool", "ReduceMean")
_AXES_ARE_AN_INPUT = 18
"""First opset in which the axes of ReduceMean are one."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """``product = feature * sigmoid(pool(source))``.

    Attributes:
        pool: takes the mean over the spatial axes.
        sigmoid: of that.
        product: the ``Mul``.
        source: the map that is pooled.
        feature: the map that is gated.
    """

    pool: ir.Node
    sigmoid: ir.Node
    product: ir.Node
    source: ir.Value
    feature: ir.Value


@dataclass(frozen=True, kw_only=True)
class MergeCell:
    """One place where maps are merged.

    Attributes:
        node: the ``Add``, or ``Sum`` of two.
        maps: what is merged; in an attention cell the pooled map comes first.
        gate: of an attention cell.
    """

    node: ir.Node
    maps: tuple[ir.Value, ir.Value]
    gate: Gate | None

    @property
    def kind(self) -> str:
        """In words."""
        return "sum" if self.gate is None else "attention"


def find_cells(model: ir.Model, sizes: KnownSizes) -> Iterator[MergeCell]:
    """Yield the cells of main graph, subgraphs and functions.

    An addition of two maps is one when it has a gate, or when a map comes from an enlargement by
    nearest elements or from a max pool without overlap. Attention whose maps have the right size
    already is one as well.
    """
    for node in nodes_of(model, "Add", "Sum"):
        maps = [value for value in node.inputs if value is not None and constant_tensor(value) is None]
        if len(maps) != 2 or len(node.inputs) != 2:
            continue
        gate = _gate_of(model, maps, sizes)
        if gate is not None:
            yield MergeCell(node=node, maps=(gate.source, gate.feature), gate=gate)
        elif any(_is_rescaled(value.producer()) for value in maps):
            yield MergeCell(node=node, maps=(maps[0], maps[1]), gate=None)


def is_pool_without_overlap(node: ir.Node | None) -> bool:
    """Whether a node is a max pool whose kernel equals its strides and is larger than one element."""
    if node is None or not is_op(node, "MaxPool"):
        return False
    kernel, strides = node.attributes.get("kernel_shape"), node.attributes.get("strides")
    if kernel is None or strides is None or kernel.is_ref() or strides.is_ref():
        return False
    return list(kernel.as_ints()) == list(strides.as_ints()) and max(kernel.as_ints()) > 1


def _is_rescaled(node: ir.Node | None) -> bool:
    if node is not None and is_op(node, "Resize"):
        return node.attributes.get_string("mode", "nearest") == "nearest"
    return is_pool_without_overlap(node)


def _gate_of(model: ir.Model, maps: list[ir.Value], sizes: KnownSizes) -> Gate | None:
    for source, other in (maps, reversed(maps)):
        product = other.producer()
        if product is None or not is_op(product, "Mul"):
            continue
        for index, value in enumerate(product.inputs):
            feature = product.inputs[1 - index]
            sigmoid = value.producer() if value is not None else None
            if feature is None or sigmoid is None or not is_op(sigmoid, "Sigmoid"):
                continue
            pooled = sigmoid.inputs[0]
            pool = pooled.producer() if pooled is not None else None
            if pool is not None and pool.inputs[0] is source and _is_mean_per_channel(model, pool, sizes):
                return Gate(pool=pool, sigmoid=sigmoid, product=product, source=source, feature=feature)
    return None


def _is_mean_per_channel(model: ir.Model, node: ir.Node, sizes: KnownSizes) -> bool:
    if not is_op(node, *_POOLS):
        return False
    if node.op_type == "GlobalAveragePool":
        return True
    shape = sizes.shape(node.inputs[0])
    if shape is None or len(shape) < 3:
        return False
    if node.op_type == "AveragePool":
        whole = sizes.spatial(node.inputs[0])
        window = window_of(node, whole)
        return not isinstance(window, str) and window.kernel == whole and not window.is_padded
    axes = _axes_of(node, opset_of(model, node))
    keeps = node.attributes.get_int("keepdims", 1) == 1
    return keeps and axes is not None and {axis % len(shape) for axis in axes} == {*range(2, len(shape))}


def _axes_of(node: ir.Node, opset: int) -> list[int] | None:
    if opset >= _AXES_ARE_AN_INPUT:
        array = constant_of(input_of(node, 1))
        return None if array is None else [int(axis) for axis in array.ravel()]
    attribute = node.attributes.get("axes")
    return None if attribute is None or attribute.is_ref() else list(attribute.as_ints())
