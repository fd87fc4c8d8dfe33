"""What is at one node, as a person reads it: tensors with shapes and makers, attributes, constants."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.surgery.graph_queries import constant_tensor, label, shape_text
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types

_SHOWN = 8
"""Elements of a constant that are shown; of a larger one only its shape."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input or output of a node.

    Attributes:
        side: ``input`` or ``output``, with its index: ``input 0``.
        tensor: its name; empty for an input that is left out.
        dtype: ONNX's name in lower case; empty when unknown.
        shape: as ``[1, 3, ?]``; ``?`` when unknown.
        other: who makes an input, or who reads an output.
    """

    side: str
    tensor: str
    dtype: str
    shape: str
    other: str


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What is at one node.

    Attributes:
        name: of the node, or of its first output where it has none.
        op_type: with the domain in front unless it is ONNX's.
        attributes: name -> value in words.
        ports: inputs, then outputs.
    """

    name: str
    op_type: str
    attributes: Mapping[str, str]
    ports: tuple[Port, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**dataclasses.asdict(self), "attributes": dict(self.attributes)}


def facts_of(model: ir.Model, node: ir.Node) -> NodeFacts:
    """Look at one node of a model; shapes that the file does not record are inferred."""
    try:
        types: Mapping[ir.Value, Inferred] = infer_types(model)
    except PreconditionError:  # the file contradicts itself somewhere: its own claims are all there is
        types = {}
    inputs = [_input(index, value, types) for index, value in enumerate(node.inputs)]
    outputs = [_output(index, value, types) for index, value in enumerate(node.outputs)]
    return NodeFacts(
        name=node.name or next((value.name for value in node.outputs if value.name), ""),
        op_type=f"{node.domain}::{node.op_type}" if node.domain else node.op_type,
        attributes={name: _attribute(item) for name, item in node.attributes.items()},
        ports=(*inputs, *outputs),
    )


def _input(index: int, value: ir.Value | None, types: Mapping[ir.Value, Inferred]) -> Port:
    if value is None:
        return Port(side=f"input {index}", tensor="", dtype="", shape="", other="left out")
    dtype, shape = _type(value, types)
    return Port(side=f"input {index}", tensor=value.name or "", dtype=dtype, shape=shape, other=_maker(value))


def _output(index: int, value: ir.Value, types: Mapping[ir.Value, Inferred]) -> Port:
    dtype, shape = _type(value, types)
    readers = list(dict.fromkeys(label(user) for user, _ in value.uses()))
    if value.is_graph_output():
        readers.insert(0, "an output of the graph")
    return Port(
        side=f"output {index}",
        tensor=value.name or "",
        dtype=dtype,
        shape=shape,
        other=f"read by {', '.join(readers)}" if readers else "read by nobody",
    )


def _type(value: ir.Value, types: Mapping[ir.Value, Inferred]) -> tuple[str, str]:
    tensor = constant_tensor(value)
    if tensor is not None:
        return tensor.dtype.name.lower(), shape_text(
            tensor.shape if isinstance(tensor.shape, ir.Shape) else None
        )
    found = types.get(value)
    dtype = (found.dtype if found is not None else None) or value.dtype
    known = found is not None and found.shape is not None
    return dtype.name.lower() if dtype else "", found.text if found and known else shape_text(value.shape)


def _maker(value: ir.Value) -> str:
    tensor = constant_tensor(value)
    if tensor is not None:
        return f"constant {tensor.numpy().tolist()}" if tensor.size <= _SHOWN else "constant"
    producer = value.producer()
    if producer is not None:
        return f"made by {label(producer)}"
    return "an initializer that is also an input" if value.is_initializer() else "an input of the graph"


def _attribute(item: ir.Attr) -> str:
    if item.is_ref():
        return f"of the function's attribute {item.ref_attr_name}"
    if item.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return "a subgraph"
    if item.type == ir.AttributeType.TENSOR:
        tensor = item.as_tensor()
        return (
            str(tensor.numpy().tolist()) if tensor.size <= _SHOWN else f"a tensor of {tensor.size} elements"
        )
    return str(list(item.value) if isinstance(item.value, tuple) else item.value)
