"""Find the data files that a model refers to, trusting nothing it says.

A model may come from anyone: a reference must not lead out of its folder, through links, to devices
or pipes, or past the end of a file.
"""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from graphopt.core._onnx_wire import Span
from graphopt.core.errors import InvalidModelError
from graphopt.core.file_tensors import SourceFile

_KNOWN_KEYS = frozenset({"location", "offset", "length", "checksum"})
_FILES_KEPT_OPEN = 32
# O_NONBLOCK: opening a pipe must not wait for a writer.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class DataFiles:
    """The data files beside one model.

    Args:
        model: the model file; references are relative to its folder.
    """

    def __init__(self, model: Path) -> None:
        self._model = model
        self._sources: dict[PurePosixPath, SourceFile] = {}

    def find(self, tensor: str, entries: Mapping[str, str], nbytes: int) -> tuple[SourceFile, Span]:
        """Return where the data of a tensor are.

        Args:
            tensor: its name, for messages.
            entries: ``external_data`` of its TensorProto.
            nbytes: the size that its dtype and dims ask for.

        Raises:
            InvalidModelError: the reference is malformed, unsafe, or leads to no such data.
        """
        where = f"tensor {tensor!r} of {self._model}"
        if unknown := sorted(set(entries) - _KNOWN_KEYS):
            raise InvalidModelError(
                f"{where}: unknown external data key {unknown[0][:40]!r}; export it again"
            )
        location = _checked_location(entries.get("location", ""), where)
        offset = _number(entries, "offset", 0, where)
        length = _number(entries, "length", nbytes, where)
        if length != nbytes:
            raise InvalidModelError(
                f"{where}: its dtype and shape need {nbytes} bytes, its external data has {length}; "
                "export the model again"
            )
        source = self._source(location, where)
        if offset + length > source.size:
            raise InvalidModelError(
                f"{where}: its data end at byte {offset + length} of {source.path}, which has "
                f"{source.size} bytes; the file is cut off, fetch it again"
            )
        return source, Span(offset, length)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that were found, by name."""
        return tuple(sorted(source.path for source in self._sources.values()))

    def _source(self, location: PurePosixPath, where: str) -> SourceFile:
        if location not in self._sources:
            path = self._model.parent / location
            self._sources[location] = SourceFile(
                path,
                lambda: _open_inside(self._model.parent, location, where),
                keep_open=len(self._sources) < _FILES_KEPT_OPEN,
            )
        return self._sources[location]


def open_regular(path: Path) -> int:
    """Return a descriptor of a regular file, opened for reading; never waits for a pipe.

    Raises:
        OSError: it cannot be opened.
        InvalidModelError: it is no regular file.
    """
    descriptor = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidModelError(f"{path} is not a regular file; give an ONNX file")
    return descriptor


def _checked_location(text: str, where: str) -> PurePosixPath:
    location = PurePosixPath(text)
    # Before anything is looked up, so that the answer does not tell which files exist.
    if location.is_absolute() or ".." in location.parts or "\\" in text or "\0" in text:
        raise InvalidModelError(
            f"{where}: its external data {text!r} leads outside the model's folder; "
            "put the data file beside the model and refer to it by name"
        )
    if not location.parts:
        raise InvalidModelError(f"{where}: its external data has no location; export the model again")
    return location


def _open_inside(folder: Path, location: PurePosixPath, where: str) -> int:
    """Open a file below ``folder`` component by component, following no link."""
    path = folder / location
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in location.parts[:-1]:
            below = os.open(part, _READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        descriptor = os.open(location.name, _READ | os.O_NOFOLLOW, dir_fd=here)
    except FileNotFoundError as error:
        raise InvalidModelError(
            f"{where}: its external data file {path} does not exist; put it beside the model"
        ) from error
    except OSError as error:
        linked = error.errno in (errno.ELOOP, errno.ENOTDIR) and _has_link(folder, location)
        reason = "a symbolic link" if linked else error.strerror
        raise InvalidModelError(
            f"{where}: its external data file {path} cannot be used: {reason}; put a copy beside the model"
        ) from error
    finally:
        os.close(here)
    facts = os.fstat(descriptor)
    if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    reason = "it has several hard links" if stat.S_ISREG(facts.st_mode) else "not a regular file"
    raise InvalidModelError(
        f"{where}: its external data file {path} cannot be used: {reason}; put a copy beside the model"
    )


def _has_link(folder: Path, location: PurePosixPath) -> bool:
    steps = [folder / location, *(folder / parent for parent in location.parents if parent.parts)]
    return any(step.is_symlink() for step in steps)


def _number(entries: Mapping[str, str], key: str, default: int, where: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidModelError(f"{where}: external data {key} is {text[:40]!r}, not a number of bytes")
    return int(text)
