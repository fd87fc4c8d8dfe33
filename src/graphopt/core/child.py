"""Run a function in a child process of its own, where it may crash, hang or eat memory.

Native code that reads untrusted files (checker, sessions) runs here: a crash is a finding, not the
end of the program. ``multiprocessing`` is not used: its children import the caller's main module.
"""

import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from graphopt.core.errors import GraphoptError
from graphopt.core.plugins import PLUGIN_MODULES, load_plugin, plugin_files

R = TypeVar("R")

_OUT_OF_MEMORY = 71
"""Exit code of a child that ran out of memory: no signal, and no code that Python uses itself."""
_LOG_TAIL_BYTES = 2000


class ChildCrashed(GraphoptError):
    """A child process died (signal, memory or time limit) before it had an answer."""


class Child:
    """A process that waits for the one function it will run; see ``started``."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self._folder = folder
        self._process = process
        self.is_free = True

    def run(
        self, function: Callable[..., R], args: tuple[Any, ...], timeout_s: float, memory_bytes: int
    ) -> R:
        """Run ``function(*args)``, as ``call`` says; a second time is an error."""
        if not self.is_free:
            raise RuntimeError("a child process runs one function")
        self.is_free = False
        request = pickle.dumps((function.__module__, function.__qualname__, args, timeout_s, memory_bytes))
        plugins = plugin_files() if PLUGIN_MODULES.encode() in request else ()
        Path(self._folder, "plugins").write_bytes(pickle.dumps(plugins))
        Path(self._folder, "request").write_bytes(request)
        returncode = self._wait(function.__name__, timeout_s)
        response = Path(self._folder, "response")
        if not response.is_file():
            raise ChildCrashed(_why_dead(function.__name__, returncode, Path(self._folder, "log")))
        with response.open("rb") as stream:  # not read at once: answers can be large
            result, error = pickle.load(stream)
        if error is not None:
            raise _rebuilt(*error)
        return cast(R, result)

    def stop(self) -> None:
        """Kill it, and what it started, unless it has ended."""
        self._release()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _wait(self, name: str, timeout_s: float) -> int:
        self._release()
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildCrashed(f"{name} had no answer after {timeout_s:g} s and was stopped") from None
        finally:
            self.stop()

    def _release(self) -> None:
        # Its standard input ends when the request is there, and also when this process was killed.
        assert self._process.stdin is not None
        self._process.stdin.close()


@contextlib.contextmanager
def started(*modules: str) -> Iterator[Child]:
    """Start a child for a later ``call``, which then need not wait for Python and imports.

    It is killed when the block ends.

    Args:
        modules: imported while it waits.
    """
    # -P: a module of the current folder must not stand in for one of Python's own.
    argv = [sys.executable, "-P", "-m", "graphopt.core.child"]
    environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ}  # each of its threads reserves memory
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                [*argv, folder, *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        child = Child(Path(folder), process)
        try:
            yield child
        finally:
            child.stop()


def call(
    function: Callable[..., R],
    /,
    *args: Any,
    timeout_s: float,
    memory_bytes: int | None = None,
    waiting: Child | None = None,
) -> R:
    """Run ``function(*args)`` in a fresh Python process and return its result.

    The child and what it started are killed at the time limit and when this call is interrupted.
    What they print is dropped.

    Args:
        function: a function at the top level of an importable module other than ``__main__``.
        args: its positional arguments; they and the result must be picklable.
        timeout_s: seconds before the child is killed.
        memory_bytes: limit of the child's address space; None for none. Reserved memory counts too:
            onnxruntime and OpenBLAS reserve gigabytes that they never touch.
        waiting: a child to use; one that was used before is not used again.

    Raises:
        GraphoptError: raised by the function; it arrives with its type, message and attributes.
        ChildCrashed: the child died: by a signal, out of memory, or at the time limit; or the function
            raised something else, whose traceback ends the message.
    """
    if waiting is not None and waiting.is_free:
        return waiting.run(function, args, timeout_s, memory_bytes or 0)
    with started() as fresh:
        return fresh.run(function, args, timeout_s, memory_bytes or 0)


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


def _main(folder: Path, modules: list[str]) -> int:
    for module in modules:
        with contextlib.suppress(ImportError):  # who needs it says so
            importlib.import_module(module)
    sys.stdin.buffer.read()
    request = Path(folder, "request")
    if not request.is_file():
        return 0  # not needed after all
    try:
        for place in pickle.loads(Path(folder, "plugins").read_bytes()):
            load_plugin(place)  # else their functions and classes cannot be found again
        module, name, args, timeout_s, memory_bytes = pickle.loads(request.read_bytes())
        _limit(timeout_s, memory_bytes)
        function: Any = getattr(importlib.import_module(module), name)
        answer: tuple[Any, Any]
        try:
            answer = (function(*args), None)
        except GraphoptError as error:
            answer = (None, (type(error), error.args, vars(error)))
        unfinished = Path(folder, "unfinished")
        with unfinished.open("wb") as stream:
            pickle.dump(answer, stream, protocol=pickle.HIGHEST_PROTOCOL)
        unfinished.rename(Path(folder, "response"))
    except MemoryError:
        return _OUT_OF_MEMORY
    return 0


def _limit(timeout_s: float, memory_bytes: int) -> None:
    import resource

    # A child whose parent was killed must end too: no more CPU time than the parent would wait.
    seconds = int(timeout_s * (os.cpu_count() or 1)) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


if __name__ == "__main__":
    raise SystemExit(_main(Path(sys.argv[1]), sys.argv[2:]))
