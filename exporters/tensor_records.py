"""What a checkpoint's pickle says about tensors, as checked records instead of tensors.

A record becomes an array only when somebody asks for it, so the optimizer's state costs nothing.
"""

import math
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from graphopt.core.errors import CheckpointError
from graphopt.core.tensors import Array
from graphopt.exporters.pickle_machine import Stub

MAX_RANK = 32


@dataclass(frozen=True)
class Element:
    """What a storage holds.

    Attributes:
        dtype: numpy's name for how it lies in the file; bfloat16 lies there as ``uint16``.
        bfloat16: widen to float32, which is exact.
    """

    dtype: str
    bfloat16: bool = False

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class StorageRecord:
    """A block of elements in the file, or a part of one.

    Attributes:
        key: names the block.
        element: of what.
        numel: elements in this part.
        start: first element of this part in the block.
        block: elements in the whole block.
    """

    key: str
    element: Element
    numel: int
    start: int
    block: int

    @property
    def nbytes(self) -> int:
        """Bytes of the whole block."""
        return self.block * self.element.size


@dataclass(frozen=True)
class TensorRecord:
    """A strided view of a storage, checked to lie inside it.

    Attributes:
        storage: where the elements are.
        element: of what; differs from the storage's own for untyped storages.
        offset: first element, counted from the start of the block.
        shape: sizes.
        strides: in elements.
    """

    storage: StorageRecord
    element: Element
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the array that ``to_array`` makes."""
        return math.prod(self.shape) * self.element.size * (2 if self.element.bfloat16 else 1)

    def to_array(self, block: bytearray) -> Array:
        """Return the tensor as a contiguous array; bfloat16 comes out as float32.

        Args:
            block: bytes of the whole storage block, at least ``storage.nbytes`` long.
        """
        flat = np.frombuffer(block, self.element.dtype, count=len(block) // self.element.size)
        steps = tuple(stride * flat.itemsize for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps)
        array = np.array(view, order="C")
        return _widened(array) if self.element.bfloat16 else array


def storage_record(persistent: object) -> StorageRecord | Stub:
    """Return the record for a persistent id ``("storage", type, key, location, numel[, view])``.

    The location (``cuda:0``, ``npu:0``) is left aside: everything comes to the CPU.

    Raises:
        CheckpointError: the id makes no sense.
    """
    if isinstance(persistent, tuple) and persistent and persistent[0] in ("module", b"module"):
        # Followed by the class and its source text, which torch itself only compares.
        return persistent[1] if len(persistent) > 1 and isinstance(persistent[1], Stub) else Stub("a class")
    if not (
        isinstance(persistent, tuple)
        and len(persistent) in (5, 6)
        and persistent[0] in ("storage", b"storage")
    ):
        raise CheckpointError("it refers to data in a way that is not torch's")
    _, element, key, _, numel, *rest = persistent
    if not isinstance(element, Element):
        return Stub(element.name if isinstance(element, Stub) else "a storage of unknown type")
    if not ((isinstance(key, str) or _is_size(key)) and _is_size(numel)):
        raise CheckpointError("it has a storage without a proper key or size")
    start, count = 0, numel
    if rest and rest[0] is not None:
        view = rest[0]
        if not (isinstance(view, tuple) and len(view) == 3 and _is_size(view[1]) and _is_size(view[2])):
            raise CheckpointError(f"storage {key} is a part of another in a way that makes no sense")
        _, start, count = view
        if start + count > numel:
            raise CheckpointError(f"storage {key} has {numel} elements, a part of it ends at {start + count}")
    return StorageRecord(key=str(key), element=element, numel=count, start=start, block=numel)


def rebuild_tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> object:
    """Stand for ``torch._utils._rebuild_tensor``.

    Raises:
        CheckpointError: the view does not lie inside its storage.
    """
    if not isinstance(storage, StorageRecord):
        return Stub(f"a tensor on {storage.name}" if isinstance(storage, Stub) else "a tensor on nothing")
    return _tensor(storage, storage.element, offset, size, stride)


def rebuild_tensor_v2(storage: object, offset: object, size: object, stride: object, *rest: object) -> object:
    """Stand for ``_rebuild_tensor_v2``: followed by requires_grad, hooks and metadata."""
    if len(rest) > 2 and rest[2]:
        return Stub("a conjugated or negated tensor")
    return rebuild_tensor(storage, offset, size, stride)


def rebuild_tensor_v3(storage: object, offset: object, size: object, stride: object, *rest: object) -> object:
    """Stand for ``_rebuild_tensor_v3``: requires_grad, hooks, dtype and metadata; untyped storage."""
    element = rest[2] if len(rest) > 2 else None
    if not isinstance(storage, StorageRecord) or not isinstance(element, Element) or any(rest[3:]):
        return Stub("a tensor of a dtype that is not supported")
    return _tensor(storage, element, offset, size, stride)


def _tensor(
    storage: StorageRecord, element: Element, offset: object, size: object, stride: object
) -> TensorRecord:
    shape, strides = sizes(size), sizes(stride)
    if not _is_size(offset) or len(shape) != len(strides):
        raise CheckpointError(f"a tensor of storage {storage.key} has offset or strides that make no sense")
    # Counted in the tensor's elements, which are the storage's unless it is untyped.
    begin = storage.start * storage.element.size // element.size + offset
    end = (storage.start + storage.numel) * storage.element.size // element.size
    last = begin + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    empty = 0 in shape
    if begin > end or (not empty and last >= end):
        raise CheckpointError(
            f"a tensor of shape {list(shape)} reaches element {last} of storage {storage.key}, "
            f"which ends at {end}"
        )
    return TensorRecord(storage, element, begin, shape, strides)


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def sizes(value: object) -> tuple[int, ...]:
    """Return ``value`` as a shape or strides.

    Raises:
        CheckpointError: it is none.
    """
    if not isinstance(value, (tuple, list)) or len(value) > MAX_RANK:
        raise CheckpointError("it has a tensor whose shape or strides make no sense")
    found = [item for item in value if _is_size(item)]
    if len(found) != len(value):
        raise CheckpointError("it has a tensor whose shape or strides make no sense")
    return tuple(found)


def _widened(bits: Array) -> Array:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
