"""How much memory a piece of work needed, beyond what the process held before."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What Linux takes (since 4.0) to begin the peak of resident memory anew."""


class PeakMemory:
    """What ``peak_memory`` found once its block has ended.

    Attributes:
        bytes: resident memory at its highest, less what was resident before; None where the system does
            not tell. Processes that the work starts are not counted.
    """

    bytes: int | None = None


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measure the block, exactly and at no cost, on Linux; not to be nested."""
    found = PeakMemory()
    _release_unused()
    before = _resident("VmRSS") if _reset_peak() else None
    try:
        yield found
    finally:
        highest = _resident("VmHWM")
        if before is not None and highest is not None:
            found.bytes = max(0, highest - before)


def _reset_peak() -> bool:
    try:
        _RESET.write_text(_RESET_PEAK)
    except OSError:  # another system, or a container that forbids it
        return False
    return True


def _resident(name: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), None)


def _release_unused() -> None:
    """Give back what earlier work freed: the allocator would hand it out again, and it would not count."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
