"""Run one command and write what it cost to a JSON file.

``python measure.py RESULT.json LOG LIMIT_S COMMAND [ARG ...]``

A process of its own per measured command: the kernel's peak of "the largest child waited for" is then
that command's, its own children included, and not the one of an earlier command.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

_EVERY_S = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SHARE = 0.7
"""Of the machine's memory that a command may have: beyond it, others on the machine would suffer."""


def main(result: Path, log: Path, limit_s: float, command: list[str]) -> int:
    timed_out = False
    with log.open("wb") as stream:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            preexec_fn=_limit_memory,
        )
        tree_bytes = 0
        while process.poll() is None:
            tree_bytes = max(tree_bytes, _resident_bytes(process.pid))
            time.sleep(_EVERY_S)
            if time.perf_counter() - started > limit_s:
                timed_out = True
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        wall_s = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    largest_bytes = usage.ru_maxrss * 1024
    cost = {
        "exit_code": process.returncode,
        "timed_out": timed_out,
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "largest_bytes": largest_bytes,
        "tree_bytes": max(
            tree_bytes, largest_bytes
        ),  # a peak between two samples is not missed by the kernel
    }
    result.write_text(json.dumps(cost), encoding="utf-8")
    return 0


def _limit_memory() -> None:
    allowed = int(os.sysconf("SC_PHYS_PAGES") * _PAGE * _SHARE)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


def _resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and all below it; pages they share count for each."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (OSError, IndexError):  # it ended meanwhile
        return 0
    return pages * _PAGE + sum(_resident_bytes(int(child)) for child in children)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
