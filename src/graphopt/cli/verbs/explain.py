"""``graphopt explain``: what a compiler's log means, and what mends it."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphopt.cli.options import json_option

if TYPE_CHECKING:
    from graphopt.compile.atc.log_report import LogReport

_CODE = re.compile(r"[EW][A-Z\d]\d{4}", re.IGNORECASE)
_MODELS = (".onnx", ".om", ".air", ".pb")
_LINE = 1 << 16
_REPORT_BYTES = 64 << 20


@click.command("explain", short_help="What a log of ATC means, and what mends it.")
@click.argument("log", metavar="LOG")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=None,
    help="The model that was compiled: look the nodes up, and ask whether the passes match.",
)
@json_option
def command(log: str, model: Path | None, as_json: bool) -> int:
    """Explain a log of ATC: what failed first, at which node, and which pass or option mends it.

    graphopt explain deepmar_bs1.atc.log --model deepmar.onnx

    LOG is a file (what atc printed, a plog, or the check_result.json of --mode=3), - for stdin, a code
    such as E10016, or the text of an error. Exits 0 when nothing is wrong in it or a code is known, 1
    otherwise, 2 for bad input.
    """
    from graphopt.cli.render import print_json
    from graphopt.cli.show_log import show_log
    from graphopt.recipes.log_advice import advise, command_for

    name, report = _read(log)
    advice = advise(report, model)
    passes = [word for item in advice if not item.finding.warning for word in item.passes]
    line = command_for(passes, model)
    code = _exit_code(report, looked_up=name == log and not report.lines)
    if as_json:
        content = {
            "ok": code == 0,
            "log": name,
            "outcome": report.outcome or "unknown",
            "lines": report.lines,
            "findings": [item.to_json() for item in advice],
            "unexplained": [{"line": number, "text": text} for number, text in report.unexplained],
            "unexplained_count": report.unexplained_count,
            "command": line,
        }
        print_json("explain", content)
        return code
    show_log(name, report, advice, line, model)
    return code


def _exit_code(report: "LogReport", *, looked_up: bool) -> int:
    if looked_up:
        return 0 if all(item.is_familiar for item in report.findings) else 1
    unknown = report.unexplained_count and report.outcome != "success"
    return 1 if report.errors or report.outcome == "failed" or unknown else 0


def _read(log: str) -> tuple[str, "LogReport"]:
    """Return what to call the log, and what it says; a code alone is a report of no lines.

    Raises:
        UsageError: there is no such file, and it is no text either.
    """
    from graphopt.compile.atc.log_reading import read_check_report, read_log
    from graphopt.compile.atc.log_report import Finding, LogReport
    from graphopt.core.errors import UsageError

    if log == "-":
        return "stdin", _not_empty("stdin", read_log(_lines(sys.stdin)))
    path = Path(log)
    if len(log) < 4096 and path.is_dir():
        raise UsageError(f"{log} is a folder; {_newest_log(path)}")
    if len(log) < 4096 and path.is_file():
        if path.suffix in _MODELS:
            raise UsageError(f"{log} is a model, not a log; what ATC would say of it: graphopt support {log}")
        if path.stat().st_size < _REPORT_BYTES and path.suffix == ".json":
            checked = read_check_report(path.read_text(encoding="utf-8", errors="replace"))
            if checked is not None:
                return log, checked
        with path.open(encoding="utf-8", errors="replace") as stream:
            return log, _not_empty(log, read_log(_lines(stream)))
    if _CODE.fullmatch(log.strip()):
        finding = Finding(code=log.strip().upper(), text="", line=0)
        found = (finding,)
        return log, LogReport(findings=found, unexplained=(), unexplained_count=0, outcome="", lines=0)
    if re.search(r"\s|: ", log.strip()):
        return "the text", read_log(log.splitlines())
    raise UsageError(
        f"there is no file {log}; give a log, - for stdin, a code such as E10016, or the text of an error"
    )


def _lines(stream: Any) -> Iterator[str]:
    """Yield lines; one without an end comes in pieces."""
    return iter(lambda: stream.readline(_LINE), "")


def _not_empty(name: str, report: "LogReport") -> "LogReport":
    from graphopt.core.errors import UsageError

    if not report.lines:
        raise UsageError(f"{name} is empty; keep what ATC says with: bash SCRIPT 2>&1 | tee atc.log")
    return report


def _newest_log(folder: Path) -> str:
    logs = sorted(folder.rglob("*.log"), key=lambda path: path.stat().st_mtime)
    return f"the newest log in it is {logs[-1]}" if logs else "there is no log in it"
