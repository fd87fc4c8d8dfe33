"""Which int64 nodes can work in int32, in which groups, and what that costs in casts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_dead, take_over
from graphopt.surgery.graph_queries import constant_tensor, has_attribute_references, input_of, is_op
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.shape_inference import Inferred
from graphopt.surgery.values.integer_ranges import IntegerRanges, Interval

_INT32, _INT64 = ir.DataType.INT32, ir.DataType.INT64
LIMITS: Interval = (-(2**31), 2**31 - 1)

_ARITHMETIC: dict[str, tuple[int, ...] | None] = {
    "Abs": (0,), "Add": None, "Clip": None, "CumSum": (0,), "Div": None, "Equal": None,
    "Greater": None, "GreaterOrEqual": None, "Less": None, "LessOrEqual": None, "Max": None, "Min": None,
    "Mod": None, "Mul": None, "Neg": (0,), "Range": None, "ReduceMax": (0,), "ReduceMin": (0,),
    "ReduceSum": (0,), "Sub": None, "Where": (1, 2),
}  # fmt: skip
"""Operators worth narrowing -> the inputs that share one integer dtype; None means all of them."""
_MOVING: dict[str, tuple[int, ...] | None] = {
    "Cast": (), "Concat": None, "Expand": (0,), "Flatten": (0,), "Gather": (0,), "GatherElements": (0,),
    "GatherND": (0,), "Identity": (0,), "Reshape": (0,), "Slice": (0,), "Split": (0,), "Squeeze": (0,),
    "Tile": (0,), "Transpose": (0,), "Unsqueeze": (0,),
}  # fmt: skip
"""Operators that only pass numbers on; they follow their neighbours."""
_TAKE_INT32 = {"Cast": 0, "Gather": 1, "GatherElements": 1, "ScatterElements": 1}
"""Inputs of other nodes that may be int32 as well, whatever the dtype of the rest."""


@dataclass(eq=False)
class Region:
    """Connected nodes that work in int32 together.

    Attributes:
        nodes: producers first.
        entries: int64 tensors from outside, which need a Cast to int32 each.
        exits: int64 tensors that somebody outside reads as int64, which need a Cast back each.
        wide: the int64 tensors that the nodes make.
        ready: int32 tensors that a Cast among the nodes makes int64.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    entries: list[ir.Value] = field(default_factory=list)
    exits: list[ir.Value] = field(default_factory=list)
    wide: frozenset[ir.Value] = frozenset()
    ready: frozenset[ir.Value] = frozenset()

    @property
    def computes(self) -> bool:
        """Whether it does more than to pass numbers on."""
        return any(node.op_type in _ARITHMETIC for node in self.nodes)

    @property
    def why_not(self) -> str:
        """Why it is not worth it (a clause); empty when it is."""
        casts = len(self.entries) + len(self.exits)
        return f"{casts} casts would be needed for {len(self.nodes)} nodes" if casts > len(self.nodes) else ""


def takes_int32(node: ir.Node, index: int) -> bool:
    """Whether an input of a node may be int32 although it is int64 now."""
    return node.domain == "" and _TAKE_INT32.get(node.op_type) == index


def narrow_inputs(node: ir.Node) -> Iterator[int]:
    """Yield the inputs that become int32 when the node does."""
    chosen = {**_ARITHMETIC, **_MOVING}[node.op_type]
    for index in range(len(node.inputs)) if chosen is None else chosen:
        if input_of(node, index) is not None:
            yield index


def narrow(model: ir.Model, region: Region, narrowed: dict[ir.Value, ir.Value] | None = None) -> None:
    """Write a region anew in int32, with Casts where int64 comes in or is wanted.

    Args:
        model: changed in place.
        region: from ``Narrowing.regions``.
        narrowed: int64 tensor -> the same in int32, as far as there are any.
    """
    new = dict(narrowed or {})
    for node in region.nodes:
        _write(model, node, region, new)
    for node in region.nodes:
        builder = NodeBuilder(model, node)
        for old in node.outputs:
            if old not in new:
                continue
            for user, index in tuple(old.uses()):
                if takes_int32(user, index):
                    user.replace_input_with(index, new[old])
            if old in region.exits:
                back = builder.op("Cast", new[old], attributes={"to": _INT64.value})
                back.type = ir.TensorType(_INT64)
                take_over(back, old)
    remove_dead(model, reversed(region.nodes))


def _write(model: ir.Model, node: ir.Node, region: Region, new: dict[ir.Value, ir.Value]) -> None:
    builder = NodeBuilder(model, node)
    inputs = list(node.inputs)
    for index in narrow_inputs(node):
        value = inputs[index]
        if value is not None:
            inputs[index] = _entry(builder, value, new)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    if is_op(node, "Cast"):
        source = input_of(node, 0)
        if source is not None and source in region.ready:
            new[node.outputs[0]] = source
            return
        attributes["to"] = _INT32.value
    made = builder.ops(node.op_type, *inputs, attributes=attributes, outputs=len(node.outputs))
    for old, value in zip(node.outputs, made, strict=True):
        if old in region.wide:
            value.type = ir.TensorType(_INT32)
            new[old] = value
        else:  # a comparison
            take_over(value, old)


