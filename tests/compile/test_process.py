import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from graphopt.compile.process import run_tool
from graphopt.core.errors import OutputError


def test_output_of_both_streams_goes_to_the_log(tmp_path: Path) -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(7)"
    log = tmp_path / "log"
    done = run_tool((sys.executable, "-c", code), cwd=tmp_path, log_file=log, timeout_s=60)
    assert done.returncode == 7
    assert done.log == "out\nerr\n" == log.read_text()
    assert done.tail(1) == "err"


def test_only_the_end_of_a_long_log_is_kept_in_memory(tmp_path: Path) -> None:
    code = "print('x' * 1000000); print('last')"
    done = run_tool((sys.executable, "-c", code), cwd=tmp_path, log_file=tmp_path / "log", timeout_s=60)
    assert len(done.log) == 256 << 10
    assert done.tail(1) == "last"
    assert (tmp_path / "log").stat().st_size > 1000000


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    argv = (sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME; `ls`")
    assert run_tool(argv, cwd=tmp_path, log_file=tmp_path / "log", timeout_s=60).log == "$HOME; `ls`\n"


def test_time_limit_ends_the_whole_group(tmp_path: Path) -> None:
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(worker.pid, flush=True); time.sleep(600)"
    )
    done = run_tool((sys.executable, "-c", code), cwd=tmp_path, log_file=tmp_path / "log", timeout_s=1)
    assert done.returncode is None
    assert _ends(int(done.log))


def test_interrupt_ends_the_group_and_is_passed_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"

    def interrupt() -> None:
        while not (log.exists() and log.read_text().strip()):
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_tool((sys.executable, "-c", code), cwd=tmp_path, log_file=log, timeout_s=60)
    finally:
        thread.join()
    assert _ends(int(log.read_text()))


def test_unwritable_log(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        run_tool(("true",), cwd=tmp_path, log_file=tmp_path / "nowhere" / "log", timeout_s=1)


def _ends(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False
