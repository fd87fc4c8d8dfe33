"""Verdicts for people: per operator, and grouped by reason, not one line per node."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.compile.support.check import NodeSupport, Support
from graphopt.compile.support.verdicts import SOURCES, Finding, Verdict
from graphopt.recipes.mending import CHOICES, WRITTEN_WITHOUT
from graphopt.recipes.mending_trial import Mending
from graphopt.recipes.support import Checked, options_text

_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Group:
    """Nodes that suffer from the same.

    Attributes:
        operators: as ATC looks them up, with their number of nodes; empty for the model as a whole.
        finding: of the first of them.
        nodes: their names.
        mended: pass -> how many of them it mends.
        hint: why none does, or which pass would at the price of other numbers; empty when unknown.
    """

    operators: dict[str, int]
    finding: Finding
    nodes: tuple[str, ...]
    mended: dict[str, int]
    hint: str

    @property
    def operator_text(self) -> str:
        """Their operators: ``Conv``, or ``Add 3, Mul 2``."""
        if len(self.operators) < 2:
            return next(iter(self.operators), "(model)")
        return ", ".join(f"{operator} {count}" for operator, count in self.operators.items())

    @property
    def examples(self) -> str:
        """The first names."""
        more = ", ..." if len(self.nodes) > _EXAMPLES else ""
        return ", ".join(self.nodes[:_EXAMPLES]) + more

    @property
    def remedy(self) -> str:
        """What mends them: ``static_shapes (3 of 5)``; a dash when nothing does."""
        count = len(self.nodes) or 1
        parts = [
            name if number == count else f"{name} ({number} of {count})"
            for name, number in self.mended.items()
        ]
        return ", ".join(parts) or self.hint or "-"


def groups_of(support: Support, mending: Mending | None) -> tuple[Group, ...]:
    """Return what is not fine, the worst and most frequent first."""
    whole = [_group([(None, item)], mending) for item in support.model]
    found: dict[tuple[Verdict, str, str], list[tuple[NodeSupport | None, Finding]]] = {}
    for node in support.nodes:
        for fault in node.faults:
            found.setdefault((fault.verdict, fault.code, fault.why), []).append((node, fault))
    groups = [_group(places, mending) for places in found.values()]
    groups.sort(key=lambda group: -len(group.nodes))
    return tuple(sorted([*whole, *groups], key=lambda group: -group.finding.verdict.severity))


def by_operator(support: Support) -> Iterator[tuple[str, Counter[Verdict], str]]:
    """Yield each operator, its nodes by verdict, and the worst reason; the worst operator first."""
    counts: dict[str, Counter[Verdict]] = {}
    reasons: dict[str, Finding] = {}
    for node in support.nodes:
        counts.setdefault(node.operator, Counter())[node.verdict] += 1
        for fault in node.faults[:1]:
            known = reasons.get(node.operator)
            if known is None or fault.verdict.severity > known.verdict.severity:
                reasons[node.operator] = fault

    def rank(operator: str) -> tuple[int, int, str]:
        worst = reasons[operator].verdict.severity if operator in reasons else 0
        return -worst, -counts[operator].total(), operator

    for operator in sorted(counts, key=rank):
        yield operator, counts[operator], reasons[operator].why if operator in reasons else ""


def to_json(checked: Checked, mending: Mending | None) -> dict[str, Any]:
    """Return everything as plain data: per node, per finding, with its sources spelled out."""
    support = checked.support
    nodes = [node_json(node, mending) for node in support.nodes]
    model = [item.to_json() | _mends(mending, "", item.code) for item in support.model]
    return {
        "model": checked.path,
        "soc": support.aim.soc,
        "cann": str(support.aim.release) if support.aim.release else None,
        "verdict": support.verdict.value,
        "counts": support.counts,
        "whole": model,
        "int64": support.int64,
        "mending": [step.name for step in mending.steps] if mending else None,
        "counts_mended": mending.after.counts if mending else None,
        "stripped_weights": checked.stripped,
        "records": checked.records.path,
        "nodes": nodes,
        "sources": {key: SOURCES[key] for key in SOURCES},
    }


def node_json(node: NodeSupport, mending: Mending | None) -> dict[str, Any]:
    """Return one node as plain data, with the pass that mends each finding."""
    entry = node.to_json()
    for finding in entry["findings"]:
        finding |= _mends(mending, node.name, finding["code"])
    return entry


def next_step(checked: Checked, mending: Mending | None) -> tuple[str, str]:
    """Return what to type next, and what to know of it; the latter may be empty."""
    support = checked.support
    aim = options_text(support.aim)
    this = f"graphopt support {checked.path} {aim}"
    if mending is None and (support.model or any(node.faults for node in support.nodes)):
        return this, "without --no-trial, the passes that mend are named"
    if mending is not None and mending.steps:
        remark = f"the passes that mend leave {_left(mending.after)}{_avoidable(mending)}"
        if checked.stripped:
            remark += "; --fix proves its numbers, and so needs the file with its weights"
        return f"{this} --fix", remark
    if support.verdict is Verdict.UNSUPPORTED:
        return f"{this} --node NODE", "if it compiles all the same, --record ok keeps that"
    return compile_command(checked.path, support), ""


def compile_command(path: Path, support: Support) -> str:
    """Return how to compile a model; an open batch is fixed there."""
    batch = " --batch 1" if any(item.code == "dynamic_input" for item in support.model) else ""
    return f"graphopt compile {path} --target atc {options_text(support.aim)}{batch}"


def _avoidable(mending: Mending) -> str:
    """Name the options under which passes write operators that break fewer limits."""
    before = {item.code for node in mending.before.nodes for item in node.faults}
    options: dict[str, list[str]] = {}
    nodes: dict[str, set[str]] = {}
    for code, (name, option) in WRITTEN_WITHOUT.items():
        places = {n.name for n in mending.after.nodes for item in n.faults if item.code == code}
        if places and code not in before:
            options.setdefault(name, []).append(option)
            nodes.setdefault(name, set()).update(places)
    return "".join(
        f", {len(nodes[name])} of them what {name} writes: {':'.join([name, *said])} breaks fewer limits, "
        "and changes numbers"
        for name, said in options.items()
    )


def _left(support: Support) -> str:
    shown = [f"{count} {name}" for name, count in support.counts.items() if count and name != "fine"]
    return ", ".join(shown) or "nothing"


def _group(places: list[tuple[NodeSupport | None, Finding]], mending: Mending | None) -> Group:
    nodes = [node for node, _ in places if node is not None]
    names = tuple(node.name for node in nodes)
    code = places[0][1].code
    keys = [(name, code) for name in names or ("",)]
    mended = (
        Counter(mending.mended[key] for key in keys if key in mending.mended) if mending else Counter[str]()
    )
    return Group(
        operators=dict(Counter(node.operator for node in nodes).most_common()),
        finding=places[0][1],
        nodes=names,
        mended=dict(mended.most_common()),
        hint=next((hint for key in keys if (hint := _hint(mending, key))), ""),
    )


def _hint(mending: Mending | None, key: tuple[str, str]) -> str:
    if mending is None or key in mending.mended:
        return ""
    if key in mending.declined:
        name, why = mending.declined[key]
        return f"not {name}: {why}"
    if key in mending.approximate:
        return f"{', '.join(mending.approximate[key])}, which changes numbers"
    return CHOICES.get(key[1], "")


def _mends(mending: Mending | None, node: str, code: str) -> dict[str, Any]:
    if mending is None:
        return {}
    key = (node, code)
    name, why = mending.declined.get(key, ("", ""))
    return {
        "mended_by": mending.mended.get(key),
        "declined_by": {"pass": name, "reason": why} if name else None,
        "approximate": list(mending.approximate.get(key, ())),
    }
