"""A rewrite's report as tables or JSON."""

from typing import TYPE_CHECKING

from graphopt.cli.render import print_json, print_line, print_table, size_text
from graphopt.core.words import counted

if TYPE_CHECKING:
    from graphopt.surgery import RewriteReport, Verification

_DECLINED_SHOWN = 10
_IDLE_SHOWN = 3
"""More passes than this that matched nothing are named in one line."""


def show_rewrite(report: "RewriteReport", *, as_json: bool, written: bool) -> None:
    """Print what each pass did, where it declined and why, and what the verification says."""
    if as_json:
        failed = report.verification.status.value == "failed"
        print_json("apply", {"ok": not failed and not report.dropped, **report.to_json()})
        return
    idle = [item for item in report.passes if not item.applied and not item.declined]
    idle = idle if len(idle) > _IDLE_SHOWN else []
    rows = [
        [
            item.name,
            len(item.applied),
            len(item.declined),
            f"{item.nodes_before} -> {item.nodes_after}",
            f"{item.seconds:.2f}",
            item.max_abs,
            item.warning,
        ]
        for item in report.passes
        if item not in idle
    ]
    heads = ["pass", ">sites", ">declined", ">nodes", ">seconds", ">max error", "note"]
    if rows:
        print_table("", heads, rows)
    if idle:
        print_line(f"matched nothing: {', '.join(item.name for item in idle)}\n")
    applied = [[item.name, change.node, change.what] for item in report.passes for change in item.applied]
    if applied and report.verification.reason == "dry run":
        print_table("would change", ["pass", "node", "what"], applied[:50])
    declined = [[item.name, place.node, place.why] for item in report.passes for place in item.declined]
    if declined:
        more = len(declined) - _DECLINED_SHOWN
        print_table("declined: looked at and left alone", ["pass", "node", "why"], declined[:_DECLINED_SHOWN])
        if more > 0:
            print_line(f"... and {more} more; --json lists all\n")
    verified = report.verification
    _show_comparisons(verified)
    for found in verified.detections:
        print_line(f"detections: {found.summary}")
    print_line(f"verification: {verified.status.value}{f' ({verified.reason})' if verified.reason else ''}")
    if report.dropped:
        print_line(f"left out, because it changed the numbers: {', '.join(report.dropped)}")
    change = f"{report.nodes_before} -> {report.nodes_after} nodes, {report.seconds:.2f} s"
    if written and report.output is not None:
        sizes = f"{size_text(report.bytes_before)} -> {size_text(report.bytes_after)}"
        print_line(f"{report.output}: {change}, {sizes}")
    else:
        print_line(f"nothing written: {change}")


def _show_comparisons(verified: "Verification") -> None:
    if not verified.comparisons:
        return
    from graphopt.core.comparison import OWN_INPUTS, SAME_NODES

    rows = [
        [item.name, item.outcome.value, item.max_abs, item.max_rel, item.cosine, item.margin, item.detail]
        for item in verified.comparisons
        if item.detail not in (SAME_NODES, OWN_INPUTS)
    ]
    if own := [item for item in verified.comparisons if item.detail == OWN_INPUTS]:
        worst = max(item.max_abs or 0.0 for item in own)
        rows.append([counted(len(own), "target call"), "match", worst, None, None, None, OWN_INPUTS])
    if same := sum(item.detail == SAME_NODES for item in verified.comparisons):
        rows.append([counted(same, "other tensor"), "match", 0.0, None, None, 0.0, SAME_NODES])
    heads = ["output", "verdict", ">max abs", ">max rel", ">cosine", ">error/allowed", "detail"]
    print_table(f"before and after, on {counted(verified.samples, 'input')} ({verified.kind})", heads, rows)
