"""Regions of elementwise nodes between Transposes, and how they are written without the upper ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_queries import (
    constant_tensor,
    has_attribute_references,
    input_of,
    is_op,
    label,
    used_elsewhere,
)
from graphopt.surgery.values.derived_tensors import derive, sizes_of
from graphopt.surgery.versioned_builder import VersionedBuilder

_ONE_INPUT = (
    "Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal",
    "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh",
    "ThresholdedRelu",
)  # fmt: skip
"""Their first input has the shape of the output; further ones (Clip) are scalars."""
_BROADCASTING = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min",
    "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
_MAX_NODES = 32
"""Regions are grown anew from every Transpose; a bound keeps that linear."""

Perm = tuple[int, ...]


@dataclass(eq=False)
class Region:
    """Elementwise nodes whose inputs are all transposed in the same way, or constant.

    Attributes:
        lower: the Transpose that reads the result.
        nodes: producers first.
        transposes: those that make the inputs.
        perm: of all of them; empty when each leaves it out, which reverses any rank.
        why_not: a clause when it cannot be written without them.
    """

    lower: ir.Node
    nodes: list[ir.Node] = field(default_factory=list)
    transposes: list[ir.Node] = field(default_factory=list)
    perm: Perm = ()
    why_not: str = ""

    def used_elsewhere(self) -> str | None:
        """Return who else reads one of the upper Transposes (a clause), which would then stay."""
        inside = {*self.nodes, self.lower}
        for upper in self.transposes:
            value = upper.outputs[0]
            outside = [reader for reader, _ in value.uses() if reader not in inside]
            if outside or value.is_graph_output():
                return used_elsewhere(value, next(iter(inside - set(outside))))
        return None

    def rebuilt(self, builder: VersionedBuilder) -> ir.Value:
        """Write the region on the tensors in front of the upper Transposes; return its result."""
        new: dict[ir.Value, ir.Value] = {}
        for upper in self.transposes:
            source = upper.inputs[0]
            if source is not None:
                new[upper.outputs[0]] = source
        for node in self.nodes:
            inputs = [self._moved(builder, node, index, new) for index in range(len(node.inputs))]
            attributes = {name: attribute.value for name, attribute in node.attributes.items()}
            made = builder.op(node.op_type, *inputs, attributes=attributes)
            made.type = node.outputs[0].type
            new[node.outputs[0]] = made
        result = self.lower.inputs[0]
        if result is None:
            raise ValueError(f"{label(self.lower)} reads nothing")
        return new[result]

    def _moved(
        self, builder: VersionedBuilder, node: ir.Node, index: int, new: dict[ir.Value, ir.Value]
    ) -> ir.Value | None:
        value = node.inputs[index]
        if value is None or value in new:
            return new[value] if value is not None else None
        tensor = constant_tensor(value)
        if tensor is None or tensor.size == 1 or (index and node.op_type in _ONE_INPUT):
            return value
        rank, sizes = len(self.perm), sizes_of(tensor)
        full = [1] * (rank - len(sizes)) + sizes
        back = sorted(range(rank), key=lambda axis: self.perm[axis])

        def move(array: Array) -> Array:
            return array.reshape(full).transpose(back)

        return builder.constant(derive(tensor, move, [full[axis] for axis in back]), "moved")


def perm_of(node: ir.Node) -> Perm | None:
    """Return the perm of a Transpose; None when it is left out."""
    attribute = node.attributes.get("perm")
    return None if attribute is None else tuple(int(axis) for axis in attribute.as_ints())


def compose(first: Sequence[int], second: Sequence[int]) -> Perm:
    """Return the perm of one Transpose that does what ``second`` after ``first`` does."""
    return tuple(first[axis] for axis in second)


def region_above(lower: ir.Node) -> Region | None:
    """Return the region that a Transpose reads, or None when something else is in the way."""
    region = Region(lower)
    if has_attribute_references(lower) or not _collect(region, input_of(lower, 0), set()):
        return None
    if not region.transposes:
        return None
    given = {perm_of(upper) for upper in region.transposes}
    ranks = {len(perm) for perm in (*given, perm_of(lower)) if perm is not None}
    if len(ranks) > 1:
        region.why_not = "the ranks above and below it differ"
        return region
    rank = ranks.pop() if ranks else 0
    perms = {tuple(reversed(range(rank))) if perm is None else perm for perm in given}
    region.perm = next(iter(perms))
    region.why_not = _why_not(region, perms)
    return region


def _why_not(region: Region, perms: set[Perm]) -> str:
    if len(perms) > 1:
        return f"what it reads is transposed in {len(perms)} ways"
    inside = {*region.nodes, region.lower}
    for node in region.nodes:
        value = node.outputs[0]
        if value.is_graph_output():
            return f"{value.name} is a graph output"
        other = next((reader for reader, _ in value.uses() if reader not in inside), None)
        if other is not None:
            return f"{value.name} is also read by {label(other)}"
        for value_read in node.inputs[:1] if node.op_type in _ONE_INPUT else node.inputs:
            tensor = constant_tensor(value_read)
            if tensor is not None and tensor.size != 1 and len(sizes_of(tensor)) > len(region.perm):
                return f"the rank of {value_read.name if value_read else 'a constant'} is larger, or unknown"
    return ""


def _collect(region: Region, value: ir.Value | None, seen: set[ir.Value]) -> bool:
    """Add what makes ``value``; whether all of it is elementwise, transposed or constant."""
    if value is None or value in seen or constant_tensor(value) is not None:
        return True
    node = value.producer()
    if node is None or node.graph is not region.lower.graph or has_attribute_references(node):
        return False
    seen.add(value)
    if is_op(node, "Transpose"):
        region.transposes.append(node)
        return True
    if len(region.nodes) >= _MAX_NODES or not is_op(node, *_ONE_INPUT, *_BROADCASTING):
        return False
    reads = node.inputs[:1] if node.op_type in _ONE_INPUT else node.inputs
    if not all(_collect(region, item, seen) for item in reads):
        return False
    region.nodes.append(node)
    return True