def _entry(builder: NodeBuilder, value: ir.Value, new: dict[ir.Value, ir.Value]) -> ir.Value:
    if value not in new:
        tensor = constant_tensor(value)
        if tensor is not None:
            return builder.constant(ir.Tensor(tensor.numpy().astype(np.int32)), "int32")
        made = builder.op("Cast", value, attributes={"to": _INT32.value})
        made.type = ir.TensorType(_INT32)
        new[value] = made
    return new[value]


class Narrowing:
    """Looks for regions in every graph but functions, whose dtypes are unknown.

    Args:
        model: is not changed.
        types: inferred.
    """

    def __init__(self, model: ir.Model, types: Mapping[ir.Value, Inferred]) -> None:
        self._types = types
        self._ranges = IntegerRanges(model, types)
        self.refused: dict[ir.Node, str] = {}
        """Arithmetic that stays in int64, and why."""
        self._around: dict[tuple[ir.Value | None, ir.Graph | None], Region] = {}
        self._joined: dict[Region, Region] = {}
        self._places = {node: place for place, node in enumerate(model.graph.all_nodes())}
        for node in self._places:
            if node.domain == "" and node.op_type in {**_ARITHMETIC, **_MOVING} and self._is_int64(node):
                reason = self._why_not(node)
                if reason is None:
                    self._add(node)
                elif node.op_type in _ARITHMETIC:
                    self.refused[node] = reason

    def regions(self) -> list[Region]:
        """Return the regions, with what enters and leaves them."""
        found = list(dict.fromkeys(map(self._final, self._around.values())))
        for region in found:
            inside = set(region.nodes)
            region.nodes.sort(key=self._places.__getitem__)
            made = {value for node in region.nodes for value in node.outputs}
            read = [node.inputs[index] for node in region.nodes for index in narrow_inputs(node)]
            outer = [value for value in read if value is not None and value not in made]
            region.entries = [value for value in dict.fromkeys(outer) if constant_tensor(value) is None]
            region.wide = frozenset(value for value in made if self._dtype(value) == ir.DataType.INT64)
            casts = (node.inputs[0] for node in region.nodes if node.op_type == "Cast")
            region.ready = frozenset(
                v for v in casts if v is not None and self._dtype(v) == ir.DataType.INT32
            )
            region.exits = [
                value
                for node in region.nodes
                for value in node.outputs
                if value in region.wide
                and (value.is_graph_output() or any(self._stays(user, i, inside) for user, i in value.uses()))
            ]
        return found

    def _stays(self, user: ir.Node, index: int, inside: set[ir.Node]) -> bool:
        if user in inside and index in narrow_inputs(user):
            return False
        return not takes_int32(user, index)

    def _dtype(self, value: ir.Value | None) -> ir.DataType | None:
        found = self._types.get(value) if value is not None else None
        return None if found is None else found.dtype

    def _is_int64(self, node: ir.Node) -> bool:
        if has_attribute_references(node):
            return False
        values = [node.inputs[index] for index in narrow_inputs(node)] or list(node.outputs)
        dtypes = [self._dtype(value) or _constant_dtype(value) for value in values]
        return bool(dtypes) and all(dtype == ir.DataType.INT64 for dtype in dtypes)

    def _why_not(self, node: ir.Node) -> str | None:
        if node.op_type == "Cast" and self._ranges.of(input_of(node, 0)) is None:
            return "its input has no bounds"
        values = [node.inputs[index] for index in narrow_inputs(node)]
        values += [value for value in node.outputs if self._dtype(value) == ir.DataType.INT64]
        for value in values:
            interval = self._ranges.of(value)
            if interval is None:
                return f"nothing bounds {value.name if value is not None else 'an input'}"
            if not (LIMITS[0] <= interval[0] and interval[1] <= LIMITS[1]):
                name = value.name if value is not None else "an input"
                return f"{name} may be as far as {max(interval, key=abs)}, beyond int32"
        return None

    def _add(self, node: ir.Node) -> None:
        """Put a node into the region of those that make or read its inputs, joining theirs."""
        region = Region()
        shared = [node.inputs[index] for index in narrow_inputs(node)]
        for value in shared:
            other = self._around.get((value, node.graph)) if constant_tensor(value) is None else None
            if other is not None and self._final(other) is not self._final(region):
                both = self._final(region), self._final(other)
                small, region = sorted(both, key=lambda item: len(item.nodes))
                region.nodes += small.nodes
                self._joined[small] = region
        region = self._final(region)
        region.nodes.append(node)
        for value in (*shared, *node.outputs):
            self._around[value, node.graph] = region

    def _final(self, region: Region) -> Region:
        while region in self._joined:
            region = self._joined[region]
        return region


def _constant_dtype(value: ir.Value | None) -> ir.DataType | None:
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.dtype
