"""Write a model piece by piece: the structure from memory, each large tensor from where it is."""

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from graphopt.core._onnx_wire import LARGE_BYTES, Piece, References, put_back
from graphopt.core._proto_checks import nbytes_of
from graphopt.core.errors import InvalidModelError

PROTOBUF_LIMIT = (1 << 31) - 1
"""No tool parses a longer message."""
_ALIGNMENT = 4096  # data files can then be mapped page by page


@dataclass(frozen=True)
class Slot:
    """A place of a model that holds a tensor.

    Attributes:
        tensor: what it holds.
        put: puts another tensor there.
        restore: makes it what it was.
        is_initializer: whether runtimes accept external data in this place.
    """

    tensor: ir.TensorProtocol
    put: Callable[[ir.TensorProtocol], None]
    restore: Callable[[], None]
    is_initializer: bool


@dataclass(frozen=True)
class Layout:
    """What will be written.

    Attributes:
        pieces: of the model file, in order; numbers are indices into ``payloads``.
        payloads: tensors written into the model file.
        external: offset and tensor of each payload of the data file; empty without one.
    """

    pieces: list[Piece]
    payloads: list[ir.TensorProtocol]
    external: list[tuple[int, ir.TensorProtocol]]

    @property
    def size(self) -> int:
        """Bytes of the model file."""
        return sum(self.payloads[p].nbytes if isinstance(p, int) else len(p) for p in self.pieces)

    def write(self, path: Path) -> None:
        """Write the model file."""
        with path.open("wb") as stream:
            for piece in self.pieces:
                if isinstance(piece, bytes):
                    stream.write(piece)
                else:
                    self.payloads[piece].tofile(stream)  # type: ignore[attr-defined]  # TensorBase has it
            written = stream.tell()
        if written != self.size:
            raise RuntimeError(f"{path}: wrote {written} bytes, {self.size} were announced")

    def write_data(self, path: Path) -> None:
        """Write the data file."""
        with path.open("wb") as stream:
            for offset, tensor in self.external:
                stream.seek(offset)
                tensor.tofile(stream)  # type: ignore[attr-defined]  # as above


def layout(model: ir.Model, *, data_name: str, limit: int) -> Layout:
    """Return how to write ``model``.

    Args:
        model: not changed (its large tensors are taken out and put back meanwhile).
        data_name: ``location`` of the data file, used if the model exceeds ``limit``.
        limit: bytes that a model file may have.

    Raises:
        InvalidModelError: it does not fit even with a data file.
    """
    large = [slot for slot in tensor_slots(model) if _is_payload(slot.tensor)]
    inline = _layout(model, large, "")
    if inline.size <= limit:
        return inline
    beside = _layout(model, large, data_name)
    if beside.size > limit:
        raise InvalidModelError(
            f"the model needs {beside.size} bytes without its initializers, ONNX files hold {limit}; "
            "turn its large Constant nodes into initializers"
        )
    return beside


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Return the model as a protobuf message with all weights in memory."""
    foreign = [slot for slot in tensor_slots(model) if isinstance(slot.tensor, ir.ExternalTensor)]
    try:
        for slot in foreign:
            slot.put(ir.Tensor(slot.tensor.numpy(), dtype=slot.tensor.dtype, name=slot.tensor.name))
        return _as_proto(model)
    finally:
        for slot in foreign:
            slot.restore()


def _as_proto(model: ir.Model) -> onnx.ModelProto:
    try:
        proto = ir.to_proto(model)
    except ir.serde.SerdeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UnicodeDecodeError):
            cause = cause.__cause__
        if cause is None:
            raise
        # Notes and metadata are not looked at on loading; a damaged file can hold anything there.
        raise InvalidModelError(
            f"the model holds a text that is not UTF-8 ({cause}), so it cannot be written; it is damaged"
        ) from error
    _say_once(proto.graph)
    return proto


def _say_once(graph: onnx.GraphProto) -> None:
    # onnx-ir repeats in value_info what each initializer says itself.
    infos = graph.value_info
    constants = {tensor.name for tensor in graph.initializer}
    kept = [info for info in infos if info.name not in constants or info.doc_string or info.metadata_props]
    if len(kept) < len(infos):
        del infos[:]
        infos.extend(kept)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                for inner in (attribute.g, *attribute.graphs):
                    _say_once(inner)


def tensor_slots(model: ir.Model) -> Iterator[Slot]:
    """Yield every place of the model that holds a tensor, subgraphs and functions included."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        yield from _initializer_slots(graph)
        for node in graph.all_nodes():
            if node.attributes:
                yield from _attribute_slots(node.attributes)
    for function in model.functions.values():
        yield from _attribute_slots(function.attributes)


