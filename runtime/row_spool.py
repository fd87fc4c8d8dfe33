"""Rows of outputs as they come: in memory while they are few, in a nameless file when they grow."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from graphopt.core.errors import UsageError
from graphopt.core.files import output_errors
from graphopt.core.mapped import IN_MEMORY, map_array
from graphopt.core.tensors import Array


class RowSpool:
    """Collects the outputs of one sample after the other.

    One record of the file holds all outputs of a sample. The file has no name, so nothing is left
    of it whatever happens; arrays that were mapped from it keep it.

    Args:
        folder: of the file; None for the system's own. It holds all rows: for logits of masks
            that may be gigabytes.
        in_memory: bytes up to which no file is made.
    """

    def __init__(self, folder: Path | None = None, *, in_memory: int = IN_MEMORY) -> None:
        self._folder = folder if folder is not None else Path(tempfile.gettempdir())
        self._in_memory = in_memory
        with output_errors(self._folder):
            self._stream: Any = tempfile.SpooledTemporaryFile(  # noqa: SIM115  closed on exit
                max_size=in_memory, dir=str(self._folder)
            )
        self._record: np.dtype[Any] | None = None
        self._names: tuple[str, ...] = ()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def append(self, outputs: Mapping[str, Array]) -> None:
        """Add samples.

        Args:
            outputs: by name; axis 0 is the sample, the same number in each.

        Raises:
            UsageError: an output has another shape than before.
            OutputError: the disk is full.
        """
        if self._record is None:
            self._names = tuple(outputs)
            # Numbered: a field's name must not be empty, an output's may hold anything.
            self._record = np.dtype(
                [(f"f{i}", value.dtype, value.shape[1:]) for i, value in enumerate(outputs.values())]
            )
        rows = len(next(iter(outputs.values())))
        new: Any = np.empty(rows, self._record)
        for i, name in enumerate(self._names):
            field, value = new[f"f{i}"], outputs[name]
            if value.shape != field.shape:
                shapes = ", ".join(sorted({str(list(field.shape[1:])), str(list(value.shape[1:]))}))
                raise UsageError(f"output {name} changes its shape between samples ({shapes}); pin it first")
            field[...] = value
        with output_errors(self._folder):
            self._stream.write(new.tobytes())
        self._count += rows

    def outputs(self) -> dict[str, Array]:
        """Return all rows by output: arrays in memory, or mapped from the file when there is one."""
        if self._record is None:
            return {}
        size = self._count * self._record.itemsize
        if size == 0:
            empty = np.empty(self._count, self._record)
            return {name: empty[f"f{i}"] for i, name in enumerate(self._names)}
        if size > self._in_memory:
            with output_errors(self._folder):
                self._stream.flush()
            records: Any = map_array(
                self._stream.fileno(), dtype=self._record, shape=(self._count,), offset=0
            )
            return {name: records[f"f{i}"] for i, name in enumerate(self._names)}
        place = self._stream.tell()
        self._stream.seek(0)
        content = np.frombuffer(bytearray(self._stream.read(size)), self._record, self._count)
        self._stream.seek(place)
        return {name: np.ascontiguousarray(content[f"f{i}"]) for i, name in enumerate(self._names)}
