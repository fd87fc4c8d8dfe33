"""Verdicts of ``graphopt support`` on the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.cli.render import print_line, print_table
from graphopt.core.words import counted

if TYPE_CHECKING:
    from graphopt.compile.support.check import NodeSupport, Support
    from graphopt.compile.support.verdicts import Verdict
    from graphopt.recipes.mending_trial import Mending
    from graphopt.recipes.support import Checked

_NO_PROMISE = "Nothing here ran on a device: the sources are public code and documents of two dates."


def show_support(
    checked: "Checked", mending: "Mending | None", *, every_node: bool, following: tuple[str, str]
) -> None:
    """Print the verdicts per operator, what needs attention by reason, and what to type next."""
    from graphopt.recipes.support_summary import by_operator, groups_of

    support = checked.support
    print_line(f"{checked.path} for {target_text(support)}: {counts_text(support)}")
    if checked.stripped:
        weights = counted(checked.stripped, "weight")
        print_line(f"note: {weights} are not in the file; what depends on their numbers is not looked at")
    if checked.records.path is not None:
        print_line(f"note: records of {checked.records.path} were heeded")
    if support.aim.release is None:
        print_line("note: no --cann, so fine means registered in mid-2022 and in August 2026 alike")
    print_line("")
    rows, fine = [], []
    for operator, counts, why in by_operator(support):
        if why or every_node:
            rows.append([operator, counts.total(), *(counts[verdict] or None for verdict in _order()), why])
        else:
            fine.append(f"{operator} {counts.total()}")
    if rows:
        heads = ["operator", ">nodes", *(f">{verdict.value}" for verdict in _order()), "worst reason"]
        print_table("operators", heads, rows)
    if fine:
        print_line(f"fine: {', '.join(fine)}\n")
    groups = groups_of(support, mending)
    if groups:
        table = [
            [
                group.finding.verdict.value,
                group.operator_text,
                len(group.nodes) or None,
                group.finding.why,
                group.examples,
                group.remedy if mending else None,
                group.finding.source,
            ]
            for group in groups
        ]
        heads = ["verdict", "operator", ">nodes", "reason", "where", "mended by", "source"]
        print_table("needs attention", heads, table)
    if every_node:
        nodes = [
            [item.name, item.operator, item.verdict.value, (item.faults or item.findings)[0].why]
            for item in support.nodes
        ]
        print_table("nodes", ["node", "operator", "verdict", "reason"], nodes)
    _show_sources(support)
    step, remark = following
    if remark:
        print_line(remark)
    print_line(f"next: {step}")


def show_node(node: "NodeSupport", entry: dict[str, object]) -> None:
    """Print all that is known of one node."""
    from graphopt.compile.support.verdicts import SOURCES

    print_line(f"{node.name}: {node.operator} at opset {node.opset}: {node.verdict.value}")
    if entry["ascend_operator"] and entry["ascend_operator"] != node.operator:
        print_line(f"Ascend's own operator for it: {entry['ascend_operator']}")
    print_line("")
    rows = [[item.verdict.value, item.code, item.why, item.source] for item in node.findings]
    print_table("", ["verdict", "code", "reason", "source"], rows)
    keys = dict.fromkeys(key for item in node.findings for key in item.source.split())
    print_table("sources", ["key", "what"], [[key, SOURCES[key]] for key in keys])


def show_fixed(
    before: "Support", after: "Support", steps: str, output: Path, verification: str, *, next_step: str
) -> None:
    """Print what passes mended."""
    rows = [
        [verdict, count, after.counts[verdict], after.counts[verdict] - count]
        for verdict, count in before.counts.items()
    ]
    whole = len(before.model), len(after.model)
    rows.append(["said of the whole model", *whole, whole[1] - whole[0]])
    print_table("", ["nodes", ">before", ">after", ">change"], rows)
    print_line(f"passes: {steps}")
    print_line(f"verification: {verification}")
    print_line(f"{output} is written")
    print_line(f"next: {next_step}")


def target_text(support: "Support") -> str:
    """Write chip and release."""
    release = f"CANN {support.aim.release}" if support.aim.release else "CANN of mid-2022 to August 2026"
    return f"{support.aim.soc}, {release}"


def counts_text(support: "Support") -> str:
    """Write ``180 fine, 2 restricted``; verdicts of which there are none are left out."""
    shown = [f"{count} {name}" for name, count in support.counts.items() if count]
    whole = [item.verdict.value for item in support.model]
    parts = [f"{whole.count(name)} {name}" for name in dict.fromkeys(whole)]
    model = f"; the model as a whole: {', '.join(parts)}" if parts else ""
    return (", ".join(shown) or "no nodes") + model


def _order() -> "list[Verdict]":
    from graphopt.compile.support.verdicts import Verdict

    return list(Verdict)


def _show_sources(support: "Support") -> None:
    from graphopt.compile.support.verdicts import SOURCES

    if support.sources:
        print_table("sources", ["key", "what"], [[key, SOURCES[key]] for key in support.sources])
    print_line(_NO_PROMISE)
