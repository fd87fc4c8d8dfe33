"""Run a set of nodes whose inputs are constants as one small model."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery.graph_queries import ONNX_DOMAIN
from graphopt.surgery.shapes.shape_inference import SMALL_BYTES, Inferred, inferred_of, tensor_proto

_IR_VERSION = 8
"""Old enough for every onnxruntime, new enough for initializers that are no inputs."""


class ConstantBatch:
    """Nodes in topological order and the constants they read.

    Small constants are written into the model, where they tell output sizes; large ones are fed
    when it runs, so that weights are never serialized.

    Args:
        nodes: without subgraphs, of the standard domain.
        tensor_of: the tensor of a value that no node of the batch makes.
        opset: version of the standard operators.
    """

    def __init__(
        self,
        nodes: Sequence[ir.Node],
        tensor_of: Callable[[ir.Value], ir.TensorProtocol | None],
        opset: int,
    ) -> None:
        self._names: dict[ir.Value, str] = {}  # values of sibling subgraphs may share a name
        self._fed: dict[str, ir.TensorProtocol] = {}
        self._proto = onnx.ModelProto(ir_version=_IR_VERSION)
        self._proto.opset_import.add(domain=ONNX_DOMAIN, version=opset)
        self._proto.graph.name = "constants"
        made = {value for node in nodes for value in node.outputs}
        for node in nodes:
            for value in node.inputs:
                if value is not None and value not in made and value not in self._names:
                    self._add_leaf(value, tensor_of(value))
            self._add_node(node)

    def types(self) -> dict[ir.Value, Inferred]:
        """Return what can be told about the nodes' outputs before running them."""
        inferred = onnx.shape_inference.infer_shapes(self._proto, strict_mode=False, data_prop=True)
        infos = {info.name: info.type for info in inferred.graph.value_info}
        return {value: inferred_of(infos[name]) for value, name in self._names.items() if name in infos}

    def run(self, wanted: Iterable[ir.Value], types: dict[ir.Value, Inferred]) -> dict[ir.Value, Array]:
        """Compute some of the nodes' outputs.

        Raises:
            InvalidModelError: onnxruntime lacks an operator or a node fails.
        """
        values = list(wanted)
        del self._proto.graph.output[:]
        for value in values:
            known = types.get(value)
            dtype = known.dtype.value if known is not None and known.dtype is not None else 0
            info = onnx.helper.make_tensor_value_info(self._names[value], dtype, None)
            self._proto.graph.output.append(info)
        with OnnxRuntimeSession(self._proto.SerializeToString(), threads=1) as session:
            results = session.run({name: tensor.numpy() for name, tensor in self._fed.items()})
        return {value: results[self._names[value]] for value in values}

    def _add_leaf(self, value: ir.Value, tensor: ir.TensorProtocol | None) -> None:
        if tensor is None:
            raise ValueError(f"{value.name} is not constant")
        name = self._name(value)
        if tensor.nbytes <= SMALL_BYTES:
            self._proto.graph.initializer.append(tensor_proto(tensor, name))
            return
        self._fed[name] = tensor
        shape = tuple(int(size) for size in tensor.shape.numpy())
        self._proto.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.dtype.value, shape))

    def _add_node(self, node: ir.Node) -> None:
        proto = ir.serde.serialize_node(node)
        del proto.input[:], proto.output[:]
        proto.ClearField("metadata_props")
        proto.input.extend("" if value is None else self._names[value] for value in node.inputs)
        proto.output.extend(self._name(value) if value.name else "" for value in node.outputs)
        self._proto.graph.node.append(proto)

    def _name(self, value: ir.Value) -> str:
        return self._names.setdefault(value, f"v{len(self._names)}")


def byte_size(types: Inferred | None) -> int | None:
    """Return the size of a tensor in bytes, None when it is not known."""
    if types is None or types.dtype is None or types.static is None:
        return None
    return int(np.prod(types.static, dtype=object) * types.dtype.itemsize)
