"""What a team found out itself: ``graphopt-support.toml``, one record per operator, chip and release."""

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graphopt.compile.support.place import Aim
from graphopt.compile.support.releases import Release, parse_release
from graphopt.compile.support.verdicts import Finding, Verdict
from graphopt.core.errors import UsageError
from graphopt.core.files import write_text
from graphopt.core.project_file import find_project_file, is_foreign

RECORDS_FILE = "graphopt-support.toml"
_HEAD = """\
# What compiles here and what does not: written by 'graphopt support --record', and yours to edit.
# Of several records of one thing the last one counts.
"""
_VERDICTS = (Verdict.FINE, Verdict.UNSUPPORTED)
_REGISTRY = ("registered", "not_registered", "opset", "release")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One thing found out.

    Attributes:
        operator: as ``Finding``s name it, with ``DOMAIN::`` unless that is the default one.
        opset: of its domain.
        soc: normalised chip.
        cann: release as typed.
        verdict: ``FINE`` or ``UNSUPPORTED``.
        limit: code of the finding that it is about; empty for the operator as such.
        note: why, when, by whom.
    """

    operator: str
    opset: int
    soc: str
    cann: str
    verdict: Verdict
    limit: str = ""
    note: str = ""

    @property
    def key(self) -> tuple[str, int, str, str, str]:
        """What it is about."""
        return self.operator, self.opset, self.soc, self.cann, self.limit


@dataclass(frozen=True)
class Records:
    """The records that hold here.

    Attributes:
        items: in the order of the file.
        path: of the file; None when there is none.
    """

    items: tuple[Record, ...] = ()
    path: Path | None = None

    def find(self, operator: str, opset: int, aim: Aim, limit: str = "") -> Record | None:
        """Return the last record of a thing for just this chip and release."""
        if aim.release is None:
            return None
        key = (operator, opset, aim.soc, str(aim.release), limit)
        return next((item for item in reversed(self.items) if item.key == key), None)

    def judged(self, operator: str, opset: int, aim: Aim, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Return findings as the records see them: what compiled here is no longer unsupported."""
        return tuple(self._judge(operator, opset, aim, item) for item in findings)

    def _judge(self, operator: str, opset: int, aim: Aim, finding: Finding) -> Finding:
        registry = finding.code in _REGISTRY
        record = self.find(operator, opset, aim, "" if registry else finding.code)
        if record is None:
            return finding
        note = f" ({record.note})" if record.note else ""
        if record.verdict is Verdict.FINE:
            verdict = Verdict.FINE if registry else Verdict.RESTRICTED
            if finding.verdict.severity <= verdict.severity:
                return finding
            why = f"recorded here: compiles{note}; sources: {finding.why}"
            return replace(finding, verdict=verdict, why=why, source=f"HERE {finding.source}", recorded=True)
        why = f"recorded here: does not compile{note}"
        return replace(finding, verdict=record.verdict, why=why, source="HERE", recorded=True)


def find_records(folder: Path) -> Records:
    """Read the nearest ``graphopt-support.toml`` of ``folder`` and those above it; none is none.

    A file of another user's in a folder that anybody may write to is left alone.

    Raises:
        UsageError: it cannot be understood.
    """
    here = folder.resolve()
    path = next((place for up in (here, *here.parents) if (place := up / RECORDS_FILE).is_file()), None)
    if path is None or is_foreign(path, folder):
        return Records()
    return read_records(path)


def read_records(path: Path) -> Records:
    """Read a file of records.

    Raises:
        UsageError: it is no TOML, or says something unknown.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    entries = content.pop("record", [])
    if content or not isinstance(entries, list):
        raise UsageError(f"{path}: it holds [[record]] tables and nothing else")
    return Records(tuple(_record(path, number, entry) for number, entry in enumerate(entries, 1)), path)


def place_for_records(folder: Path) -> Path:
    """Return where new records go: the file that holds, beside ``graphopt.toml``, or in ``folder``."""
    found = find_records(folder).path
    if found is not None:
        return found
    project = find_project_file(folder)
    beside = project is not None and not is_foreign(project, folder)
    return (project.parent if project is not None and beside else folder.resolve()) / RECORDS_FILE


def add_records(path: Path, new: Iterable[Record]) -> tuple[Record, ...]:
    """Append records to a file, atomically; what it says already is left out.

    Returns:
        Those that were added.

    Raises:
        UsageError: the file cannot be understood.
        OutputError: it cannot be written.
    """
    known = read_records(path).items if path.is_file() else ()
    last = {item.key: item for item in known}
    added = []
    for item in new:
        if last.get(item.key) is None or last[item.key].verdict is not item.verdict:
            last[item.key] = item
            added.append(item)
    if added:
        text = path.read_text(encoding="utf-8") if path.is_file() else _HEAD
        if text and not text.endswith("\n"):
            text += "\n"
        write_text(path, text + "".join(_toml(item) for item in added), force=True)
    return tuple(added)


def _toml(item: Record) -> str:
    lines = [
        "\n[[record]]",
        f"operator = {json.dumps(item.operator, ensure_ascii=False)}",
        f"opset = {item.opset}",
        f"soc = {json.dumps(item.soc)}",
        f"cann = {json.dumps(item.cann)}",
        f"verdict = {json.dumps(item.verdict.value)}",
    ]
    lines += [f"limit = {json.dumps(item.limit)}"] if item.limit else []
    lines += [f"note = {json.dumps(item.note, ensure_ascii=False)}"] if item.note else []
    return "\n".join(lines) + "\n"


def _record(path: Path, number: int, entry: object) -> Record:
    where = f"{path}: record {number}"
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is no table")
    kinds = {
        "operator": str,
        "opset": int,
        "soc": str,
        "cann": str,
        "verdict": str,
        "limit": str,
        "note": str,
    }
    for name, value in entry.items():
        if name not in kinds:
            raise UsageError(f"{where}: unknown key {name!r}; it has {', '.join(kinds)}")
        if not isinstance(value, kinds[name]) or isinstance(value, bool):
            raise UsageError(f"{where}: {name} is {value!r}, not {kinds[name].__name__}")
    missing = [name for name in ("operator", "opset", "soc", "cann", "verdict") if name not in entry]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)}")
    words = {item.value: item for item in _VERDICTS}
    if entry["verdict"] not in words:
        raise UsageError(f"{where}: verdict is {' or '.join(words)}, not {entry['verdict']!r}")
    release: Release = parse_release(entry["cann"])
    return Record(**{**entry, "cann": str(release), "verdict": words[entry["verdict"]]})
