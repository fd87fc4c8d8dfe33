"""Work out dtypes and shapes from graph inputs and constants, without reading or copying weights.

The model is written as a protobuf once, weights left out, and given to ONNX's own inference with
value propagation. What the file claims about inner tensors is not believed: a wrong or outdated
claim would make wrong rewrites. Only outputs of operators that ONNX does not know keep theirs.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.operators import operator_of
from graphopt.surgery.engine.fingerprint import fingerprint
from graphopt.surgery.graph_queries import constant_tensor, is_op

_TYPES = "graphopt.types"
_STAND_INS = "graphopt.types"
"""Domain of the functions that stand for foreign operators in front of ONNX's inference."""
SMALL_BYTES = 4096
"""Constants up to this size may be shapes, axes or sizes, and are shown to the inference."""


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """What is known about a tensor.

    Attributes:
        dtype: None when unknown, or the value is no tensor.
        shape: sizes; a str is symbolic, None unknown; None as a whole when the rank is unknown.
    """

    dtype: ir.DataType | None
    shape: tuple[int | str | None, ...] | None

    @property
    def static(self) -> tuple[int, ...] | None:
        """The shape when every size is a number, else None."""
        if self.shape is None or not all(isinstance(size, int) for size in self.shape):
            return None
        return tuple(size for size in self.shape if isinstance(size, int))

    @property
    def text(self) -> str:
        """The shape as ``[batch, 3, ?]``."""
        if self.shape is None:
            return "?"
        return "[" + ", ".join("?" if size is None else str(size) for size in self.shape) + "]"


class ShapeInference:
    """The types of one model's values, refined as more values become known.

    Args:
        model: must not change while this is used.
        inputs: shapes of graph inputs in place of the declared ones, by name.

    Raises:
        PreconditionError: the given shapes contradict the graph (raised by ``run``).
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        inputs: Mapping[str, tuple[int | str | None, ...]] | None = None,
    ) -> None:
        self._model = model
        self._known: dict[ir.Value, Inferred] = {}
        functions, version = set(model.functions), model.opset_imports.get("", 1)
        whole = _without_weights(model)
        for graph, proto in _paired(model.graph, whole.graph):
            # Inside a Loop, inputs may take other shapes than the body declares for them.
            formal = () if graph is model.graph else proto.input
            _forget_claims(graph, proto, formal, functions, version)
        for proto_input in whole.graph.input:
            if inputs is not None and proto_input.name in inputs:
                _set_shape(proto_input, inputs[proto_input.name])
        # Kept as bytes: a tenth of what the message takes in memory while the inference runs.
        self._content = whole.SerializeToString()

    def make_known(self, values: Mapping[ir.Value, ir.TensorProtocol]) -> None:
        """Let node outputs be constants in the next ``run``; of large ones only the type counts."""
        self._known.update(
            (value, Inferred(dtype=tensor.dtype, shape=_sizes_of(tensor))) for value, tensor in values.items()
        )
        small = {value: tensor for value, tensor in values.items() if tensor.nbytes <= SMALL_BYTES}
        makers = {value.producer() for value in small}
        whole = onnx.ModelProto.FromString(self._content)
        for graph, proto in _paired(self._model.graph, whole.graph):
            for node, node_proto in zip(graph, proto.node, strict=True):
                for index, value in enumerate(node.outputs if node in makers else ()):
                    if value in small:
                        # The node then makes a tensor that nobody reads; an initializer has its name.
                        node_proto.output[index] = f"{value.name} before folding"
                        proto.initializer.append(tensor_proto(small[value], value.name))
        self._content = whole.SerializeToString()

    def run(self) -> dict[ir.Value, Inferred]:
        """Return what is known about each value of the main graph and its subgraphs.

        Raises:
            PreconditionError: a node contradicts the shapes of its inputs.
        """
        try:
            result = onnx.shape_inference.infer_shapes(self._content, strict_mode=False, data_prop=True)
        except onnx.shape_inference.InferenceError as error:
            raise PreconditionError(f"shape inference refuses the model: {error}") from error
        found: dict[ir.Value, Inferred] = {}
        same: dict[Inferred, Inferred] = {}  # most tensors of a model have one of a few shapes
        for graph, proto in _paired(self._model.graph, result.graph):
            types = {info.name: info for info in (*proto.value_info, *proto.output, *proto.input)}
            for value in _values_of(graph):
                known = _inferred(value, types.get(value.name or ""))
                found[value] = same.setdefault(known, known)
        return found | self._known


def infer_types(
    model: ir.Model, *, inputs: Mapping[str, tuple[int | str | None, ...]] | None = None
) -> dict[ir.Value, Inferred]:
    """Return what is known about each value of the main graph and its subgraphs; changes nothing.

    For the declared inputs the answer is kept beside the model, for the next pass that asks before
    anything has changed.

    Raises:
        PreconditionError: a node contradicts the shapes of its inputs.
    """
    if inputs:
        return ShapeInference(model, inputs=inputs).run()
    now = fingerprint(model)
    before, types = model.meta.get(_TYPES, (None, None))
    if types is None or before != now:
        types = ShapeInference(model).run()
        model.meta[_TYPES] = (now, types)
    return dict(types)


def record_types(types: Mapping[ir.Value, Inferred]) -> None:
    """Write inferred dtypes and shapes into the values; what is unknown stays as declared."""
    for value, inferred in types.items():
        if inferred.dtype is not None and value.dtype is None:
            value.type = ir.TensorType(inferred.dtype)
        if value.type is None or inferred.shape is None:
            continue
        if not _says_more(value.shape, inferred.shape):
            value.shape = ir.Shape(list(inferred.shape))


def _says_more(declared: ir.Shape | None, inferred: tuple[int | str | None, ...]) -> bool:
    # A declared name or size is kept where the inference has an unnamed unknown, if nothing conflicts.
    if declared is None or len(declared) != len(inferred):
        return False
    return all(mine is None or size == mine for mine, size in zip(inferred, _sizes(declared), strict=True))


def _sizes(shape: ir.Shape) -> list[int | str | None]:
    return [size if isinstance(size, int) else size.value for size in shape]


def _inferred(value: ir.Value, info: onnx.ValueInfoProto | None) -> Inferred:
    tensor = constant_tensor(value) if value.producer() is None else None
    if tensor is not None:
        return Inferred(dtype=tensor.dtype, shape=_sizes_of(tensor))
    return inferred_of(None if info is None else info.type)


def inferred_of(described: onnx.TypeProto | None) -> Inferred:
    """Read dtype and shape from ONNX's own description of a type."""
    if described is None or not described.HasField("tensor_type"):
        return Inferred(dtype=None, shape=None)
    kind = described.tensor_type
    shape: tuple[int | str | None, ...] | None = None
    if kind.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in kind.shape.dim
        )
    return Inferred(dtype=ir.DataType(kind.elem_type) if kind.elem_type else None, shape=shape)


