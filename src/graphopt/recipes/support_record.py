"""Keep what compiles here: a model that ATC took, or what its log says that it refused."""

import datetime
from pathlib import Path

from graphopt.compile.atc.log_reading import read_check_report, read_log
from graphopt.compile.atc.log_report import LogReport
from graphopt.compile.support.check import NodeSupport, Support
from graphopt.compile.support.records import Record, add_records, place_for_records
from graphopt.compile.support.verdicts import Verdict
from graphopt.core.errors import InvalidModelError, UsageError

COMPILED = "ok"
_REFUSED = ("E13010", "E16002", "E19010", "EZ9010", "EZ0501", "E10501", "EZ3002", "EZ3003")
"""Codes by which ATC refuses an operator; others are about the call or the machine."""
_REGISTRY = ("registered", "not_registered", "opset", "release", "domain", "plugin")
_LARGEST_LOG = 64 << 20


def record(support: Support, model: Path, what: str, *, note: str = "") -> tuple[Path, tuple[Record, ...]]:
    """Add to ``graphopt-support.toml`` what a run of ATC showed.

    Args:
        support: verdicts of the model; its chip and release are those of the run.
        model: for the note.
        what: ``ok``, when the model compiled; else the file with the log.
        note: in place of one that names the model and the day.

    Returns:
        The file, and the records that are new.

    Raises:
        UsageError: no release was given, or the log says nothing of operators.
        OutputError: the file cannot be written.
    """
    if support.aim.release is None:
        raise UsageError("--record needs --cann: what compiles with one release says nothing of others")
    note = note or f"{model.name}, {datetime.datetime.now(tz=datetime.UTC).date()}"
    if what == COMPILED:
        new = _all_fine(support, note)
    else:
        text = _log_text(Path(what))
        report = read_check_report(text) or read_log(text.splitlines())
        fine = report.outcome == "success" and not report.errors
        new = _all_fine(support, note) if fine else _refused(support, report, note)
        if not new:
            raise UsageError(
                f"{what} neither says that ATC succeeded nor names an operator of {model.name} that it "
                "refused; 'graphopt explain' tells what else a log means"
            )
    path = place_for_records(Path.cwd())
    return path, add_records(path, new)


def _all_fine(support: Support, note: str) -> list[Record]:
    """One record per operator; also for what sources call unsupported, for it compiled."""
    found: dict[tuple[str, int, str], Record] = {}
    for node in support.nodes:
        limits = [item.code for item in node.faults if item.verdict is Verdict.UNSUPPORTED]
        for limit in ("", *(code for code in limits if code not in _REGISTRY)):
            key = (node.operator, node.opset, limit)
            found[key] = _record(support, node, Verdict.FINE, note, limit)
    return list(found.values())


def _refused(support: Support, report: LogReport, note: str) -> list[Record]:
    by_name = {node.name: node for node in support.nodes}
    by_type = {node.node.op_type: node for node in support.nodes}
    found = {}
    for named in (n for item in report.errors if item.code in _REFUSED for n in item.nodes.values()):
        node = by_name.get(named.node) or by_type.get(named.op_type.rpartition("::")[2])
        if node is not None:
            found[node.operator] = _record(support, node, Verdict.UNSUPPORTED, note)
    return list(found.values())


def _record(support: Support, node: NodeSupport, verdict: Verdict, note: str, limit: str = "") -> Record:
    return Record(
        operator=node.operator,
        opset=node.opset,
        soc=support.aim.soc,
        cann=str(support.aim.release),
        verdict=verdict,
        limit=limit,
        note=note,
    )


def _log_text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_LOG:
            raise InvalidModelError(f"{path} is larger than {_LARGEST_LOG >> 20} MiB; cut the log down")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"--record takes 'ok' or the log of a run; {path}: {error.strerror}") from error
