"""Models for the benchmark: chains of any length, and one whose weights fill several gigabytes.

``python generated.py KIND SIZE FILE`` with KIND one of elementwise, shapes, constants (SIZE in nodes) or
weights (SIZE in bytes, external data in FILE.data).
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 13
_CHANNELS, _HEIGHT, _WIDTH = 3, 4, 5
_WEIGHT_CHANNELS = 4096


class _Builder:
    """A graph from ``x`` to ``y``, float32 [1, 3, 4, 5], that grows node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; return the name of its output."""
        output = f"{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [output], name=f"node_{len(self.nodes)}", **attributes)
        )
        return output

    def weight(self, array: np.ndarray) -> str:
        """Add an initializer; return its name."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def channels(self) -> np.ndarray:
        """Return one random number per channel, float32 [3, 1, 1]."""
        return self._rng.uniform(0.9, 1.1, (_CHANNELS, 1, 1)).astype(np.float32)

    def constant(self, array: np.ndarray) -> str:
        """Append a Constant node, as exporters write small tensors."""
        return self.node("Constant", value=numpy_helper.from_array(array))

    def model(self, result: str) -> onnx.ModelProto:
        """Return the model whose output is ``result``."""
        shape = [1, _CHANNELS, _HEIGHT, _WIDTH]
        self.nodes.append(helper.make_node("Identity", [result], ["y"], name="last"))
        graph = helper.make_graph(
            self.nodes,
            "generated",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def elementwise(nodes: int) -> onnx.ModelProto:
    """Return a chain in which there is nothing to simplify: a scale, a shift, an activation, and again."""
    builder = _Builder()
    here = "x"
    while len(builder.nodes) < nodes - 1:
        here = builder.node("Mul", here, builder.weight(builder.channels()))
        here = builder.node("Add", here, builder.weight(builder.channels()))
        here = builder.node("Tanh", here)
    return builder.model(here)


def shapes(nodes: int) -> onnx.ModelProto:
    """Return a chain of flatten and unflatten whose sizes are computed at run time, as exporters write it."""
    builder = _Builder()
    here = "x"
    while len(builder.nodes) < nodes - 1:
        sizes = builder.node("Shape", here)
        batch = builder.node("Gather", sizes, builder.constant(np.array(0, np.int64)), axis=0)
        axes = builder.constant(np.array([0], np.int64))
        first = builder.node("Unsqueeze", batch, axes)
        wanted = builder.node("Concat", first, builder.constant(np.array([-1], np.int64)), axis=0)
        flat = builder.node("Reshape", here, wanted)
        flat = builder.node("Relu", flat)
        here = builder.node("Reshape", flat, sizes)
        here = builder.node("Add", here, builder.weight(builder.channels()))
    return builder.model(here)


def constants(nodes: int) -> onnx.ModelProto:
    """Return a chain that adds tensors, each the end of a chain of arithmetic on constants."""
    builder = _Builder()
    here = "x"
    while len(builder.nodes) < nodes - 1:
        value = builder.constant((builder.channels() * 100).astype(np.int64))
        value = builder.node("Cast", value, to=TensorProto.FLOAT)
        for _ in range(5):
            value = builder.node("Mul", value, builder.constant(builder.channels()))
            value = builder.node("Sqrt", value)
        here = builder.node("Add", here, value)
        here = builder.node("Tanh", here)
    return builder.model(here)


def weights(nbytes: int, path: Path) -> None:
    """Write a chain of 1x1 convolutions, each with its norm, whose weights lie in ``path.data``.

    Channels are 4096, one weight is 64 MiB; the file is written piece by piece.
    """
    rng = np.random.default_rng(0)
    block = rng.standard_normal(_WEIGHT_CHANNELS * _WEIGHT_CHANNELS, dtype=np.float32) / 64
    count = -(-nbytes // block.nbytes)
    vectors = [rng.uniform(0.9, 1.1, _WEIGHT_CHANNELS).astype(np.float32) for _ in range(4)]
    initializers = [numpy_helper.from_array(array, f"vector_{i}") for i, array in enumerate(vectors)]
    nodes = []
    here = "x"
    data = path.with_name(path.name + ".data")
    with data.open("wb") as stream:
        for index in range(count):
            tensor = TensorProto(name=f"weight_{index}", data_type=TensorProto.FLOAT)
            tensor.dims.extend([_WEIGHT_CHANNELS, _WEIGHT_CHANNELS, 1, 1])
            tensor.data_location = TensorProto.EXTERNAL
            entries = {"location": data.name, "offset": stream.tell(), "length": block.nbytes}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            initializers.append(tensor)
            np.roll(block, index).tofile(stream)
            made, normed, end = f"conv_{index}", f"norm_{index}", f"relu_{index}"
            nodes += [
                helper.make_node("Conv", [here, tensor.name], [made], name=f"Conv_{index}"),
                helper.make_node(
                    "BatchNormalization",
                    [made, *(f"vector_{i}" for i in range(4))],
                    [normed],
                    name=f"BatchNormalization_{index}",
                ),
                helper.make_node("Relu", [normed], [end], name=f"Relu_{index}"),
            ]
            here = end
    shape = [1, _WEIGHT_CHANNELS, 2, 2]
    graph = helper.make_graph(
        nodes,
        "weights",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(here, TensorProto.FLOAT, shape)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    path.write_bytes(model.SerializeToString())


CHAINS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "elementwise": elementwise,
    "shapes": shapes,
    "constants": constants,
}


def generate(kind: str, size: int, path: Path) -> None:
    """Write a model.

    Args:
        kind: one of ``CHAINS``, or ``weights``.
        size: nodes of a chain; bytes of ``weights``.
        path: the file.
    """
    if kind == "weights":
        weights(size, path)
    else:
        path.write_bytes(CHAINS[kind](size).SerializeToString())


if __name__ == "__main__":
    generate(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
