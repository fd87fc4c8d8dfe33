"""Run a function in a child process of its own, where it may crash, hang or eat memory.

Native code that reads untrusted files (checker, sessions) runs here: a crash is a finding, not the
end of the program. ``multiprocessing`` is not used: its children import the caller's main module.
"""

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from graphopt.core.errors import GraphoptError

R = TypeVar("R")

_OUT_OF_MEMORY = 71
"""Exit code of a child that ran out of memory: no signal, and no code that Python uses itself."""
_LOG_TAIL_BYTES = 2000


class ChildCrashed(GraphoptError):
    """A child process died (signal, memory or time limit) before it had an answer."""


def call(function: Callable[..., R], /, *args: Any, timeout_s: float, memory_bytes: int | None = None) -> R:
    """Run ``function(*args)`` in a fresh Python process and return its result.

    The child and what it started are killed at the time limit and when this call is interrupted.
    What they print is dropped.

    Args:
        function: a function at the top level of an importable module other than ``__main__``.
        args: its positional arguments; they and the result must be picklable.
        timeout_s: seconds before the child is killed.
        memory_bytes: limit of the child's address space; None for none. Reserved memory counts too:
            onnxruntime and OpenBLAS reserve gigabytes that they never touch.

    Raises:
        GraphoptError: raised by the function; it arrives with its type, message and attributes.
        ChildCrashed: the child died: by a signal, out of memory, or at the time limit; or the function
            raised something else, whose traceback ends the message.
    """
    with tempfile.TemporaryDirectory(prefix="graphopt-") as name:
        folder = Path(name)
        request = (function.__module__, function.__qualname__, args)
        Path(folder, "request").write_bytes(pickle.dumps(request))
        returncode = _run(folder, function.__name__, timeout_s, memory_bytes or 0)
        response = Path(folder, "response")
        if not response.is_file():
            raise ChildCrashed(_why_dead(function.__name__, returncode, Path(folder, "log")))
        result, error = pickle.loads(response.read_bytes())
    if error is not None:
        raise _rebuilt(*error)
    return cast(R, result)


def _run(folder: Path, name: str, timeout_s: float, memory_bytes: int) -> int:
    # -P: a module of the current folder must not stand in for one of Python's own.
    argv = [sys.executable, "-P", "-m", "graphopt.core.child", str(folder), str(timeout_s), str(memory_bytes)]
    environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ}  # each of its threads reserves memory
    with Path(folder, "log").open("wb") as log:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        return child.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ChildCrashed(f"{name} had no answer after {timeout_s:g} s and was stopped") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _why_dead(name: str, returncode: int, log: Path) -> str:
    if returncode == _OUT_OF_MEMORY:
        return f"{name} ran out of memory"
    if returncode < 0:
        killer = signal.Signals(-returncode)
        hint = "; perhaps the machine ran out of memory" if killer is signal.SIGKILL else ""
        return f"{name} crashed with {killer.name}{hint}"
    tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return f"{name} failed with exit code {returncode}: {tail}"


def _rebuilt(kind: type[GraphoptError], args: tuple[Any, ...], attributes: dict[str, Any]) -> GraphoptError:
    # Not by calling the class: pickle cannot, where its arguments are keywords.
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _main(folder: Path, timeout_s: float, memory_bytes: int) -> int:
    import resource

    # A child whose parent was killed must end too: no more CPU time than the parent would wait.
    seconds = int(timeout_s * (os.cpu_count() or 1)) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    try:
        module, name, args = pickle.loads(Path(folder, "request").read_bytes())
        function: Any = getattr(importlib.import_module(module), name)
        answer: tuple[Any, Any]
        try:
            answer = (function(*args), None)
        except GraphoptError as error:
            answer = (None, (type(error), error.args, vars(error)))
        unfinished = Path(folder, "unfinished")
        unfinished.write_bytes(pickle.dumps(answer))
        unfinished.rename(Path(folder, "response"))
    except MemoryError:
        return _OUT_OF_MEMORY
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
