"""Tell whether two constants hold the same elements; large ones in files are read only when they may."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator

import onnx_ir as ir

from graphopt.core.file_tensors import FileTensor

_HEAD_BYTES = 64
_CHUNK_BYTES = 1 << 20
_LARGE_BYTES = 1 << 16


def equal_tensors(values: Iterable[ir.Value]) -> Iterator[list[ir.Value]]:
    """Yield groups of two or more constants of one dtype and shape with the same bytes, in order.

    Large constants that another pass computes only when they are saved are left out: reading them
    here would compute them twice.

    Args:
        values: each with a ``const_value``.
    """
    groups: list[list[ir.Value]] = [list(values)]
    # From cheap to dear: what differs in type or in its first bytes is never read as a whole.
    for key in (_kind, _head, _digest):
        groups = [part for group in groups for part in _split(group, key) if len(part) > 1]
    yield from groups


def tensor_key(tensor: ir.TensorProtocol) -> Hashable:
    """Return what is equal for equal tensors; large ones are equal only to themselves."""
    return (_kind(tensor), id(tensor) if tensor.nbytes > _LARGE_BYTES else _digest(tensor))


def _split(group: list[ir.Value], key: Callable[[ir.TensorProtocol], Hashable]) -> list[list[ir.Value]]:
    parts: dict[Hashable, list[ir.Value]] = {}
    for value in group:
        tensor = value.const_value
        if tensor is not None and not _is_computed_later(tensor):
            parts.setdefault(key(tensor), []).append(value)
    return list(parts.values())


def _is_computed_later(tensor: ir.TensorProtocol) -> bool:
    lazy = isinstance(tensor, ir.LazyTensor) and not isinstance(tensor, FileTensor)
    return lazy and tensor.nbytes > _LARGE_BYTES


def _kind(tensor: ir.TensorProtocol) -> Hashable:
    return tensor.dtype, tuple(tensor.shape.numpy())


def _head(tensor: ir.TensorProtocol) -> Hashable:
    if tensor.dtype == ir.DataType.STRING:
        return None
    if isinstance(tensor, FileTensor):
        return tensor.source.read(tensor.span._replace(length=min(_HEAD_BYTES, tensor.span.length)))
    return tensor.tobytes()[:_HEAD_BYTES]


def _digest(tensor: ir.TensorProtocol) -> bytes:
    digest = hashlib.blake2b(digest_size=20)
    if tensor.dtype == ir.DataType.STRING:
        digest.update(repr(tensor.numpy().tolist()).encode())
    elif isinstance(tensor, FileTensor):
        place, end = tensor.span.offset, tensor.span.offset + tensor.span.length
        while place < end:
            size = min(_CHUNK_BYTES, end - place)
            digest.update(tensor.source.read(tensor.span._replace(offset=place, length=size)))
            place += size
    else:
        digest.update(tensor.tobytes())
    return digest.digest()
