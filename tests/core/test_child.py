"""Whatever happens in a child process becomes a result or a typed error here."""

import builtins
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graphopt.core import child, discovery, optional
from graphopt.core.child import ChildCrashed
from graphopt.core.errors import ToolFailure, UsageError


def test_the_result_comes_back() -> None:
    assert child.call(operator.add, [1, 2], ["three"], timeout_s=30) == [1, 2, "three"]


def test_none_and_exceptions_as_values_are_results() -> None:
    assert child.call(time.sleep, 0, timeout_s=30) is None
    assert isinstance(child.call(UsageError, "a value", timeout_s=30), UsageError)


def test_it_is_another_process() -> None:
    assert child.call(os.getpid, timeout_s=30) != os.getpid()


def test_errors_of_the_family_keep_their_type_and_message() -> None:
    with pytest.raises(UsageError, match=r"^unknown pass 'session_'; did you mean session\?$") as caught:
        child.call(discovery._module, "graphopt.core", "session_", "pass", timeout_s=30)
    assert caught.value.exit_code == 2


def test_errors_with_keyword_arguments_arrive_whole() -> None:
    failure = child._rebuilt(
        ToolFailure, ("atc failed",), {"argv": ("atc",), "returncode": 3, "log_tail": "E1"}
    )
    assert isinstance(failure, ToolFailure)
    assert (str(failure), failure.argv, failure.returncode) == ("atc failed", ("atc",), 3)


def test_keyword_only_arguments_of_functions_are_not_lost_silently() -> None:
    with pytest.raises(ChildCrashed, match="missing 2 required keyword-only arguments"):
        child.call(optional.require, "numpy", timeout_s=30)


def test_a_signal_is_named() -> None:
    with pytest.raises(ChildCrashed, match=r"^abort crashed with SIGABRT$"):
        child.call(os.abort, timeout_s=30)
    with pytest.raises(ChildCrashed, match="crashed with SIGKILL; perhaps the machine ran out of memory"):
        child.call(os.kill, 0, signal.SIGKILL, timeout_s=30)


def test_another_exception_brings_its_traceback() -> None:
    with pytest.raises(ChildCrashed, match=r"(?s)truediv failed with exit code 1: .*ZeroDivisionError"):
        child.call(operator.truediv, 1, 0, timeout_s=30)


def test_leaving_early_is_no_answer() -> None:
    with pytest.raises(ChildCrashed, match="failed with exit code 5"):
        child.call(sys.exit, 5, timeout_s=30)
    with pytest.raises(ChildCrashed, match="failed with exit code 0"):
        child.call(os._exit, 0, timeout_s=30)


def test_time_runs_out() -> None:
    started = time.monotonic()
    with pytest.raises(ChildCrashed, match=r"^sleep had no answer after 0\.5 s and was stopped$"):
        child.call(time.sleep, 60, timeout_s=0.5)
    assert time.monotonic() - started < 20


def test_memory_runs_out() -> None:
    with pytest.raises(ChildCrashed, match=r"^bytearray ran out of memory$"):
        child.call(builtins.bytearray, 2 << 30, timeout_s=30, memory_bytes=1 << 30)
    assert len(child.call(builtins.bytearray, 1 << 20, timeout_s=30, memory_bytes=1 << 30)) == 1 << 20


def test_it_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    child.call(builtins.print, "noise", timeout_s=30)
    child.call(os.write, 2, b"noise", timeout_s=30)
    assert capfd.readouterr() == ("", "")


def test_modules_of_the_current_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "operator.py").write_text("raise SystemExit(9)")
    (tmp_path / "pickle.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert child.call(operator.add, 1, 2, timeout_s=30) == 3


_INTERRUPTED = """
import subprocess, sys
from graphopt.core import child
child.call(subprocess.run, ["sleep", "600.125"], timeout_s=600)
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at /proc")
def test_ctrl_c_ends_the_child_and_what_it_started() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _INTERRUPTED], stderr=subprocess.DEVNULL)
    try:
        _wait_until(lambda: _sleepers() == 1)
        parent.send_signal(signal.SIGINT)
        parent.wait(timeout=20)
        _wait_until(lambda: _sleepers() == 0)
    finally:
        parent.kill()
        parent.wait()


def _sleepers() -> int:
    count = 0
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += entry.read_bytes() == b"sleep\x00600.125\x00"
        except OSError:  # it ended meanwhile
            continue
    return count


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_started_before_runs_one_call() -> None:
    with child.started("operator", "no.such.module") as waiting:
        first = child.call(os.getpid, timeout_s=30, waiting=waiting)
        assert first == waiting._process.pid
        assert child.call(os.getpid, timeout_s=30, waiting=waiting) not in (first, os.getpid())


def test_a_child_started_before_has_limits_too() -> None:
    with child.started() as waiting, pytest.raises(ChildCrashed, match=r"no answer after 0\.5 s"):
        child.call(time.sleep, 60, timeout_s=0.5, waiting=waiting)
    with child.started() as waiting, pytest.raises(ChildCrashed, match="ran out of memory"):
        child.call(builtins.bytearray, 2 << 30, timeout_s=30, memory_bytes=1 << 30, waiting=waiting)


def test_a_child_that_is_not_needed_ends_with_the_block() -> None:
    with child.started() as waiting:
        process = waiting._process
        assert process.poll() is None
    assert process.poll() is not None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_waiting_child_ends_when_its_parent_is_killed() -> None:
    code = "import os, signal\nfrom graphopt.core import child\nwith child.started() as c:\n"
    code += " print(c._process.pid, flush=True)\n os.kill(os.getpid(), signal.SIGKILL)"
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert parent.returncode == -signal.SIGKILL
    _wait_until(lambda: not _runs(int(parent.stdout)))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
