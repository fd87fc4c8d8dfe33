"""Tensors whose values stay in a file until someone reads them."""

import contextlib
import errno
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self, overload

import numpy as np
import onnx
import onnx_ir as ir

from graphopt.core._onnx_wire import Span
from graphopt.core.errors import InvalidModelError
from graphopt.core.tensors import Array

_CHUNK = 1 << 20
_WINDOW = 1 << 14
_MAP_FROM_BYTES = 1 << 20
"""Smaller payloads are read: a mapping costs a file descriptor while its array lives."""

_COPY_REFUSED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV})


class SourceFile:
    """A file that tensors are read from; it must stay as it was when it was opened.

    Args:
        path: for messages.
        opener: returns a new file descriptor of a regular file, checked as it needs to be.
        keep_open: hold the descriptor, so that the file may be renamed or removed meanwhile. A
            model can have more data files than a process may open: those are opened when read.
    """

    def __init__(self, path: Path, opener: Callable[[], int], *, keep_open: bool) -> None:
        self.path = path
        self._opener = opener
        self._descriptor: int | None = None
        descriptor = opener()
        self._identity = _identity(descriptor)
        self.size = os.fstat(descriptor).st_size
        if keep_open:
            self._descriptor = descriptor
            weakref.finalize(self, os.close, descriptor)
        else:
            os.close(descriptor)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # read-only: a copied model may share it

    @contextlib.contextmanager
    def descriptor(self) -> Iterator[int]:
        """Yield a file descriptor, for positioned reads only.

        Raises:
            InvalidModelError: the file is gone, or another one stands in its place.
        """
        descriptor = self._opener() if self._descriptor is None else self._descriptor
        try:
            if _identity(descriptor) != self._identity:
                raise InvalidModelError(f"{self.path} changed while it was in use; run the command again")
            yield descriptor
        finally:
            if self._descriptor is None:
                os.close(descriptor)

    def read(self, span: Span) -> bytes:
        """Return the bytes of ``span``."""
        with self.descriptor() as descriptor:
            return b"".join(self._chunks(descriptor, span))

    def view(self, span: Span) -> memoryview:
        """Return the bytes of ``span``; long ones are mapped, and unmapped when nobody uses them."""
        if span.length < _MAP_FROM_BYTES:
            return memoryview(self.read(span))
        skipped = span.offset % mmap.ALLOCATIONGRANULARITY
        try:
            with self.descriptor() as descriptor:
                pages = mmap.mmap(
                    descriptor, skipped + span.length, access=mmap.ACCESS_READ, offset=span.offset - skipped
                )
        except OSError:  # too many mappings or descriptors in this process: read it instead
            return memoryview(self.read(span))
        return memoryview(pages)[skipped:]

    def copy_to(self, stream: BinaryIO, span: Span) -> None:
        """Append the bytes of ``span`` to ``stream``, inside the kernel where it can."""
        with self.descriptor() as descriptor:
            copied = _copy_in_kernel(descriptor, stream, span)
            for chunk in self._chunks(descriptor, Span(span.offset + copied, span.length - copied)):
                stream.write(chunk)

    def _chunks(self, descriptor: int, span: Span) -> Iterator[bytes]:
        place, end = span.offset, span.offset + span.length
        while place < end:
            chunk = os.pread(descriptor, min(_CHUNK, end - place), place)
            if not chunk:
                raise InvalidModelError(
                    f"{self.path} became shorter while it was read; run the command again"
                )
            place += len(chunk)
            yield chunk


class FileBytes:
    """A file as ``bytes``, read where it is looked at.

    Not a mapping: pages that the kernel maps around each access count as memory of the process.
    """

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._window = b""
        self._start = 0

    def __len__(self) -> int:
        return self._source.size

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: int | slice) -> int | bytes:
        if isinstance(key, slice):
            return self._source.read(Span(key.start, key.stop - key.start))
        place = key - self._start
        if not 0 <= place < len(self._window):
            self._window = self._source.read(Span(key, min(_WINDOW, self._source.size - key)))
            self._start, place = key, 0
        return self._window[place]


class FileTensor(ir.LazyTensor):
    """A constant whose bytes are in a file; ``numpy`` returns a read-only array.

    Saved files never refer to the source: every writer sees an ordinary tensor.
    """

    def __init__(
        self,
        source: SourceFile,
        span: Span,
        dtype: ir.DataType,
        shape: ir.Shape,
        *,
        name: str | None,
        doc_string: str | None = None,
        metadata_props: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            lambda: _in_memory(source.view(span), dtype, shape),
            dtype,
            shape,
            name=name,
            doc_string=doc_string,
            metadata_props=metadata_props,
        )
        self.source = source
        self.span = span

    def tobytes(self) -> bytes:
        """Return the values as ``raw_data`` holds them."""
        return self.source.read(self.span)

    def tofile(self, file: BinaryIO) -> None:
        """Append the values to an open binary file."""
        self.source.copy_to(file, self.span)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"FileTensor<{self.dtype},{self.shape}>(name={self.name!r}, file='{self.source.path}')"


class StrippedTensor(ir.LazyTensor):
    """A constant of known dtype and shape whose values were left out of the file."""

    def __init__(self, dtype: ir.DataType, shape: ir.Shape, *, name: str | None) -> None:
        super().__init__(self._missing, dtype, shape, name=name)

    def _missing(self) -> ir.TensorProtocol:
        raise InvalidModelError(f"the weights of {self.name!r} were stripped; get the complete model")


def _in_memory(data: memoryview, dtype: ir.DataType, shape: ir.Shape) -> ir.TensorProtocol:
    dims = shape.numpy()
    if dtype.bitwidth < 8:
        # Several elements per byte: onnx-ir knows the packings of the 2, 4 and 6 bit types.
        return ir.serde.deserialize_tensor(
            onnx.TensorProto(data_type=dtype.value, dims=dims, raw_data=bytes(data))
        )
    stored = np.dtype(dtype.numpy()).newbyteorder("<")
    return ir.Tensor(np.frombuffer(data, dtype=stored).reshape(dims), dtype=dtype)


def _identity(descriptor: int) -> tuple[int, ...]:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _copy_in_kernel(descriptor: int, stream: BinaryIO, span: Span) -> int:
    """Return how many bytes were copied; the caller copies the rest."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        target = stream.fileno()
    except OSError:  # not a file on disk
        return 0
    stream.flush()
    copied = 0
    try:
        while copied < span.length:
            count = os.copy_file_range(
                descriptor, target, min(1 << 30, span.length - copied), span.offset + copied
            )
            if count == 0:
                break
            copied += count
    except OSError as error:
        if error.errno not in _COPY_REFUSED:
            raise
    finally:
        stream.seek(0, os.SEEK_CUR)  # the stream's own idea of where it is
    return copied
