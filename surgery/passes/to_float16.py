"""The pass ``to_float16``."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.comparison import Tolerance
from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError
from graphopt.core.lineage import node_label
from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import add_constant, fresh_name, remove_unread
from graphopt.surgery.graph_pass import Effect
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_tensor,
    graph_of,
    is_op,
    nodes_of,
)
from graphopt.surgery.model_pass import Change, ModelPass, Outcome, Refusal
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.values.half_precision import HalfForm, half_form

_LARGEST = 65504.0
_SMALLEST = 2.0**-24
"""The smallest positive number of IEEE 754 binary16, a subnormal."""


@dataclass(frozen=True, kw_only=True)
class ToFloat16(ModelPass):
    """Compute in float16 wherever operators allow it, with Casts at the borders.

    Why: half the memory and bandwidth, and on many devices twice the arithmetic; ATC does the same
    when it compiles. onnxruntime on a CPU without float16 kernels rounds weights only, and no tensor
    between nodes: ``fp16:FILE`` estimates the whole loss.
    Before: ``x -> Conv(w) -> Relu -> y``, all float32.
    After: ``x -> Cast(float16) -> Conv(w16) -> Relu -> Cast(float) -> y``.
    Seen in: vit_block.
    Known as: whole-model fp16 (42).

    Attributes:
        keep_ops: operators that stay in float32.
        keep_nodes: nodes that stay in float32, by name.
        keep_io: inputs and outputs of the model stay float32.
    """

    name: ClassVar[str] = "to_float16"
    effect: ClassVar[Effect] = Effect.APPROXIMATE
    bound: ClassVar[str] = (
        "2 % of each element plus 1 % of the largest: some dozens of layers, each rounding to 11 bits; "
        "weights beyond 65504 are clamped and listed"
    )
    tolerance: ClassVar[Tolerance] = Tolerance(
        atol=1e-3, rtol=0.02, peak=0.01, why="float16: 2^-11 per rounding, accumulated over layers"
    )

    keep_ops: tuple[str, ...] = ()
    keep_nodes: tuple[str, ...] = ()
    keep_io: bool = True

    def run(self, model: ir.Model) -> Outcome:
        """Convert the main graph; subgraphs and functions stay in float32.

        Raises:
            UsageError: ``keep_nodes`` names an unknown node.
        """
        self._check_names(model)
        plan = _Plan(model, infer_types(model), self.keep_ops, self.keep_nodes)
        if not plan.halves:
            return Outcome(model=model, changes=(), refusals=tuple(plan.refusals()))
        converter = _Converter(model=model, plan=plan)
        converter.convert(keep_io=self.keep_io)
        what = f"{len(plan.halves)} nodes work in float16, {converter.constants} constants are halved"
        changes = [Change(node=model.graph.name or "", op_type="", what=what)]
        changes += [Change(node=name, op_type="", what=text) for name, text in converter.losses.items()]
        return Outcome(model=model, changes=tuple(changes), refusals=tuple(plan.refusals()))

    def _check_names(self, model: ir.Model) -> None:
        known = {node.name for node in nodes_of(model) if node.name}
        for name in self.keep_nodes:
            if name not in known:
                raise UsageError(f"to_float16: there is no node {name!r}; {did_you_mean(name, known)}")


class _Plan:
    """Which nodes work in float16."""

    def __init__(
        self,
        model: ir.Model,
        types: dict[ir.Value, Inferred],
        keep_ops: tuple[str, ...],
        keep_nodes: tuple[str, ...],
    ) -> None:
        self._types = types
        self.halves: dict[ir.Node, HalfForm] = {}
        self._kept: dict[ir.Node, str] = {}
        opset = model.opset_imports.get("", 1)
        for node in model.graph:
            if is_op(node, "Constant") or not self._touches_floats(node) or self._is_border(node):
                continue
            form = half_form(node, opset)
            if isinstance(form, HalfForm) and not self._has_floats_to_halve(node, form):
                continue
            if node.op_type in keep_ops or (node.name and node.name in keep_nodes):
                self._kept[node] = "it is to stay in float32"
            elif isinstance(form, str):
                self._kept[node] = form
            else:
                self.halves[node] = form

    def is_float(self, value: ir.Value | None) -> bool:
        """Whether a value is float32 before the conversion."""
        found = self._types.get(value) if value is not None else None
        dtype = found.dtype if found is not None and found.dtype is not None else value and value.dtype
        return dtype == ir.DataType.FLOAT

    def becomes_half(self, value: ir.Value) -> bool:
        """Whether a node of the main graph will make a value in float16."""
        node = value.producer()
        form = self.halves.get(node) if node is not None else None
        return form is not None and self.is_float(value) and form.outputs[list(node.outputs).index(value)]  # type: ignore[union-attr]  # form says that node is there

    def refusals(self) -> Iterator[Refusal]:
        """Yield the nodes that stay, one per operator and reason."""
        counts = Counter((node.op_type, why) for node, why in self._kept.items())
        for (op_type, why), count in counts.items():
            first = next(node for node, text in self._kept.items() if (node.op_type, text) == (op_type, why))
            more = f", as {count - 1} more {op_type}" if count > 1 else ""
            yield Refusal(node=node_label(first), op_type=op_type, why=f"{why}{more}")

    def _has_floats_to_halve(self, node: ir.Node, form: HalfForm) -> bool:
        pairs = (*zip(node.inputs, form.inputs, strict=True), *zip(node.outputs, form.outputs, strict=True))
        return any(follows and self.is_float(value) for value, follows in pairs)

    def _is_border(self, node: ir.Node) -> bool:
        if not is_op(node, "Cast"):
            return False
        found = self._types.get(node.inputs[0]) if node.inputs[0] is not None else None
        to_half = attribute_int(node, "to", 0) == ir.DataType.FLOAT16
        return to_half or (found is not None and found.dtype == ir.DataType.FLOAT16)

    def _touches_floats(self, node: ir.Node) -> bool:
        return any(self.is_float(value) for value in (*node.inputs, *node.outputs))


@dataclass(kw_only=True)
class _Converter:
    """Carries a plan out: constants, attributes, and a Cast wherever two precisions meet."""

    model: ir.Model
    plan: _Plan
    constants: int = 0
    losses: dict[str, str] = field(default_factory=dict)
    _halved: dict[ir.Value, ir.Value] = field(default_factory=dict)
    _casts: dict[tuple[ir.Value, ir.Graph], ir.Value] = field(default_factory=dict)
    _half: set[ir.Value] = field(default_factory=set)

    def convert(self, *, keep_io: bool) -> None:
        """Convert the whole model."""
        graph = self.model.graph
        functions = self.model.functions.values()
        inside = {node for function in functions for node in function.graph.all_nodes()}
        # All is decided on the types as they were; nothing asks the model while it changes.
        wanted = [
            (node, index, value, self._wants_half(node, index))
            for node in nodes_of(self.model)
            if node not in inside
            for index, value in enumerate(node.inputs)
            if value is not None and self.plan.is_float(value)
        ]
        self._half = {
            value for node in self.plan.halves for value in node.outputs if self.plan.becomes_half(value)
        }
        outputs = [value for value in graph.outputs if value in self._half]
        if not keep_io:
            self._half.update(
                value for value in graph.inputs if self.plan.is_float(value) and not value.is_initializer()
            )
        for value in self._half:
            value.type = ir.TensorType(ir.DataType.FLOAT16)
        for node in self.plan.halves:
            _halve_attributes(node)
        replaced = []
        for node, index, value, half in wanted:
            if half != (value in self._half):
                node.replace_input_with(index, self._converted(node, value, half=half))
                replaced.append(value)
        if keep_io:
            for value in outputs:
                self._restore_output(value)
        remove_unread(self.model, dict.fromkeys(replaced))

    def _wants_half(self, node: ir.Node, index: int) -> bool:
        form = self.plan.halves.get(node)
        return form is not None and form.inputs[index]

    def _converted(self, node: ir.Node, value: ir.Value, *, half: bool) -> ir.Value:
        tensor = constant_tensor(value)
        if half and tensor is not None:
            if value not in self._halved:
                self._halved[value] = add_constant(
                    self.model, node, self._halve(value, tensor), f"{value.name}.float16"
                )
                self.constants += 1
            return self._halved[value]
        graph = graph_of(node)
        if (value, graph) not in self._casts:
            self._casts[value, graph] = self._cast(node, value, half=half)
        return self._casts[value, graph]

    def _cast(self, before: ir.Node, value: ir.Value, *, half: bool) -> ir.Value:
        dtype = ir.DataType.FLOAT16 if half else ir.DataType.FLOAT
        stem = f"{value.name}.{'float16' if half else 'float32'}"
        name = fresh_name(self.model, f"{stem}_node")
        cast = ir.node("Cast", [value], {"to": int(dtype)}, name=name)
        cast.outputs[0].name = fresh_name(self.model, stem)
        cast.outputs[0].type = ir.TensorType(dtype)
        cast.outputs[0].shape = value.shape
        producer = value.producer()
        if producer is not None and producer.graph is before.graph:
            graph_of(producer).insert_after(producer, cast)
        else:
            graph = graph_of(before)
            graph.insert_before(graph[0], cast)
        return cast.outputs[0]

    def _restore_output(self, value: ir.Value) -> None:
        """Give an output its name and type back, behind a Cast."""
        graph, node = self.model.graph, value.producer()
        assert node is not None
        name = value.name
        cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)})
        cast.name = fresh_name(self.model, f"{name}.float32_node")
        value.name = fresh_name(self.model, f"{name}.float16")
        cast.outputs[0].name = name
        cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), value.shape
        graph.insert_after(node, cast)
        graph.outputs[list(graph.outputs).index(value)] = cast.outputs[0]

    def _halve(self, value: ir.Value, tensor: ir.TensorProtocol) -> ir.LazyTensor:
        array = tensor.numpy()
        beyond = int((np.abs(array) > _LARGEST).sum())
        if beyond:
            self.losses[value.name or ""] = f"{beyond} of {array.size} values beyond 65504 are clamped"
        shape = ir.Shape([int(size) for size in tensor.shape.numpy()])
        return ir.LazyTensor(
            lambda: ir.Tensor(_halved(tensor.numpy())), dtype=ir.DataType.FLOAT16, shape=shape
        )


def _halved(array: Array) -> Array:
    """Round to float16; what is too large is clamped, what is too small keeps its sign."""
    with np.errstate(over="ignore"):
        half = np.asarray(np.clip(array, -_LARGEST, _LARGEST), dtype=np.float16)
    vanished = (half == 0) & (array != 0)
    half[vanished] = np.copysign(np.float16(_SMALLEST), np.asarray(array)[vanished])
    result: Array = half
    return result


def _halve_attributes(node: ir.Node) -> None:
    """Change the attributes that name a dtype or hold a tensor of the result's dtype."""
    for name in ("to", "dtype"):
        held = node.attributes.get(name)
        if held is not None and not held.is_ref() and held.value == ir.DataType.FLOAT:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT16))
    if is_op(node, "ConstantOfShape"):
        held = node.attributes.get("value")
        array = np.zeros(1, np.float32) if held is None else held.as_tensor().numpy()
        node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(_halved(array)))
