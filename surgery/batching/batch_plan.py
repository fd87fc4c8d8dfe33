"""Follow the batch axis through a graph and plan what must change for another batch size."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import InvalidModelError, PreconditionError
from graphopt.core.tensors import Array
from graphopt.surgery.batching.batch_rules import PARAMETERS, RULES, foreign
from graphopt.surgery.batching.batched_node import Mixed, Shape
from graphopt.surgery.folding.constant_batch import ConstantBatch
from graphopt.surgery.graph_queries import (
    ONNX_DOMAIN,
    attribute_int,
    constant_of,
    constant_tensor,
    has_subgraph,
    is_op,
    label,
    subgraphs_of,
)
from graphopt.surgery.shapes.shape_inference import Inferred

_MAX_COMPUTED = 1 << 20
"""Bytes of a tensor that is computed here to see how it depends on the batch."""


@dataclass(frozen=True, kw_only=True)
class Fix:
    """A constant that holds the batch.

    Attributes:
        node: its reader.
        index: which input.
        values: what must be there instead, int64.
    """

    node: ir.Node
    index: int
    values: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """An input that is the same for every sample and has one copy for each.

    Attributes:
        node: its reader.
        index: which input.
        axis: along which the copies lie.
        rank: number of axes.
        size: how many copies there must be.
    """

    node: ir.Node
    index: int
    axis: int
    rank: int
    size: int


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What another batch size takes.

    Attributes:
        fixes: constants and copies to replace.
        types: dtype and new shape of every value that the batch reaches.
    """

    fixes: tuple[Fix | Repeat, ...]
    types: Mapping[ir.Value, Inferred]


def plan_batch(
    model: ir.Model, types: Mapping[ir.Value, Inferred], inputs: Iterable[ir.Value], *, old: int, new: int
) -> BatchPlan:
    """Plan a change of the batch from ``old`` to ``new``; the model is not changed.

    Args:
        model: its main graph is followed.
        types: for the old batch.
        inputs: those whose axis 0 is the batch.
        old: samples per run that ``types`` were inferred for.
        new: samples per run wanted.

    Raises:
        PreconditionError: a node mixes samples or holds the batch in a way that cannot be changed,
            or an output has no batch on axis 0.
    """
    tracker = _Tracker(model=model, types=types, old=old, new=new)
    for value in inputs:
        tracker.axes[value] = 0
    for node in model.graph:
        try:
            tracker.visit(node)
        except Mixed as finding:
            raise PreconditionError(
                f"set_batch: {label(node)} does not allow another batch: {finding}; "
                "cut the graph before it (pin_outputs), or export the model again with this batch"
            ) from finding
    for value in model.graph.outputs:
        if tracker.axes.get(value) != 0:
            raise PreconditionError(
                f"set_batch: output {value.name} does not have the batch on its first axis; "
                "leave it out (pin_outputs), or export the model again with this batch"
            )
    planned = {
        value: Inferred(dtype=types[value].dtype, shape=tracker.new_shape_of(value)) for value in tracker.axes
    }
    return BatchPlan(fixes=tuple(tracker.fixes), types=planned)


