"""Run an external program: output into a log file, a time limit, nothing left running."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from graphopt.core.files import output_errors

GRACE_S = 5.0
"""Between asking a program to end and ending it."""
_TAIL_BYTES = 256 << 10


@dataclass(frozen=True, kw_only=True)
class ToolRun:
    """A finished run.

    Attributes:
        argv: as it was started.
        returncode: negative for a signal; None when the time limit ended it.
        log: the last 256 KiB of stdout and stderr together.
        seconds: wall time.
    """

    argv: tuple[str, ...]
    returncode: int | None
    log: str
    seconds: float

    def tail(self, lines: int = 20) -> str:
        """Return the last non-empty lines of the log."""
        return "\n".join([line for line in self.log.splitlines() if line.strip()][-lines:])


def run_tool(argv: tuple[str, ...], *, cwd: Path, log_file: Path, timeout_s: float) -> ToolRun:
    """Run ``argv`` to its end, at the latest until the time limit.

    The program runs in a process group of its own. At the limit, and when this call is
    interrupted, the whole group is ended: compilers start many workers.

    Args:
        argv: program and arguments; no shell is involved.
        cwd: working directory.
        log_file: receives stdout and stderr as they come; overwritten.
        timeout_s: seconds.

    Raises:
        OutputError: the log cannot be written.
        OSError: the program cannot be started.
    """
    started = time.monotonic()
    with output_errors(log_file):
        stream = log_file.open("wb")
    with stream:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        returncode: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                returncode = process.wait(timeout=timeout_s)
        finally:
            _end_group(process)
    return ToolRun(
        argv=argv, returncode=returncode, log=_read_tail(log_file), seconds=time.monotonic() - started
    )


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=GRACE_S)
        # Workers may outlive their parent, also one that ended by itself.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read_tail(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return stream.read().decode("utf-8", "replace")
