"""Large arrays that stay in their file: mapped, walked in blocks, and given back page by page."""

import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphopt.core.tensors import Array

BLOCK_BYTES = 1 << 24
"""How much of each array is in memory at once when one is walked."""

IN_MEMORY = 1 << 26
"""Bytes up to which an array of a file is rather read than mapped."""


def map_array(descriptor: int, *, dtype: Any, shape: tuple[int, ...], offset: int) -> Array:
    """Map an array of a file, read-only; the file may be closed or unlinked afterwards.

    Args:
        descriptor: of an open file.
        dtype: of the elements.
        shape: of the array.
        offset: of its first byte in the file.

    Raises:
        ValueError: the file is too short.
    """
    wanted = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * wanted.itemsize
    if size == 0:
        return np.empty(shape, wanted)
    # A map starts on a page; arrays need not.
    start = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    content = mmap.mmap(descriptor, offset - start + size, access=mmap.ACCESS_READ, offset=start)
    return np.ndarray(shape, wanted, buffer=content, offset=offset - start)


def blocks(
    arrays: Sequence[Array], *, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[slice, tuple[Array, ...]]]:
    """Walk arrays of the same length together, a few rows at a time.

    Rows of a mapped array are copied, and its pages given back after each block, so that a walk
    needs little memory however large the file is.

    Args:
        arrays: of the same number of rows.
        block_bytes: of the largest array at a time; at least one row.

    Yields:
        The rows as a slice, and those rows of each array.
    """
    rows = len(arrays[0])
    largest = max((array.nbytes // max(rows, 1) for array in arrays), default=0)
    step = max(1, block_bytes // max(largest, 1))
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        yield part, tuple(np.array(array[part]) if is_mapped(array) else array[part] for array in arrays)
        for array in arrays:
            release(array)


def is_mapped(array: Array) -> bool:
    """Whether the array's memory is a file's."""
    return _map_of(array) is not None


def release(array: Array) -> None:
    """Give back the memory of a mapped array; it is read from the file again when needed."""
    content = _map_of(array)
    if content is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on every system
        content.madvise(mmap.MADV_DONTNEED)


def _map_of(array: Array) -> mmap.mmap | None:
    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None