def _layout(model: ir.Model, large: list[Slot], data_name: str) -> Layout:
    references = References()
    payloads: list[ir.TensorProtocol] = []
    external: list[tuple[int, ir.TensorProtocol]] = []
    end = 0
    stand_ins = []
    for slot in large:
        tensor = slot.tensor
        if data_name and slot.is_initializer:
            offset = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = offset + tensor.nbytes
            external.append((offset, tensor))
            stand_ins.append(_stand_in(tensor, data_name, offset))
        else:
            stand_ins.append(_stand_in(tensor, references.location(len(payloads)), None))
            payloads.append(tensor)
    try:
        for slot, stand_in in zip(large, stand_ins, strict=True):
            slot.put(stand_in)
        reduced = _as_proto(model).SerializeToString(deterministic=True)
    finally:
        for slot in large:
            slot.restore()
    pieces = put_back(reduced, references, [tensor.nbytes for tensor in payloads])
    return Layout(pieces, payloads, external)


def _is_payload(tensor: ir.TensorProtocol) -> bool:
    # A foreign reference must never be saved as one, however small.
    if isinstance(tensor, ir.ExternalTensor):
        return True
    if isinstance(tensor, ir.TensorProtoTensor):  # most of them: its own nbytes makes a Shape each time
        return nbytes_of(tensor.raw, tensor.name) > LARGE_BYTES
    return tensor.dtype is not ir.DataType.STRING and tensor.nbytes > LARGE_BYTES


def _stand_in(tensor: ir.TensorProtocol, location: str, offset: int | None) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        location,
        offset,
        None if offset is None else tensor.nbytes,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=tensor.name or "",
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def _initializer_slots(graph: ir.Graph) -> Iterator[Slot]:
    for value in graph.initializers.values():
        if value.const_value is not None:
            yield _initializer_slot(value, value.const_value)


def _initializer_slot(value: ir.Value, tensor: ir.TensorProtocol) -> Slot:
    def put(other: ir.TensorProtocol) -> None:
        value.const_value = other

    return Slot(tensor, put, lambda: put(tensor), is_initializer=True)


def _attribute_slots(attributes: MutableMapping[str, ir.Attr]) -> Iterator[Slot]:
    """Yield the tensors among attributes, and the initializers of the graphs among them."""
    for attribute in list(attributes.values()):
        kind, held = attribute.type, attribute.value
        if attribute.is_ref() or held is None:
            continue
        if kind is ir.AttributeType.TENSOR:
            yield _attribute_slot(attributes, attribute)
        elif kind is ir.AttributeType.TENSORS:
            for index in range(len(held)):
                yield _list_slot(attributes, attribute, index)
        elif kind is ir.AttributeType.GRAPH:
            yield from _initializer_slots(held)
        elif kind is ir.AttributeType.GRAPHS:
            for graph in held:
                yield from _initializer_slots(graph)


def _attribute_slot(attributes: MutableMapping[str, ir.Attr], attribute: ir.Attr) -> Slot:
    name = attribute.name

    def put(other: ir.TensorProtocol) -> None:
        attributes[name] = ir.AttrTensor(name, other, doc_string=attribute.doc_string)

    def restore() -> None:
        attributes[name] = attribute

    # Not as_tensor(): checking a protocol takes longer than all the rest of a load.
    return Slot(attribute.value, put, restore, is_initializer=False)


def _list_slot(attributes: MutableMapping[str, ir.Attr], attribute: ir.Attr, index: int) -> Slot:
    name = attribute.name

    def put(other: ir.TensorProtocol) -> None:
        # The list as it is now: its other places may stand changed.
        tensors = list(attributes[name].value)
        tensors[index] = other
        attributes[name] = ir.AttrTensors(name, tensors, doc_string=attribute.doc_string)

    def restore() -> None:
        attributes[name] = attribute

    return Slot(attribute.value[index], put, restore, is_initializer=False)