def type_proto(found: Inferred) -> onnx.TypeProto:
    """Write dtype and shape as ONNX does; the inverse of ``inferred_of``."""
    dtype = found.dtype.value if found.dtype is not None else onnx.TensorProto.UNDEFINED
    return onnx.helper.make_tensor_type_proto(dtype, found.shape)


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    # The IR is only read: nodes, inputs and outputs are written one by one, weights become inputs.
    proto = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    for function in model.functions.values():
        proto.functions.append(ir.serde.serialize_function(function))
    target = proto.graph
    target.name = "graph"
    target.input.extend(ir.serde.serialize_value(value) for value in model.graph.inputs)
    target.output.extend(ir.serde.serialize_value(value) for value in model.graph.outputs)
    inputs = set(model.graph.inputs)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or value in inputs:
            continue
        if tensor.nbytes <= SMALL_BYTES:
            target.initializer.append(tensor_proto(tensor, value.name))
        else:
            target.input.append(
                onnx.helper.make_tensor_value_info(value.name or "", tensor.dtype.value, _sizes_of(tensor))
            )
    for node in model.graph:
        _add_node(node, target, proto)
        if not _is_standard(node.domain, node.op_type):  # what the file says of others is not believed
            target.value_info.extend(
                ir.serde.serialize_value(output)
                for output in node.outputs
                if output.name and output.type is not None and not output.is_graph_output()
            )
    return proto


def _add_node(node: ir.Node, target: onnx.GraphProto, whole: onnx.ModelProto) -> None:
    tensor = constant_tensor(node.outputs[0]) if is_op(node, "Constant") else None
    if tensor is None or tensor.nbytes <= SMALL_BYTES:
        if _is_standard(node.domain, node.op_type):
            _write_node(node, target.node.add())
        else:
            target.node.append(_written_in(whole, node))
        return
    # A large constant is shown as an input of its type.
    name = node.outputs[0].name or ""
    content = f"{name} content"
    target.input.append(onnx.helper.make_tensor_value_info(content, tensor.dtype.value, _sizes_of(tensor)))
    target.node.append(onnx.helper.make_node("Identity", [content], [name]))


@functools.cache
def _is_standard(domain: str, op_type: str) -> bool:
    """Whether ONNX has such an operator, in whichever version."""
    return domain == "" and onnx.defs.has(op_type)


