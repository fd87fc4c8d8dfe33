"""Outputs appear whole or not at all; contents are named by sha256."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphopt.core.errors import OutputError

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file's content, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's complaints about writing ``path`` into ``OutputError``."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(_why_unwritable(path, error)) from error


@contextlib.contextmanager
def atomic_file(path: Path, *, force: bool, inputs: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path``.

    The temporary file is flushed to disk before the rename, and removed when the block raises.
    After a kill the old file or the new one is there; a stale temporary of a dead process is
    removed by the next write to the same place.

    Args:
        path: where the result will stand; its folder must exist.
        force: replace an existing file.
        inputs: files that must not be the output.

    Raises:
        OutputError: the output is an input, exists without ``force``, or cannot be written.
    """
    check_output(path, force=force, inputs=inputs)
    with output_errors(path):
        _remove_stale(path)
        temporary = _temporary_beside(path)
        try:
            yield temporary
            _flush(temporary)
            check_output(path, force=force, inputs=inputs)  # another run may have been faster
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it takes the place of ``path``.

    With ``force`` the old folder is moved aside before and removed after the rename.

    Raises:
        OutputError: the folder exists without ``force``, or cannot be written.
    """
    with output_errors(path):
        if path.parent.is_dir():
            _recover_folder(path)
            _remove_stale(path)
        check_free(path, force=force)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(path)
        aside = temporary.with_name(temporary.name + ".old")
        temporary.mkdir()
        try:
            yield temporary
            if path.exists():
                path.rename(aside)
            temporary.rename(path)
        finally:
            if aside.exists() and not path.exists():
                aside.rename(path)
            shutil.rmtree(aside, ignore_errors=True)
            shutil.rmtree(temporary, ignore_errors=True)


def check_free(folder: Path, *, force: bool) -> None:
    """Refuse an output folder that is there already, before any work is done.

    Raises:
        OutputError: it exists and ``force`` is not given, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder with -o")
    if folder.exists() and not force:
        raise OutputError(f"{folder} exists; use --force to replace it, or -o for another place")


def check_output(path: Path, *, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse an output that cannot or must not be written, before any work is done.

    Raises:
        OutputError: says which and what to do.
    """
    with output_errors(path):
        exists = path.exists() or path.is_symlink()
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give a file name with -o")
        if any(path.exists() and given.exists() and path.samefile(given) for given in inputs):
            raise OutputError(
                f"{path} is the input; an input is never overwritten, choose another name with -o"
            )
        if exists and not force:
            raise OutputError(f"{path} exists; use --force to replace it, or -o for another name")
        folder = path.parent
        if not folder.is_dir():
            raise OutputError(f"the folder {folder} does not exist; create it, or choose another with -o")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"no permission to write into {folder}; choose another place with -o")


def write_text(path: Path, text: str, *, force: bool = True) -> None:
    """Write ``text`` as UTF-8, atomically.

    Raises:
        OutputError: as ``atomic_file``.
    """
    with atomic_file(path, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, *, force: bool = True) -> None:
    """Write ``content`` as indented JSON, atomically.

    Raises:
        OutputError: as ``atomic_file``.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", force=force)


def _temporary_beside(path: Path) -> Path:
    # The process id in the name tells a later run whether its writer still lives.
    token = secrets.token_hex(4)
    return path.with_name(f".{path.name}.{os.getpid()}.{token}.tmp")


def _remove_stale(path: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.\w+\.tmp")
    for entry in path.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match and not _alive(int(match[1])):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _recover_folder(path: Path) -> None:
    """Undo what a run did that was killed after it had moved the old folder aside."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.\w+\.tmp\.old")
    for entry in path.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match and not _alive(int(match[1])):
            if path.exists():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.rename(path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _why_unwritable(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {path} was not written; free some space or choose another place with -o"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write {path}: {error.strerror}; choose another place with -o"
    if error.errno == errno.ENAMETOOLONG:
        return f"the name {path.name} is too long for this file system; choose a shorter one with -o"
    return f"{path} cannot be written: {error.strerror or error}"
