"""Tell whether a model changed, without serializing it."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from graphopt.core.lineage import KEYS
from graphopt.surgery.engine.walking import all_graphs

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_TENSORS = (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS)
_PLAIN = (
    ir.AttributeType.INT,
    ir.AttributeType.INTS,
    ir.AttributeType.STRING,
    ir.AttributeType.STRINGS,
)


@dataclass(frozen=True)
class Fingerprint:
    """What a model looked like; equal to a later one of the same model when nothing changed.

    Attributes:
        digest: of everything in the model except lineage stamps.
        tensors: told apart by their addresses, which stay theirs as long as this lives.
    """

    digest: int
    tensors: tuple[ir.TensorProtocol, ...] = field(compare=False, repr=False)


def fingerprint(model: ir.Model) -> Fingerprint:
    """Return the fingerprint of a model; linear in its nodes.

    Meant for one model at two times of one process, not for two models: tensors are told apart by
    object identity. A pass replaces tensors, it does not write into them.
    """
    tensors: list[ir.TensorProtocol] = []
    total = 0
    for part in _parts(model, tensors):
        total = hash((total, part))
    return Fingerprint(total, tuple(tensors))


def _parts(model: ir.Model, tensors: list[ir.TensorProtocol]) -> Iterator[Hashable]:
    yield model.ir_version, model.producer_name, model.producer_version, _metadata(model)
    yield tuple(sorted(model.graph.opset_imports.items()))
    for key, function in model.functions.items():
        versions = tuple(sorted(function.opset_imports.items()))
        yield key, versions, tuple(attr.name for attr in function.attributes.values())
    for graph in all_graphs(model):
        yield graph.name, _metadata(graph), len(graph)
        yield tuple(map(_value, graph.inputs))
        yield tuple(map(_value, graph.outputs))
        if isinstance(graph, ir.Graph):
            for name, value in graph.initializers.items():
                yield name, _value(value), id(value.const_value)
                if value.const_value is not None:
                    tensors.append(value.const_value)
        for node in graph:
            # A value has its own name where it is made, so its address will do where it is read.
            inputs = tuple(map(id, node.inputs))
            yield node.domain, node.op_type, node.overload, node.name, inputs, _metadata(node)
            for value in node.outputs:
                yield _value(value)
            for attr in node.attributes.values():
                yield attr.name, attr.type, attr.ref_attr_name, _content(attr, tensors)


def _metadata(item: ir.Model | ir.Graph | ir.Function | ir.Node) -> Hashable:
    props = item.metadata_props
    return tuple(sorted((key, text) for key, text in props.items() if key not in KEYS)) if props else ()


def _value(value: ir.Value) -> Hashable:
    shape, kind = value.shape, value.type
    return (
        id(value),
        value.name,
        None if shape is None else shape.dims,
        kind.dtype if isinstance(kind, ir.TensorType) else repr(kind),
    )


def _content(attr: ir.Attr, tensors: list[ir.TensorProtocol]) -> Hashable:
    content: Hashable = attr.value
    if attr.type in _PLAIN:
        return content
    if attr.type in _TENSORS and content is not None:
        held: tuple[ir.TensorProtocol, ...] = (
            (attr.value,) if attr.type == ir.AttributeType.TENSOR else attr.value
        )
        tensors.extend(held)
        return tuple(map(id, held))
    return "graph" if attr.type in _GRAPHS else repr(content)  # graphs are visited by themselves
