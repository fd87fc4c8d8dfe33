"""Put a model in its place in one step, also when its weights need a second file.

Two files cannot be renamed together, so a data file gets a name that nothing uses yet and is complete
before the model that refers to it takes its place. A kill in between leaves the old model with its old
data; the data of a replaced model are removed last.
"""

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx_ir as ir

from graphopt.core._onnx_reading import ModelReader, open_model
from graphopt.core._onnx_writing import PROTOBUF_LIMIT, layout, tensor_slots
from graphopt.core.errors import GraphoptError
from graphopt.core.external_data import DataFiles
from graphopt.core.file_tensors import FileTensor
from graphopt.core.files import atomic_file
from graphopt.core.operator_bodies import attached

_ANY_SIZE = 1 << 62


class StagedModel:
    """A model file that is not in its place yet.

    Attributes:
        path: the temporary file, complete after ``write``.
    """

    def __init__(self, path: Path, data: Path, limit: int) -> None:
        self.path = path
        self._data = data
        self._limit = limit

    def write(self, model: ir.Model) -> None:
        """Write ``model``; a second call replaces what the first wrote.

        Raises:
            OutputError: it cannot be written.
            InvalidModelError: it fits no ONNX file, or a file that holds its weights changed.
        """
        with attached(model):
            plan = layout(model, data_name=self._data.name, limit=self._limit)
            self.discard_data()
            if plan.external:
                with atomic_file(self._data, force=False) as temporary:
                    plan.write_data(temporary)
            plan.write(self.path)

    def discard_data(self) -> None:
        """Remove the data file, if there is one."""
        self._data.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_model(
    path: Path, *, force: bool, inputs: tuple[Path, ...] = (), limit: int = PROTOBUF_LIMIT
) -> Iterator[StagedModel]:
    """Yield a staged model; when the block ends well it takes the place of ``path``.

    Args:
        path: where the model will stand; a data file, if needed, is ``NAME.data`` beside it
            (``NAME.1.data``, ... when that exists).
        force: replace an existing file.
        inputs: files that must not be the output.
        limit: bytes of the largest model file; beyond it, initializers go to the data file.

    Raises:
        OutputError: as ``graphopt.core.files.atomic_file``.
    """
    with contextlib.ExitStack() as undo:
        with atomic_file(path, force=force, inputs=inputs) as temporary:
            unneeded = _data_of([path]) - _data_of(inputs) if path.exists() and _own_data(path) else set()
            staged = StagedModel(temporary, _unused_data_name(path), limit)
            undo.callback(staged.discard_data)
            yield staged
        undo.pop_all()  # the model stands in its place and refers to its data
    for data in unneeded & _own_data(path):
        data.unlink(missing_ok=True)


def _own_data(path: Path) -> set[Path]:
    """Return the data files beside ``path`` that have a name which this module gives."""
    ours = re.compile(rf"{re.escape(path.name)}(\.\d+)?\.data")
    return {entry for entry in path.absolute().parent.iterdir() if ours.fullmatch(entry.name)}


def _unused_data_name(path: Path) -> Path:
    names = itertools.chain([".data"], (f".{number}.data" for number in itertools.count(1)))
    candidates = (path.with_name(path.name + name) for name in names)
    return next(candidate for candidate in candidates if not candidate.exists())


def _data_of(models: Iterable[Path]) -> set[Path]:
    """Return the data files of the models; none of one that cannot be read."""
    found = set()
    for path in models:
        with contextlib.suppress(GraphoptError):
            source = open_model(path)
            model = ModelReader(source, DataFiles(path), _ANY_SIZE).read()
            tensors = (slot.tensor for slot in tensor_slots(model))
            sources = {tensor.source for tensor in tensors if isinstance(tensor, FileTensor)}
            found |= {other.path.absolute() for other in sources if other is not source}
    return found
