"""Build a network from a function in a user's file, and say in his own lines what goes wrong there."""

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import ExportError, GraphoptError, UsageError
from graphopt.core.optional import require

if TYPE_CHECKING:
    import torch

_LINES = 6
_SAID = 500


@contextlib.contextmanager
def user_module(path: Path, name: str) -> Iterator["torch.nn.Module"]:
    """Yield the network that ``name`` of a Python file makes, in eval mode.

    The file is the user's own code and is run as such; what stands beside it can be imported by it as
    long as the block lasts. What it prints goes to stderr.

    Args:
        path: of the file.
        name: a function without arguments, a subclass of ``torch.nn.Module``, or a module.

    Raises:
        UsageError: there is no such file or name, or it makes no ``torch.nn.Module``.
        ExportError: the code fails; its own lines are named.
        MissingBackendError: torch is not installed.
    """
    torch: Any = require("torch", extra="torch", purpose="exporting a network")
    if path.suffix != ".py" or not path.is_file():
        reason = "does not exist" if path.suffix == ".py" else "is no Python file"
        raise UsageError(f"{path} {reason}; give the file that makes the network: net.py:build")
    folder = str(path.resolve().parent)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            code = _loaded(path)
            module = _built(code, path, name, torch)
        module.eval()
        yield module
    finally:
        sys.path.remove(folder)
        for added in set(sys.modules) - before:  # another file may have neighbours of the same names
            origin = getattr(sys.modules[added], "__file__", None) or ""
            if origin.startswith(folder):
                del sys.modules[added]


@contextlib.contextmanager
def naming_user_lines(path: Path, what: str) -> Iterator[None]:
    """Turn what the user's code raises into ``ExportError``, with the lines of his folder only.

    Args:
        path: of the file; lines of files beside and below it are the user's.
        what: was being done, e.g. ``"forward of Net on image 1x3x224x224"``.
    """
    try:
        yield
    except GraphoptError:
        raise
    except (Exception, SystemExit) as error:
        raise ExportError(user_message(path, what, error)) from error


def user_message(path: Path, what: str, error: BaseException) -> str:
    """Return ``what`` failed, where in the user's files, and the error's own words."""
    folder = path.resolve().parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder) and "site-packages" not in frame.filename
    ]
    lines = [
        f"  {Path(f.filename).name}:{f.lineno}, in {f.name}: {f.line or ''}".rstrip(": ") for f in frames
    ]
    if isinstance(error, SyntaxError) and error.filename:
        lines = [f"  {Path(error.filename).name}:{error.lineno}: {(error.text or '').strip()}"]
    reason = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())[:_SAID]
    words = f"{type(error).__name__}: {reason}".rstrip(": ")
    return "\n".join([f"{what} failed:", *lines[-_LINES:], f"  {words}"])


def _loaded(path: Path) -> ModuleType:
    name = f"graphopt_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    with naming_user_lines(path, f"reading {path}"):
        spec.loader.exec_module(module)
    return module


def _built(code: ModuleType, path: Path, name: str, torch: Any) -> "torch.nn.Module":
    found = getattr(code, name, None)
    if found is None:
        own = [
            key
            for key, value in vars(code).items()
            if not key.startswith("_")
            and callable(value)
            and getattr(value, "__module__", "") == code.__name__
        ]
        hint = did_you_mean(name, own) if own else "it defines no function or class"
        raise UsageError(f"{path} has no {name!r}; {hint}")
    if not isinstance(found, torch.nn.Module):
        if not callable(found):
            raise UsageError(f"{path}: {name} is a {type(found).__name__}, neither function nor module")
        _check_no_arguments(found, path, name)
        with naming_user_lines(path, f"{name}() of {path}"):
            found = found()
    if not isinstance(found, torch.nn.Module):
        raise UsageError(
            f"{path}: {name} gives {type(found).__name__}, not a torch.nn.Module; let it return the network"
        )
    return found


def _check_no_arguments(found: Any, path: Path, name: str) -> None:
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return
    needed = [
        item.name
        for item in parameters
        if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    ]
    if needed:
        raise UsageError(
            f"{path}: {name} wants {', '.join(needed)}; write a function without arguments that calls it, "
            f"and name that: {path}:build"
        )
