"""Take large tensor payloads out of the bytes of a model, and put them back, without parsing it.

A ``ModelProto`` is nested messages of ``key, length, content``. ``take_out`` walks only into messages
that are long enough to hold a large payload and replaces each by a short reference, so that what
protobuf parses is small. ``put_back`` does the reverse on serialized bytes and yields pieces to be
written one after the other: the payloads never pass through memory together.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias, overload

LARGE_BYTES = 4096
"""Payloads above this stay in their file: below, a reference costs more than the bytes."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100  # protobuf's own limit for nested messages

# Where tensors can be, by field number of onnx.proto (message -> field -> message of that field).
_ANYWHERE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "function": {7: "node", 11: "attribute"},
}
_MAIN_INITIALIZERS = {"model": {7: "graph"}, "graph": {5: "tensor"}}
_DATA_TYPE, _SEGMENT, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 2, 3, 9, 13, 14
# A packed repeated float or double field holds the same bytes as raw_data would.
_PACKED_LIKE_RAW = {4: 1, 10: 11}  # float_data if FLOAT, double_data if DOUBLE
_TYPED_DATA = frozenset({4, 5, 6, 7, 10, 11})


class DamagedError(ValueError):
    """The bytes are no protobuf message: cut off, or something else altogether."""


class Bytes(Protocol):
    """What is walked over: ``bytes``, or a file that is read where it is looked at."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...


class Span(NamedTuple):
    """A payload inside a file, in bytes."""

    offset: int
    length: int


class _Field(NamedTuple):
    number: int
    wire: int
    start: int
    """Of the key."""
    content: int
    """Of what follows key and length."""
    end: int


Piece: TypeAlias = bytes | int
"""Bytes to write, or the index of a payload to write."""


@dataclass
class References:
    """The short references that stand for payloads: external data at a place nobody can guess."""

    token: str = field(default_factory=lambda: f"graphopt-{secrets.token_hex(16)}-")

    def location(self, index: int) -> str:
        """Return the ``location`` that refers to payload ``index``."""
        return f"{self.token}{index}."

    def index(self, location: str) -> int | None:
        """Return the payload that ``location`` refers to; None for an ordinary location."""
        return int(location[len(self.token) : -1]) if location.startswith(self.token) else None

    def fields(self, index: int) -> bytes:
        """Return the serialized fields that make a tensor refer to payload ``index``."""
        entry = _delimited(1, b"location") + _delimited(2, self.location(index).encode())
        return _delimited(_EXTERNAL_DATA, entry) + _key(_DATA_LOCATION, _VARINT) + b"\x01"


def take_out(
    data: Bytes, references: References, *, main_initializers_only: bool = False
) -> tuple[bytes, list[Span]]:
    """Return the bytes of the model with references in place of large payloads, and the payloads.

    Raises:
        DamagedError: ``data`` is not a complete protobuf message.
    """
    spans: list[Span] = []
    places = _MAIN_INITIALIZERS if main_initializers_only else _ANYWHERE

    def shorten(start: int, end: int, message: str, depth: int) -> bytes | None:
        if depth > _MAX_DEPTH:
            raise DamagedError(f"messages are nested more than {_MAX_DEPTH} deep")
        if message == "tensor":
            return _shorten_tensor(data, start, end, references, spans)
        children = places[message]
        parts: list[bytes] = []
        done = start
        for item in _fields(data, start, end):
            child = children.get(item.number)
            if child is None or item.wire != _BYTES or item.end - item.content <= LARGE_BYTES:
                continue
            shortened = shorten(item.content, item.end, child, depth + 1)
            if shortened is not None:
                parts += (data[done : item.start], _delimited(item.number, shortened))
                done = item.end
        return b"".join([*parts, data[done:end]]) if parts else None

    shortened = shorten(0, len(data), "model", 0)
    return (data[0 : len(data)] if shortened is None else shortened), spans


def _shorten_tensor(
    data: Bytes, start: int, end: int, references: References, spans: list[Span]
) -> bytes | None:
    fields = list(_fields(data, start, end))
    payloads = [item for item in fields if item.number == _RAW_DATA or item.number in _TYPED_DATA]
    # Segments, and data both inline and external, are left for the checks that follow.
    odd = any(item.number in (_SEGMENT, _EXTERNAL_DATA, _DATA_LOCATION) for item in fields)
    if odd or len(payloads) != 1:
        return None
    (payload,) = payloads
    length = payload.end - payload.content
    if length <= LARGE_BYTES or payload.wire != _BYTES:
        return None
    if payload.number != _RAW_DATA:
        types = [_varint(data, item.content, end)[0] for item in fields if item.number == _DATA_TYPE]
        if types[-1:] != [_PACKED_LIKE_RAW.get(payload.number)]:
            return None
    spans.append(Span(payload.content, length))
    return data[start : payload.start] + data[payload.end : end] + references.fields(len(spans) - 1)


def put_back(reduced: bytes, references: References, lengths: Sequence[int]) -> list[Piece]:
    """Return the pieces of the model in which payloads stand where ``reduced`` refers to them.

    Args:
        reduced: a serialized model.
        references: those that its tensors use.
        lengths: bytes of each payload, by index.
    """
    token = references.token.encode()

    def expand(start: int, end: int, message: str) -> tuple[list[Piece], int]:
        if message == "tensor":
            return _expand_tensor(reduced, start, end, token, lengths)
        children = _ANYWHERE[message]
        pieces: list[Piece] = []
        size = 0
        done = start
        for item in _fields(reduced, start, end):
            child = children.get(item.number)
            if child is None or reduced.find(token, item.content, item.end) < 0:
                continue
            inner, inner_size = expand(item.content, item.end, child)
            head = reduced[done : item.start] + _key(item.number, _BYTES) + _encoded(inner_size)
            pieces += [head, *inner]
            size += len(head) + inner_size
            done = item.end
        rest = reduced[done:end]
        return [*pieces, rest], size + len(rest)

    return expand(0, len(reduced), "model")[0]


def _expand_tensor(
    reduced: bytes, start: int, end: int, token: bytes, lengths: Sequence[int]
) -> tuple[list[Piece], int]:
    place = reduced.find(token, start, end) + len(token)
    index = int(reduced[place : reduced.index(b".", place, end)])
    before, after = b"", b""
    for item in _fields(reduced, start, end):
        if item.number in (_EXTERNAL_DATA, _DATA_LOCATION):
            continue
        # In order of field numbers, as protobuf itself writes them.
        if item.number < _RAW_DATA:
            before += reduced[item.start : item.end]
        else:
            after += reduced[item.start : item.end]
    head = before + _key(_RAW_DATA, _BYTES) + _encoded(lengths[index])
    return [head, index, after], len(head) + lengths[index] + len(after)


def _fields(data: Bytes, start: int, end: int) -> Iterator[_Field]:
    place = start
    while place < end:
        key, content = _varint(data, place, end)
        number, wire = key >> 3, key & 7
        if wire == _BYTES:
            length, content = _varint(data, content, end)
            stop = content + length
        elif wire == _VARINT:
            stop = _varint(data, content, end)[1]
        elif wire in (_FIXED64, _FIXED32):
            stop = content + (8 if wire == _FIXED64 else 4)
        else:
            raise DamagedError(f"no field can start at byte {place}")
        if number == 0:
            raise DamagedError(f"no field can start at byte {place}")
        if stop > end:
            raise DamagedError(f"the field at byte {place} ends at byte {stop}, the data at byte {end}")
        yield _Field(number, wire, place, content, stop)
        place = stop


def _varint(data: Bytes, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for index in range(place, min(place + 10, end)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    raise DamagedError(f"the number at byte {place} does not end")


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _key(number: int, wire: int) -> bytes:
    return _encoded(number << 3 | wire)


def _delimited(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _encoded(len(content)) + content