def _write_node(node: ir.Node, proto: onnx.NodeProto) -> None:
    # Three times as fast as serialize_node: without name, notes and metadata, and written in place.
    proto.op_type = node.op_type
    proto.input.extend(["" if value is None else value.name or "" for value in node.inputs])
    proto.output.extend([value.name or "" for value in node.outputs])
    if node.attributes:
        proto.attribute.extend([_attribute_proto(attribute) for attribute in node.attributes.values()])


def _attribute_proto(attribute: ir.Attr) -> onnx.AttributeProto:
    if attribute.is_ref():
        return ir.serde.serialize_reference_attribute(attribute)
    return ir.serde.serialize_attribute(attribute)


def shown_to_inference(node: ir.Node) -> onnx.NodeProto:
    """Write a node so that ONNX's inference understands it: a standard one in the place of a foreign one."""
    stand_ins = _stand_ins(node)
    return stand_ins[0] if len(stand_ins) == 1 else ir.serde.serialize_node(node)


def _stand_ins(node: ir.Node) -> Sequence[onnx.NodeProto]:
    operator = operator_of(node)
    return (operator.shaped_like(node) if operator is not None else None) or ()


def _written_in(whole: onnx.ModelProto, node: ir.Node) -> onnx.NodeProto:
    """Write a node of another domain; several standard ones in its place become a function of ``whole``."""
    stand_ins = _stand_ins(node)
    if len(stand_ins) < 2:
        return shown_to_inference(node)
    name = f"types_{len(whole.functions)}"
    own = [value.name for value in node.inputs if value is not None and value.name]
    made = [value.name or "" for value in node.outputs]
    standard = [item for item in whole.opset_import if item.domain in ("", "ai.onnx")]
    body = onnx.helper.make_function(_STAND_INS, name, own, made, stand_ins, standard)
    whole.functions.append(body)
    if all(item.domain != _STAND_INS for item in whole.opset_import):
        whole.opset_import.add(domain=_STAND_INS, version=1)
    return onnx.helper.make_node(name, own, made, domain=_STAND_INS)


def _sizes_of(tensor: ir.TensorProtocol) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.shape.numpy())


def tensor_proto(tensor: ir.TensorProtocol, name: str | None = None) -> onnx.TensorProto:
    """Write a tensor with its content: ONNX's inference cannot follow references to other files."""
    proto = onnx.TensorProto(data_type=tensor.dtype.value, dims=_sizes_of(tensor))
    if tensor.dtype == ir.DataType.STRING:
        proto.string_data.extend(tensor.numpy().ravel().tolist())
    else:
        proto.raw_data = tensor.tobytes()
    if name:
        proto.name = name
    return proto


def _forget_claims(
    graph: ir.Graph,
    proto: onnx.GraphProto,
    formal: Iterable[onnx.ValueInfoProto],
    functions: set[ir.OperatorIdentifier],
    version: int,
) -> None:
    unknown = {
        output.name for node in graph if not _is_known(node, functions, version) for output in node.outputs
    }
    kept = [info for info in proto.value_info if info.name in unknown]
    del proto.value_info[:]
    proto.value_info.extend(kept)
    for info in (*proto.value_info, *proto.output, *formal):
        if info.name not in unknown and info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")


def _is_known(node: ir.Node, functions: set[ir.OperatorIdentifier], version: int) -> bool:
    if node.op_identifier() in functions:
        return True
    operator = operator_of(node)
    if operator is not None and operator.shaped_like(node) is not None:
        return True
    return node.domain == "" and _has(node.op_type, version)


@functools.cache
def _has(op_type: str, version: int) -> bool:
    return bool(onnx.defs.has(op_type, version))


def _set_shape(info: onnx.ValueInfoProto, shape: tuple[int | str | None, ...]) -> None:
    kind = info.type.tensor_type
    kind.ClearField("shape")
    kind.shape.SetInParent()
    for size in shape:
        dim = kind.shape.dim.add()
        if isinstance(size, int):
            dim.dim_value = size
        elif size is not None:
            dim.dim_param = size


def _paired(graph: ir.Graph, proto: onnx.GraphProto) -> Iterator[tuple[ir.Graph, onnx.GraphProto]]:
    yield graph, proto
    for node, node_proto in zip(graph, proto.node, strict=True):
        if not node_proto.attribute:
            continue
        attributes = {item.name: item for item in node_proto.attribute}
        for name, attribute in node.attributes.items():
            if attribute.is_ref() or name not in attributes:
                continue
            if attribute.type == ir.AttributeType.GRAPH:
                yield from _paired(attribute.as_graph(), attributes[name].g)
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner, inner_proto in zip(attribute.as_graphs(), attributes[name].graphs, strict=True):
                    yield from _paired(inner, inner_proto)


def _values_of(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    for node in graph:
        yield from node.outputs