@dataclass(kw_only=True)
class _Tracker:
    model: ir.Model
    types: Mapping[ir.Value, Inferred]
    old: int
    new: int
    axes: dict[ir.Value, int] = field(default_factory=dict)
    pairs: dict[ir.Value, tuple[Array, Array]] = field(default_factory=dict)
    """Tensors computed from sizes: for the old batch and for the new one."""
    fixes: list[Fix | Repeat] = field(default_factory=list)

    def visit(self, node: ir.Node) -> None:
        reached = [value for value in _reads(node) if value in self.axes or value in self.pairs]
        if not reached:
            return
        if is_op(node, "Shape", "Size"):
            self._measure(node)
        elif not any(value in self.axes for value in reached) and self._compute(node):
            return
        else:
            self._apply_rule(node)

    def shape_of(self, value: ir.Value) -> Shape:
        found = self.types[value].static if value in self.types else None
        if found is None:
            raise Mixed(f"the shape of {value.name} is not known: it depends on the data")
        return found

    def new_shape_of(self, value: ir.Value) -> Shape:
        shape = self.shape_of(value)
        return self.scaled(shape, self.axes[value]) if value in self.axes else shape

    def scaled(self, shape: Shape, axis: int) -> Shape:
        if shape[axis] % self.old:
            raise Mixed(f"a size of {shape[axis]} does not hold whole batches of {self.old}")
        return (*shape[:axis], shape[axis] // self.old * self.new, *shape[axis + 1 :])

    def _measure(self, node: ir.Node) -> None:
        source = node.inputs[0]
        if source is None:
            return
        pair = []
        for shape in (self.shape_of(source), self.new_shape_of(source)):
            if is_op(node, "Size"):
                pair.append(np.array(np.prod(shape), dtype=np.int64))
            else:
                end = node.attributes.get("end")
                part = shape[attribute_int(node, "start", 0) : None if end is None else end.as_int()]
                pair.append(np.array(part, dtype=np.int64))
        self.pairs[node.outputs[0]] = (pair[0], pair[1])

    def _compute(self, node: ir.Node) -> bool:
        """Compute what follows from sizes and constants alone, for both batches."""
        inputs = [value for value in node.inputs if value is not None]
        if node.domain != ONNX_DOMAIN or has_subgraph(node):
            return False
        if not all(value in self.pairs or constant_tensor(value) is not None for value in inputs):
            return False
        for value in node.outputs:
            static = self.types[value].static if value in self.types else None
            if static is None or np.prod(static) * self.new * 8 > _MAX_COMPUTED:
                return False
        before = self._run(node, 0)
        same = all(np.array_equal(*self.pairs[value]) for value in inputs if value in self.pairs)
        after = before if same else self._run(node, 1)
        self.pairs.update({value: (before[value], after[value]) for value in before})
        return True

    def _run(self, node: ir.Node, which: int) -> dict[ir.Value, Array]:
        def tensor_of(value: ir.Value) -> ir.TensorProtocol | None:
            return ir.Tensor(self.pairs[value][which]) if value in self.pairs else constant_tensor(value)

        batch = ConstantBatch([node], tensor_of, self.model.opset_imports.get(ONNX_DOMAIN, 1))
        try:
            return batch.run([value for value in node.outputs if value.name], batch.types())
        except InvalidModelError as error:
            raise Mixed(f"its sizes do not fit the new batch ({error})") from error

    def _apply_rule(self, node: ir.Node) -> None:
        rule = RULES.get(node.op_type) if node.domain == ONNX_DOMAIN else foreign
        view = _View(tracker=self, node=node, opset=self.model.opset_imports.get(ONNX_DOMAIN, 1))
        if not view.is_reached():
            return
        if rule is None:
            raise Mixed(f"nothing is known of how {node.op_type} treats a batch")
        found = rule(view)
        axes = found if isinstance(found, tuple) else (found,) * len(node.outputs)
        for value, axis in zip(node.outputs, axes, strict=False):
            if value.name:
                self.axes[value] = axis
                self.new_shape_of(value)


@dataclass(kw_only=True)
class _View:
    """One node as its rule sees it; see ``batched_node.BatchedNode``."""

    tracker: _Tracker
    node: ir.Node
    opset: int

    @property
    def old_batch(self) -> int:
        return self.tracker.old

    def is_reached(self) -> bool:
        """Whether the batch or its size really matters to the node."""
        if has_subgraph(self.node):
            return True
        inputs = [value for value in self.node.inputs if value is not None]
        return any(value in self.tracker.axes or self._differs(value) for value in inputs)

    def axis(self, index: int) -> int | None:
        value = self._value(index)
        if value is None or index in PARAMETERS.get(self.node.op_type, ()):
            return None
        if not self._differs(value):
            return self.tracker.axes.get(value)
        before, after = self.tracker.pairs[value]
        axis = _repeated_axis(before, after, self.tracker)
        if axis is None:
            raise Mixed(f"it computes with {value.name}, which depends on the size of the batch")
        return axis

    def shape(self, index: int) -> Shape:
        value = self._value(index)
        if value is None:
            raise Mixed(f"its input {index} is left out")
        return self.tracker.shape_of(value)

    def new_shape(self, index: int) -> Shape:
        axis = self.axis(index)
        return self.shape(index) if axis is None else self.scaled(self.shape(index), axis)

    def output_shape(self) -> Shape:
        return self.tracker.shape_of(self.node.outputs[0])

    def scaled(self, shape: Shape, axis: int) -> Shape:
        return self.tracker.scaled(shape, axis)

    def ints(self, index: int, attribute: str = "") -> list[int] | None:
        if index < 0:
            found = self.node.attributes.get(attribute)
            return None if found is None else [int(item) for item in found.as_ints()]
        if self._value(index) is None:
            return None
        old, new, _ = self.sizes(index)
        if old != new:
            raise Mixed(f"its input {index} depends on the size of the batch")
        return old

    def sizes(self, index: int) -> tuple[list[int], list[int], bool]:
        value = self._value(index)
        if value in self.tracker.pairs:
            before, after = self.tracker.pairs[value]
            return before.ravel().tolist(), after.ravel().tolist(), False
        array = constant_of(value)
        if array is None:
            raise Mixed(f"its input {index} is computed from data")
        return array.ravel().tolist(), array.ravel().tolist(), True

    def fix(self, index: int, values: list[int]) -> None:
        self.tracker.fixes.append(Fix(node=self.node, index=index, values=tuple(values)))

    def repeat(self, index: int, axis: int) -> None:
        value, size = self._value(index), self.shape(index)[axis]
        array = constant_of(value) if self.old_batch > 1 else None
        copies = array is not None and bool(np.all(array == array.take([0], axis=axis)))
        if value is None or size != self.old_batch or not (self.old_batch == 1 or copies):
            name = "" if value is None else value.name
            raise Mixed(f"{name} has a fixed size of {size} along the batch")
        rank, new = len(self.shape(index)), self.tracker.new
        self.tracker.fixes.append(Repeat(node=self.node, index=index, axis=axis, rank=rank, size=new))

    def _value(self, index: int) -> ir.Value | None:
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def _differs(self, value: ir.Value) -> bool:
        return value in self.tracker.pairs and not np.array_equal(*self.tracker.pairs[value])


def _repeated_axis(before: Array, after: Array, tracker: _Tracker) -> int | None:
    """Return the axis along which a computed tensor repeats one sample per image of the batch."""
    if before.ndim != after.ndim:
        return None
    axes = [axis for axis in range(before.ndim) if before.shape[axis] != after.shape[axis]]
    if len(axes) != 1 or before.shape[axes[0]] != tracker.old or after.shape[axes[0]] != tracker.new:
        return None
    sample = before.take([0], axis=axes[0])
    alike = np.array_equal(before, np.broadcast_to(sample, before.shape))
    return axes[0] if alike and np.array_equal(after, np.broadcast_to(sample, after.shape)) else None


def _reads(node: ir.Node) -> list[ir.Value]:
    inner = [value for graph in subgraphs_of(node) for item in graph.all_nodes() for value in item.inputs]
    return [value for value in (*node.inputs, *inner) if value is not None]
