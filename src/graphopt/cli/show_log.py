"""What a compiler's log says, as lines for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.cli.render import print_line
from graphopt.core.words import counted

if TYPE_CHECKING:
    from graphopt.compile.atc.log_report import LogReport
    from graphopt.recipes.log_advice import Advice, Mend

_NODES = 6
_PLACES = 2
_OUTCOMES = {"failed": "ATC failed", "success": "ATC succeeded"}


def show_log(
    name: str, report: "LogReport", advice: "Sequence[Advice]", command: str, model: Path | None
) -> None:
    """Print the causes, what follows from them, and what to type.

    Args:
        name: of the log.
        report: of the log.
        advice: per finding.
        command: that applies all passes; empty for none.
        model: what was compiled, where it is known.
    """
    kinds: dict[str, list[Advice]] = {"cause": [], "consequence": [], "warning": []}
    for item in advice:
        kinds[item.kind].append(item)
    if report.lines:
        said = _OUTCOMES.get(report.outcome, "no word of how it ended")
        counts = ", ".join(counted(len(found), kind) for kind, found in kinds.items() if found)
        print_line(f"{name}: {said}; {counts or 'no known error'} in {counted(report.lines, 'line')}\n")
    causes = kinds["cause"]
    for number, item in enumerate(causes, start=1):
        _show_finding(item, f"{number}. " if len(causes) > 1 else "", model)
    if kinds["consequence"]:
        print_line("what follows from it:")
        for item in kinds["consequence"]:
            print_line(f"  {item.finding.code} (line {item.finding.line}): {item.finding.text}")
        print_line("")
    for item in kinds["warning"]:
        _show_finding(item, "", model)
    if not report.errors and report.outcome != "success":
        _show_unexplained(report)
    if any(item.command not in ("", command) for item in causes):
        print_line(f"all together: {command}")
    if any(item.finding.explanation and item.finding.explanation.rewrites for item in causes):
        print_line(f"all nodes at once, before ATC runs: graphopt support {model or 'MODEL'}")


def _show_unexplained(report: "LogReport") -> None:
    if not report.unexplained:
        if report.outcome == "failed":
            print_line("nothing in it says why; look into $HOME/ascend/log/debug/plog")
        return
    print_line(
        "graphopt does not know what this means; lines that look like errors, the likeliest cause first:"
    )
    for where, text in report.unexplained:
        print_line(f"  line {where}: {text}")
    if (left := report.unexplained_count - len(report.unexplained)) > 0:
        print_line(f"  and {left} more")


def _show_finding(item: "Advice", number: str, model: Path | None) -> None:
    finding = item.finding
    times = f", {finding.count} times" if finding.count > 1 else ""
    where = f" (line {finding.line}{times})" if finding.line else ""
    meaning = finding.meaning or "graphopt does not know this code"
    if finding.meaning and not finding.is_familiar:
        meaning = f"not known by itself; codes of its kind say that {finding.meaning}"
    print_line(f"{number}{finding.code}: {meaning}{where}")
    if finding.text:
        print_line("\n             ".join([f"   ATC says: {finding.text}", *finding.details]))
    for what, names in _by_type(item).items():
        more = f" and {len(names) - _NODES} more" if len(names) > _NODES else ""
        print_line(f"   {what}{': ' if names else ''}{', '.join(names[:_NODES])}{more}")
    if model is not None:
        _show_places(item, model)
    if item.hint:
        print_line(f"   {item.hint}")
    if finding.remedy:
        print_line(f"   to do: {finding.remedy}")
    for mend in item.mends:
        if mend.sites is not None:
            print_line(f"   {mend.name}: {_matches(mend)}")
    if item.command:
        print_line(f"   try: {item.command}")
        others = [mend.name for mend in item.mends if mend.may_help and mend.name not in item.passes]
        if others:
            print_line(f"   or in its place: {', '.join(others)}")
    print_line("")


def _matches(mend: "Mend") -> str:
    if not mend.sites:
        return f"does not match ({mend.reason})"
    return f"matches at {counted(mend.sites, 'place')}{', here too' if mend.here else ''}"


def _by_type(item: "Advice") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for named in item.finding.nodes.values():
        names = found.setdefault(f"operator {named.op_type}" if named.op_type else "nodes", [])
        if named.node:
            names.append(named.node)
    return found


def _show_places(item: "Advice", model: Path) -> None:
    for place in item.places[:_PLACES]:
        if not place.node:
            print_line(f"   {place.named.node} is not in {model}: ATC made it, or compiled another file")
            continue
        other = f" (for ATC {place.named.node})" if place.node != place.named.node else ""
        print_line(f"   in {model}: {place.op_type} {place.node}{other}")
        for fact in place.facts:
            print_line(f"     {fact}")
