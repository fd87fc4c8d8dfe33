"""Refuse a ModelProto that is damaged, or holds what onnx-ir would drop without a word."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import onnx
import onnx_ir as ir

from graphopt.core.errors import InvalidModelError

_NEWEST_IR_VERSION = int(onnx.IR_VERSION)
_T = onnx.TensorProto
_MAX_ELEMENTS = 1 << 62  # larger products of dims are no tensor

# Where values without raw_data are, and how many entries hold one element.
_TYPED_FIELDS: Mapping[int, tuple[str, float]] = {
    _T.FLOAT: ("float_data", 1),
    _T.COMPLEX64: ("float_data", 2),
    _T.DOUBLE: ("double_data", 1),
    _T.COMPLEX128: ("double_data", 2),
    _T.INT64: ("int64_data", 1),
    _T.UINT32: ("uint64_data", 1),
    _T.UINT64: ("uint64_data", 1),
    _T.STRING: ("string_data", 1),
}
_PER_BYTE = {"UINT4": 0.5, "INT4": 0.5, "FLOAT4E2M1": 0.5, "UINT2": 0.25, "INT2": 0.25}
_BITS = {
    dtype.value: 0 if dtype is ir.DataType.STRING else int(dtype.bitwidth)
    for dtype in ir.DataType
    if dtype is not ir.DataType.UNDEFINED
}
DATA_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def check_proto(
    proto: onnx.ModelProto, where: str, check_external: Callable[[onnx.TensorProto], None]
) -> None:
    """Raise ``InvalidModelError`` for anything that must not go on to onnx-ir.

    Args:
        proto: the model; large payloads may be external references.
        where: names the model in messages.
        check_external: called with each tensor whose data are external.
    """
    if not proto.HasField("graph") or not proto.opset_import:
        missing = "graph" if not proto.HasField("graph") else "opset import"
        raise InvalidModelError(f"{where} has no {missing}: it is not an ONNX model, or its end is missing")
    if not 1 <= proto.ir_version <= _NEWEST_IR_VERSION:
        raise InvalidModelError(
            f"{where} has IR version {proto.ir_version}, onnx {onnx.__version__} knows 1 to "
            f"{_NEWEST_IR_VERSION}; install a newer onnx, or export the model for an older one"
        )
    if proto.training_info:
        raise InvalidModelError(
            f"{where} holds training information, which graphopt would lose; export it for inference"
        )
    domains = ("" if item.domain == "ai.onnx" else item.domain for item in proto.opset_import)
    _check_unique(domains, "opset import of domain", where)
    _check_metadata(proto.metadata_props, where)
    _check_unique(((f.domain, f.name, f.overload) for f in proto.functions), "function", where)
    _check_graph(proto.graph, where, check_external)
    for function in proto.functions:
        _check_types(function.value_info, where)
        _check_nodes(function.node, where, check_external)
        for attribute in function.attribute_proto:
            _check_attribute(attribute, f"function {function.name!r} of {where}", where, check_external)


def _check_graph(
    graph: onnx.GraphProto, where: str, check_external: Callable[[onnx.TensorProto], None]
) -> None:
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise InvalidModelError(f"{where} has the sparse initializer {name!r}; make it dense and try again")
    _check_metadata(graph.metadata_props, where)
    for infos in (graph.input, graph.output, graph.value_info):
        _check_types(infos, where)
    _check_unique((value.name for value in graph.input), "graph input", where)
    _check_unique((tensor.name for tensor in graph.initializer), "initializer", where)
    for tensor in graph.initializer:
        if not tensor.name:
            raise InvalidModelError(f"{where} has an initializer without a name; export it again")
        _check_tensor(tensor, where, check_external)
    _check_nodes(graph.node, where, check_external)


def _check_types(infos: Iterable[onnx.ValueInfoProto], where: str) -> None:
    for info in infos:
        if (kind := _unheld(info.type)) is not None:
            raise InvalidModelError(
                f"{where}: {info.name!r} is of {kind}, graphopt holds tensors, sequences and optionals; "
                "export the model without it (a classifier of scikit-learn: with zipmap=False)"
            )


def _unheld(described: onnx.TypeProto) -> str | None:
    kind = described.WhichOneof("value")
    if kind == "map_type":
        return "a map type"
    if kind == "opaque_type":
        return "an opaque type"
    if kind == "sequence_type":
        return _unheld(described.sequence_type.elem_type)
    return _unheld(described.optional_type.elem_type) if kind == "optional_type" else None


def _check_nodes(
    nodes: Iterable[onnx.NodeProto], where: str, check_external: Callable[[onnx.TensorProto], None]
) -> None:
    for node in nodes:
        _check_metadata(node.metadata_props, where)
        attributes = node.attribute
        if not attributes:
            continue
        owner = f"node {node.name!r} ({node.op_type}) of {where}"
        _check_unique((attribute.name for attribute in attributes), f"in {node.op_type}, attribute", where)
        for attribute in attributes:
            _check_attribute(attribute, owner, where, check_external)


def _check_attribute(
    attribute: onnx.AttributeProto, owner: str, where: str, check_external: Callable[[onnx.TensorProto], None]
) -> None:
    kind = attribute.type
    if attribute.ref_attr_name:
        return
    if kind == onnx.AttributeProto.TENSOR:
        _check_tensor(attribute.t, where, check_external)
    elif kind == onnx.AttributeProto.TENSORS:
        for tensor in attribute.tensors:
            _check_tensor(tensor, where, check_external)
    elif kind == onnx.AttributeProto.GRAPH:
        _check_graph(attribute.g, where, check_external)
    elif kind == onnx.AttributeProto.GRAPHS:
        for graph in attribute.graphs:
            _check_graph(graph, where, check_external)
    elif kind in (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS):
        raise InvalidModelError(
            f"{owner} has the sparse attribute {attribute.name!r}; make it dense and try again"
        )
    elif kind in (onnx.AttributeProto.TYPE_PROTO, onnx.AttributeProto.TYPE_PROTOS):
        types = [attribute.tp] if kind == onnx.AttributeProto.TYPE_PROTO else attribute.type_protos
        _check_types([onnx.ValueInfoProto(name=attribute.name, type=item) for item in types], owner)
    elif kind == onnx.AttributeProto.UNDEFINED:
        raise InvalidModelError(f"{owner}: attribute {attribute.name!r} has no type; export the model again")


def _check_tensor(
    tensor: onnx.TensorProto, where: str, check_external: Callable[[onnx.TensorProto], None]
) -> None:
    what = f"tensor {tensor.name!r} of {where}"
    nbytes = nbytes_of(tensor, what)
    if tensor.HasField("segment"):
        raise InvalidModelError(f"{what} is stored in segments, which no tool reads; export the model again")
    raw = tensor.HasField("raw_data")
    stored = [name for name in DATA_FIELDS if len(getattr(tensor, name))]
    external = tensor.data_location == _T.EXTERNAL
    if external + raw + len(stored) > 1:
        raise InvalidModelError(f"{what} has its data in several places; export the model again")
    if external:
        check_external(tensor)
    elif raw:
        check_size(what, len(tensor.raw_data), nbytes, "bytes")
    else:
        name, per_element = _typed_field(tensor.data_type)
        entries = len(getattr(tensor, stored[0])) if stored else 0
        if stored and stored[0] != name:
            raise InvalidModelError(
                f"{what} has its data in {stored[0]}, its dtype wants {name}; export it again"
            )
        check_size(what, entries, math.ceil(math.prod(tensor.dims) * per_element), "values")


def nbytes_of(tensor: onnx.TensorProto, what: str) -> int:
    """Return how many bytes of raw data the dtype and dims ask for (0 for strings).

    Raises:
        InvalidModelError: there is no such dtype, or a negative dim.
    """
    dims = list(tensor.dims)
    elements: int = math.prod(dims)
    if elements > _MAX_ELEMENTS or (dims and min(dims) < 0):
        raise InvalidModelError(f"{what} has the impossible shape {dims}; the file is damaged")
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        raise InvalidModelError(f"{what} has the unknown data type {tensor.data_type}; the file is damaged")
    return -(-elements * bits // 8)


def _typed_field(data_type: int) -> tuple[str, float]:
    if data_type in _TYPED_FIELDS:
        return _TYPED_FIELDS[data_type]
    return "int32_data", _PER_BYTE.get(ir.DataType(data_type).name, 1)


def check_size(what: str, found: int, wanted: int, unit: str) -> None:
    if found == 0 and wanted:
        raise InvalidModelError(
            f"{what} has no data, its dtype and shape need {wanted} {unit}; "
            "the weights were stripped, get the complete model"
        )
    if found != wanted:
        raise InvalidModelError(
            f"{what} has {found} {unit} of data, its dtype and shape need {wanted}; the file is damaged"
        )


def _check_metadata(entries: Iterable[onnx.StringStringEntryProto], where: str) -> None:
    for entry in entries:
        # protobuf hands out the bytes of a text that is not UTF-8.
        if not (isinstance(entry.key, str) and isinstance(entry.value, str)):
            raise InvalidModelError(
                f"{where} has metadata {entry.key!r} that are no UTF-8 text; the file is damaged"
            )


def _check_unique(names: Iterable[object], what: str, where: str) -> None:
    listed = list(names)
    if len(set(listed)) != len(listed):
        twice = next(name for name, count in Counter(listed).items() if count > 1)
        raise InvalidModelError(f"{where} has {what} {twice!r} twice; export it again")
