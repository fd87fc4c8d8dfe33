"""Give a graph of today's exporter the form that torch 1.6 wrote in 2020.

For demonstrations and tests only: graphs of that time are what the passes were made for, and the
real ones are not part of this repository. The numbers that the graph computes stay the same.

What torch 1.6 wrote and today's torch does not: a ``Pad`` before every average pool that counts
padding in, by nothing when there is none, with its pads from a ``Constant`` node; ``flatten`` as a
chain of Shape, Gather, Unsqueeze, Concat and Reshape; every parameter as its own initializer;
numbers for names.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.onnx_files import load_model, save_model
from graphopt.core.tensors import Array

TORCH16_OPSET = 11
FLAT_SIZE = "flat_size"
"""The -1 of a flatten chain, until all values are numbered."""


def write_torch16_form(source: Path, target: Path, *, force: bool = False) -> None:
    """Write ``source`` as torch 1.6 would have exported it.

    Args:
        source: an ONNX file of torch's TorchScript exporter, opset 11. Export it with
            ``keep_batchnorm`` to get the batch norms of that time, too.
        target: the ONNX file to write.
        force: replace an existing file.

    Raises:
        PreconditionError: another opset, or no average pool to put a Pad before.
        OutputError: the target exists without ``force``, or cannot be written.
    """
    model = load_model(source)
    to_torch16_form(model)
    save_model(model, target, force=force, inputs=(source,))


def to_torch16_form(model: ir.Model) -> None:
    """Change ``model`` in place; see ``write_torch16_form``.

    Raises:
        PreconditionError: another opset, or no average pool to put a Pad before; it is unchanged then.
    """
    opset = model.opset_imports.get("")
    if opset != TORCH16_OPSET:
        raise PreconditionError(f"the torch 1.6 form is of opset {TORCH16_OPSET}, the model has {opset}")
    graph = model.graph
    pools = [node for node in graph if node.op_type == "AveragePool" and _counts_padding(node)]
    if not pools:
        raise PreconditionError(
            "the model has no AveragePool with count_include_pad, before which torch 1.6 put its Pad"
        )
    for node in list(graph):
        if node.op_type == "Identity":
            _own_initializer(graph, node)
        elif node.op_type == "Flatten" and node.attributes.get_int("axis", 1) == 1:
            _flatten_chain(graph, node)
        elif node.op_type == "MaxPool" and set(node.attributes.get_ints("dilations", (1,))) == {1}:
            node.attributes.pop("dilations", None)
    for pool in pools:
        _pad_before(graph, pool)
    _rename(graph)
    graph.name = "torch-jit-export"
    model.producer_name, model.producer_version = "pytorch", "1.6"


def _own_initializer(graph: ir.Graph, node: ir.Node) -> None:
    """Undo the sharing of equal parameters, which today's exporter writes as Identity nodes."""
    shared, copy = node.inputs[0], node.outputs[0]
    if shared is None or shared.const_value is None or copy.is_graph_output():
        return
    own = ir.Value(
        name=copy.name,
        shape=ir.Shape(shared.const_value.shape.numpy()),
        type=ir.TensorType(shared.const_value.dtype),
        const_value=ir.tensor(shared.const_value.numpy(), name=copy.name),
    )
    ir.convenience.replace_all_uses_with(copy, own)
    graph.remove(node, safe=True)
    graph.register_initializer(own)


def _counts_padding(pool: ir.Node) -> bool:
    return pool.attributes.get_int("count_include_pad", 0) == 1


def _pad_before(graph: ir.Graph, pool: ir.Node) -> None:
    """Let a Pad do what the pool's own padding did, which mostly is nothing."""
    axes = len(pool.attributes["kernel_shape"].as_ints())
    begins_and_ends = np.array(pool.attributes.get_ints("pads", [0] * 2 * axes), np.int64).reshape(2, axes)
    padding = _constant(np.pad(begins_and_ends, ((0, 0), (2, 0))).ravel())
    pad = ir.node("Pad", [pool.inputs[0], padding.outputs[0]], {"mode": "constant"})
    graph.insert_before(pool, [padding, pad])
    pool.replace_input_with(0, pad.outputs[0])
    pool.attributes.pop("count_include_pad")
    pool.attributes["pads"] = ir.AttrInt64s("pads", [0] * 2 * axes)


def _flatten_chain(graph: ir.Graph, flatten: ir.Node) -> None:
    image = flatten.inputs[0]
    rest = ir.Value(
        name=FLAT_SIZE,
        shape=ir.Shape([1]),
        type=ir.TensorType(ir.DataType.INT64),
        const_value=ir.tensor(np.array([-1], np.int64), name=FLAT_SIZE),
    )
    shape = ir.node("Shape", [image])
    first = _constant(np.array(0, np.int64))
    batch = ir.node("Gather", [shape.outputs[0], first.outputs[0]], {"axis": 0})
    vector = ir.node("Unsqueeze", [batch.outputs[0]], {"axes": [0]})
    sizes = ir.node("Concat", [vector.outputs[0], rest], {"axis": 0})
    reshape = ir.node("Reshape", [image, sizes.outputs[0]])
    graph.register_initializer(rest)
    ir.convenience.replace_nodes_and_values(
        graph,
        flatten,
        [flatten],
        [shape, first, batch, vector, sizes, reshape],
        flatten.outputs,
        reshape.outputs,
    )


def _constant(value: Array) -> ir.Node:
    return ir.node("Constant", [], {"value": ir.tensor(value)})


def _rename(graph: ir.Graph) -> None:
    """Number values and nodes: values after the parameters, nodes by position."""
    # torch 1.6 counted inputs, parameters and the counters of the batch norms first.
    counters = sum(node.op_type == "BatchNormalization" for node in graph)
    parameters = [value for value in graph.initializers.values() if value.name != FLAT_SIZE]
    number = len(graph.inputs) + len(parameters) + counters
    for position, node in enumerate(graph):
        node.name = f"{node.op_type}_{position}"
        node.doc_string = None
        node.metadata_props.clear()
        for value in _inner(node.outputs):
            value.name = str(number)
            number += 1
    for value in list(graph.initializers.values()):
        if value.name == FLAT_SIZE:
            value.name = str(number)
            number += 1
    ordered = sorted(graph.initializers.items())
    graph.initializers.clear()
    for _, value in ordered:
        graph.register_initializer(value)


def _inner(values: Iterable[ir.Value]) -> list[ir.Value]:
    return [value for value in values if not value.is_graph_output()]
