"""Round a model's tensors to float16, so that a float32 runtime estimates what a chip in half precision does.

Tensors are rounded, arithmetic is not: weights, inputs and what each node writes pass through float16 (to
nearest even, beyond 65504 to infinity, subnormals kept), and inside a node all is float32, sums too. That is
what matrix units with float16 operands and float32 accumulators do; kernels that also add or compare in
float16 inside, as some vector and suppression kernels do, lose more. It is an estimate, not the chip.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.operator_types import FLOAT, FLOAT16, allowed_types
from graphopt.core.operators import at_home
from graphopt.core.tensors import Array
from graphopt.validate.half_exact import keeps_halves

SUPPRESSIONS = ("BatchMultiClassNMS", "NonMaxSuppression")
"""Operators of which ``round_suppressions`` rounds boxes and scores: their first two inputs."""
_LOOKS_AT_SIZES = frozenset({"Shape", "Size"})
_MAKES_NUMBERS = frozenset({"RandomNormal", "RandomUniform"})
"""What they write depends on no input, and yet is no constant."""

Types = Mapping[ir.Value, ir.DataType | None]


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """What was rounded.

    Attributes:
        tensors: how many inputs and node outputs pass through float16.
        constants: how many weights and other constants were rounded.
    """

    tensors: int
    constants: int


def round_tensors(model: ir.Model, types: Types) -> Rounded:
    """Round weights, inputs and every float32 tensor that a node writes; values keep their names.

    What is known before an image is seen (sizes, anchors) is computed as a compiler folds it, in float32, and
    rounded where it meets data; inputs that the standard knows only as float32 (the scales of ``Resize``) are
    left. Of a target's operator only inputs and outputs are rounded. float64 is left as it is.

    Args:
        model: without functions of its own; changed in place, its inputs and outputs stay float32.
        types: of the model's values, those in subgraphs too.
    """
    rounder = _Rounder(model, types)
    for value in model.graph.inputs:
        rounder.data.add(value)
        if rounder.is_float(value):
            rounder.round_input(value)
    rounder.walk(model.graph)
    return rounder.done()


def round_suppressions(model: ir.Model, types: Types) -> Rounded:
    """Round only what goes into the suppression of a detector, and what its operator writes.

    Args:
        model: as for ``round_tensors``.
        types: as for ``round_tensors``.

    Raises:
        PreconditionError: the model has no such operator.
    """
    nodes = [node for node in model.graph.all_nodes() if node.op_type in SUPPRESSIONS]
    if not nodes:
        raise PreconditionError(
            f"the model has none of {', '.join(SUPPRESSIONS)}, so nothing can be rounded at its suppression; "
            "fp16:FILE rounds the whole model"
        )
    rounder = _Rounder(model, types)
    for node in nodes:
        rounder.round_entries(node, range(2))
        if at_home(node) is not None:
            rounder.make_half(node, range(2))
        for value in node.outputs:
            if rounder.is_float(value):
                rounder.round_output(value)
    return rounder.done()


@dataclass
class _Rounder:
    """Edits one model.

    Attributes:
        data: values that depend on what the model is fed; those of float32 are rounded.
    """

    model: ir.Model
    types: Types
    data: set[ir.Value] = field(default_factory=set)
    _floats: set[ir.Value] = field(default_factory=set)
    _constants: dict[ir.Value, ir.Value] = field(default_factory=dict)
    _entries: dict[tuple[ir.Value, ir.Graph], ir.Value] = field(default_factory=dict)
    _tensors: int = 0

    def __post_init__(self) -> None:
        self._opset = self.model.opset_imports.get("", 1)
        self._names = _names_of(self.model)

    def done(self) -> Rounded:
        """Drop constants that nobody reads any more, and tell what was done."""
        for value in self._constants:
            graph, maker = value.graph, value.producer()
            if value.uses() or value.is_graph_output() or graph is None:
                continue
            if maker is not None:
                graph.remove(maker, safe=True)
            else:
                del graph.initializers[value.name or ""]
        return Rounded(tensors=self._tensors, constants=len(self._constants))

    def is_float(self, value: ir.Value | None) -> bool:
        """Whether a value is float32."""
        if value is None:
            return False
        dtype = self.types.get(value) or value.dtype
        return value in self._floats or dtype == ir.DataType.FLOAT

    def walk(self, graph: ir.Graph) -> None:
        """Round what the nodes of a graph read and write, in their order."""
        for node in tuple(graph):
            inner = _subgraphs(node)
            if not self._depends_on_data(node, inner):
                continue
            self.round_entries(node, range(len(node.inputs)))
            for body in inner:
                self.data.update(body.inputs)
                self.walk(body)
                self._round_results(body)
            exact = keeps_halves(node, self.types)
            if at_home(node) is not None and node.op_type in SUPPRESSIONS:
                self.make_half(node, range(2))
            for value in node.outputs:
                self.data.add(value)
                if self.is_float(value) and not exact:
                    self.round_output(value)

    def round_input(self, value: ir.Value) -> None:
        """Have all readers of a graph input read it rounded."""
        uses = tuple(value.uses())
        graph = self.model.graph
        rounded = self._pair(value, f"{value.name}.rounded")
        graph.insert_before(graph[0], _nodes_to(rounded)) if len(graph) else graph.extend(_nodes_to(rounded))
        for use in uses:
            use.node.replace_input_with(use.idx, rounded)

    def round_output(self, value: ir.Value) -> None:
        """Put a rounding behind the node that writes a value; the rounded one takes name and place."""
        node, uses = value.producer(), tuple(value.uses())
        assert node is not None
        assert node.graph is not None
        name = value.name or ""
        value.name = self._fresh(f"{name}.unrounded")
        rounded = self._pair(value, name)
        node.graph.insert_after(node, _nodes_to(rounded))
        for use in uses:
            use.node.replace_input_with(use.idx, rounded)
        _replace_output(node.graph, value, rounded)

    def round_entries(self, node: ir.Node, places: Iterable[int]) -> None:
        """Have a node read rounded what is not rounded yet, where the operator may read float16 at all."""
        allowed = allowed_types(node, self._opset)
        for index in places:
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is None or value in self.data or not self.is_float(value):
                continue
            if allowed is None or node.op_type in SUPPRESSIONS or {FLOAT, FLOAT16} <= allowed[0][index]:
                assert node.graph is not None
                node.replace_input_with(index, self._entry(value, node))

    def make_half(self, node: ir.Node, places: Iterable[int]) -> None:
        """Let a target's operator see float16 itself: its thresholds are compared in that precision."""
        assert node.graph is not None
        for index in places:
            value = node.inputs[index]
            if value is not None and self.is_float(value):
                half = self._cast(value, ir.DataType.FLOAT16, self._fresh(f"{value.name}.float16"))
                node.graph.insert_before(node, _nodes_to(half, 1))
                node.replace_input_with(index, half)
        for value in node.outputs:
            if self.is_float(value):
                self._floats.add(value)  # for the reader it is what it was; the rounding becomes a plain Cast
                value.type = ir.TensorType(ir.DataType.FLOAT16)

    def _depends_on_data(self, node: ir.Node, inner: list[ir.Graph]) -> bool:
        if node.domain == "" and node.op_type in _LOOKS_AT_SIZES:
            return False
        if node.domain == "" and node.op_type in _MAKES_NUMBERS:
            return True
        read = [
            *node.inputs,
            *(value for body in inner for item in body.all_nodes() for value in item.inputs),
        ]
        read += [value for body in inner for value in body.outputs]
        return any(value in self.data for value in read if value is not None)

    def _round_results(self, body: ir.Graph) -> None:
        """Round the results of a subgraph that no data reached."""
        for index, value in enumerate(body.outputs):
            if self.is_float(value) and value not in self.data:
                rounded = self._pair(value, self._fresh(f"{value.name}.rounded"))
                body.extend(_nodes_to(rounded))
                body.outputs[index] = rounded

    def _entry(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is not None and not value.is_graph_input():
            return self._constant(value, tensor)
        graph = reader.graph
        assert isinstance(graph, ir.Graph)
        if (value, graph) not in self._entries:
            rounded = self._pair(value, self._fresh(f"{value.name}.rounded"))
            maker = value.producer()
            if maker is not None and maker.graph is graph:
                graph.insert_after(maker, _nodes_to(rounded))
            else:
                graph.insert_before(graph[0], _nodes_to(rounded))
            self._entries[value, graph] = rounded
        return self._entries[value, graph]

    def _constant(self, value: ir.Value, tensor: ir.TensorProtocol) -> ir.Value:
        if value not in self._constants:
            name = self._fresh(f"{value.name}.rounded")
            shape = ir.Shape([int(size) for size in tensor.shape.numpy()])
            rounded = ir.LazyTensor(
                lambda: ir.Tensor(_rounded(tensor.numpy()), name=name),
                dtype=ir.DataType.FLOAT,
                shape=shape,
                name=name,
            )
            new = ir.Value(name=name, const_value=rounded, type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
            self.model.graph.register_initializer(new)
            self._constants[value] = new
        return self._constants[value]

    def _pair(self, value: ir.Value, name: str) -> ir.Value:
        """Return a value, of that name, that is ``value`` rounded; its nodes are in no graph yet."""
        half = value
        if value.dtype != ir.DataType.FLOAT16:  # else its operator rounds by itself
            half = self._cast(value, ir.DataType.FLOAT16, self._fresh(f"{name}.float16"))
        rounded = self._cast(half, ir.DataType.FLOAT, name)
        self.data.add(rounded)
        self._floats.add(rounded)
        self._tensors += 1
        return rounded

    def _cast(self, value: ir.Value, dtype: ir.DataType, name: str) -> ir.Value:
        made = ir.node("Cast", [value], {"to": int(dtype)}, name=self._fresh(f"{name}_cast"))
        result = made.outputs[0]
        result.name, result.type = name, ir.TensorType(dtype)
        result.shape = value.shape.copy() if value.shape is not None else None
        return result

    def _fresh(self, stem: str) -> str:
        name, count = stem, 1
        while name in self._names:
            name, count = f"{stem}_{count}", count + 1
        self._names.add(name)
        return name


def _rounded(array: Array) -> Array:
    with np.errstate(over="ignore"):  # infinite is what it becomes
        result: Array = np.asarray(array).astype(np.float16).astype(np.float32)
    return result


def _nodes_to(value: ir.Value, count: int = 2) -> list[ir.Node]:
    """Return the Casts, not yet in a graph, that make a value; the last one makes it."""
    found: list[ir.Node] = []
    node = value.producer()
    while node is not None and node.graph is None and len(found) < count:
        found.insert(0, node)
        source = node.inputs[0]
        node = source.producer() if source is not None else None
    return found


def _replace_output(graph: ir.Graph | ir.Function, old: ir.Value, new: ir.Value) -> None:
    for index, value in enumerate(graph.outputs):
        if value is old:
            graph.outputs[index] = new


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    graphs: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            graphs.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs.extend(attribute.as_graphs())
    return graphs


def _names_of(model: ir.Model) -> set[str]:
    names: set[str] = {value.name or "" for value in model.graph.inputs}
    graphs = [model.graph, *model.graph.subgraphs()]
    for graph in graphs:
        names.update(graph.initializers)
        names.update(value.name or "" for value in graph.inputs)
        for node in graph:
            names.update([node.name or "", *(value.name or "" for value in node.outputs)])
    return names
