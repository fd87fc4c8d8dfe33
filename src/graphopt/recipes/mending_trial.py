"""Which passes really mend what ATC refuses: each is tried on a copy in memory, and judged by the tables.

A pass is kept when the model is better for it, so that the next one starts from there; the result
says for each finding which pass made it go.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir

from graphopt.compile.support.check import Support
from graphopt.compile.support.verdicts import Finding, Verdict
from graphopt.core.errors import GraphoptError
from graphopt.core.lineage import node_label
from graphopt.recipes.mending import OPTIONS, ORDER, mends_limit
from graphopt.recipes.support import Checked, check_loaded
from graphopt.surgery import Effect, GraphPass, PassStep, Site, make_pass
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.graph_pass import Pass

_ROUNDS = 3
Fault: TypeAlias = tuple[str, str]
"""Node (empty for the model) and code of a finding."""


@dataclass(frozen=True, kw_only=True)
class Mending:
    """What passes make of a model.

    Attributes:
        steps: that mend, in order, each once and again where a later one opened new sites.
        before: verdicts of the model as it is.
        after: verdicts of the mended model; of the model as it is, when nothing mends.
        mended: finding -> pass that made it go, with the options that it needs, as typed.
        declined: finding -> (pass, why it leaves the node alone), where nothing mends.
        approximate: finding -> passes that would mend it and change numbers; they are not tried.
    """

    steps: tuple[PassStep, ...]
    before: Support
    after: Support
    mended: dict[Fault, str] = field(default_factory=dict)
    declined: dict[Fault, tuple[str, str]] = field(default_factory=dict)
    approximate: dict[Fault, tuple[str, ...]] = field(default_factory=dict)


def try_mending(checked: Checked, *, on_progress: Callable[[str], None] | None = None) -> Mending:
    """Find the passes that mend a model; nothing is written and no number compared.

    Args:
        checked: stays as it is.
        on_progress: told which pass is tried.
    """
    trial = _Trial(model=checked.model, support=checked.support, checked=checked)
    for _ in range(_ROUNDS):
        before = len(trial.steps)
        for name in ORDER:
            for step in trial.steps_for(name):
                if on_progress is not None:
                    on_progress(f"trying {name}")
                trial.run(step)
        if len(trial.steps) == before:
            break
    left, first = trial.faults, _faults(checked.support)
    return Mending(
        steps=tuple(trial.steps),
        before=checked.support,
        after=trial.support,
        mended={key: name for key, name in trial.mended.items() if key in first},
        declined=dict(_declined(trial, left)),
        approximate={key: names for key, (op, _) in left.items() if (names := _approximate(key[1], op))},
    )


@dataclass
class _Trial:
    """A model on its way through passes that mend it."""

    model: ir.Model
    support: Support
    checked: Checked
    steps: list[PassStep] = field(default_factory=list)
    mended: dict[Fault, str] = field(default_factory=dict)
    faults: dict[Fault, tuple[str, Finding]] = field(init=False)
    tried: set[str] = field(default_factory=set)
    """Passes that are of no use to the model as it is now."""

    def __post_init__(self) -> None:
        self.faults = _faults(self.support)

    def steps_for(self, name: str) -> list[PassStep]:
        """Return the step of a pass, when it might mend something that is left."""
        if name in self.tried:
            return []
        self.tried.add(name)
        kinds = {(key[1], op) for key, (op, _) in self.faults.items()}
        codes = sorted(code for code, op in kinds if name in mends_limit(code, op))
        if not codes or make_pass(PassStep(name)).effect is Effect.APPROXIMATE:
            return []
        options = {key: value for code in codes for key, value in OPTIONS.get((code, name), {}).items()}
        return [PassStep(name, options)]

    def run(self, step: PassStep) -> None:
        """Try one pass; keep its result when the model is better for it."""
        candidate = _copy(self.model)
        try:
            candidate, report = run_pass(candidate, make_pass(step))
            if not report.applied:
                return
            support = check_loaded(
                candidate,
                self.support.aim,
                size_bytes=self.checked.path.stat().st_size,
                records=self.checked.records,
            )
        except GraphoptError:
            return  # it does not work on this model, and so does not mend it
        if _badness(support) >= _badness(self.support):
            return
        before, self.faults = self.faults, _faults(support)
        self.mended |= dict.fromkeys(before.keys() - self.faults.keys(), str(step))
        self.model, self.support = candidate, support
        self.steps.append(step)
        self.tried = {step.name}


def _faults(support: Support) -> dict[Fault, tuple[str, Finding]]:
    found = {("", item.code): ("", item) for item in support.model}
    for node in support.nodes:
        for item in node.faults:
            found[node.name, item.code] = (node.node.op_type, item)
    return found


def _badness(support: Support) -> tuple[int, ...]:
    kinds = [item.verdict for item in (*support.model, *(f for node in support.nodes for f in node.faults))]
    return tuple(kinds.count(verdict) for verdict in reversed(Verdict) if verdict is not Verdict.FINE)


def _copy(model: ir.Model) -> ir.Model:
    copy = model.clone()
    copy.meta.clear()  # what is remembered there is about the values of the other one
    return copy


def _approximate(code: str, op: str) -> tuple[str, ...]:
    names = mends_limit(code, op)
    return tuple(name for name in names if make_pass(PassStep(name)).effect is Effect.APPROXIMATE)


def _declined(
    trial: _Trial, left: dict[Fault, tuple[str, Finding]]
) -> Iterator[tuple[Fault, tuple[str, str]]]:
    reasons: dict[str, dict[str, str]] = {}
    for key, (op, _) in left.items():
        for name in mends_limit(key[1], op):
            if name not in reasons:
                reasons[name] = _reasons(trial.model, make_pass(PassStep(name)))
            if key[0] in reasons[name]:
                yield key, (name, reasons[name][key[0]])
                break


def _reasons(model: ir.Model, item: Pass) -> dict[str, str]:
    if not isinstance(item, GraphPass):
        return {}
    try:
        return {
            node_label(place.node): place.why for place in item.sites(model) if not isinstance(place, Site)
        }
    except GraphoptError:
        return {}
