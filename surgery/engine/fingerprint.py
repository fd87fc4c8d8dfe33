"""Tell whether a model changed, without serializing it."""

from collections.abc import Hashable, Iterator

import onnx_ir as ir

from graphopt.core.lineage import KEYS
from graphopt.surgery.engine.walking import all_graphs

_SMALL = 64
"""Elements of a tensor whose content is looked at; larger ones are told apart by identity."""
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def fingerprint(model: ir.Model) -> int:
    """Return a hash of everything in a model except lineage stamps; linear in its nodes.

    Meant for one model at two times of one process, not for two models: large weights are told
    apart by object identity. A pass replaces tensors, it does not write into them.
    """
    total = 0
    for part in _parts(model):
        total = hash((total, part))
    return total


def _parts(model: ir.Model) -> Iterator[Hashable]:
    yield model.ir_version, model.producer_name, model.producer_version, _metadata(model)
    yield tuple(sorted(model.graph.opset_imports.items()))
    for key, function in model.functions.items():
        versions = tuple(sorted(function.opset_imports.items()))
        yield key, versions, tuple(attr.name for attr in function.attributes.values())
    for graph in all_graphs(model):
        yield graph.name, _metadata(graph)
        yield tuple(map(_value, graph.inputs))
        yield tuple(map(_value, graph.outputs))
        if isinstance(graph, ir.Graph):
            for name, value in graph.initializers.items():
                yield name, _value(value), _tensor(value.const_value)
        for node in graph:
            yield node.domain, node.op_type, node.overload, node.name, _metadata(node)
            yield tuple([value.name if value is not None else None for value in node.inputs])
            yield tuple(map(_value, node.outputs))
            if node.attributes:
                yield tuple([(a.name, a.ref_attr_name, _attribute(a)) for a in node.attributes.values()])


def _metadata(item: ir.Model | ir.Graph | ir.Function | ir.Node) -> Hashable:
    props = item.metadata_props
    return tuple(sorted((key, text) for key, text in props.items() if key not in KEYS)) if props else ()


def _value(value: ir.Value) -> Hashable:
    shape = value.shape
    sizes = None if shape is None else tuple([dim if isinstance(dim, int) else dim.value for dim in shape])
    kind = value.type
    return value.name, sizes, repr(kind) if kind is not None else None


def _attribute(attr: ir.Attr) -> Hashable:
    if attr.type == ir.AttributeType.TENSOR:
        return _tensor(attr.value)
    if attr.type in _GRAPHS:
        return "graph"  # visited by itself
    return repr(attr.value)


def _tensor(tensor: ir.TensorProtocol | None) -> Hashable:
    if tensor is None:
        return None
    known = (tensor.dtype.value, str(tensor.shape))
    if tensor.size <= _SMALL and not isinstance(tensor, ir.ExternalTensor):
        return known, repr(tensor.numpy().tolist())
    return known, id(tensor)
