"""The passes of one rewrite, what their steps promise, and a model on its way through them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import onnx_ir as ir

from graphopt.core.detections import Detections
from graphopt.core.lineage import read_lineage
from graphopt.core.onnx_files import load_model
from graphopt.surgery.catalogue import make_pass
from graphopt.surgery.engine.detection_verdicts import add_detections, in_source
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.engine.structure import faults
from graphopt.surgery.graph_pass import Pass
from graphopt.surgery.report import PassReport
from graphopt.surgery.steps import PassStep


@dataclass(frozen=True)
class Planned:
    """One pass to run.

    Attributes:
        item: the pass.
        step: where it came from; None when it was given as an object, which promises nothing.
    """

    item: Pass
    step: PassStep | None = None

    def expected(self, model: ir.Model) -> int | None:
        """Return how many sites the step promises for graphs of this producer; None promises nothing."""
        producer = f"{model.producer_name or ''} {model.producer_version or ''}".strip()
        return self.step.expected_count(producer) if self.step else None

    def broken_promise(self, report: PassReport, model: ir.Model) -> str:
        """Return how the number of sites differs from what the step promises; empty when it does not.

        Args:
            report: of this pass.
            model: after it; the producer and the lineage are those of the source.
        """
        expected = self.expected(model)
        if expected is None or len(report.applied) == expected:
            return ""
        declined = "; ".join(f"{item.node} ({item.op_type}): {item.why}" for item in report.declined)
        again = any(step.name == self.item.name for step in read_lineage(model))
        return (
            f"{self.item.name}: {expected} expected, {len(report.applied)} matched; declined: "
            f"{declined or 'none'}{'; the model has been through this pass before' if again else ''}"
        )


def make_plan(steps: Iterable[PassStep | Pass]) -> tuple[Planned, ...]:
    """Build the passes of some steps.

    Raises:
        UsageError: an unknown pass or option.
    """
    return tuple(
        Planned(make_pass(step), step) if isinstance(step, PassStep) else Planned(step) for step in steps
    )


@dataclass
class State:
    """A model between two passes.

    Attributes:
        model: as the passes so far left it.
        names: output of the model -> tensor of the source that it stands for.
        faults: structural faults of the source, which no pass is blamed for.
        reports: of the passes so far.
        detections: outputs that passes said to be detections, by tensor of the source.
    """

    model: ir.Model
    names: dict[str, str]
    faults: frozenset[str] = frozenset()
    reports: list[PassReport] = field(default_factory=list)
    detections: tuple[Detections, ...] = ()

    @classmethod
    def of(cls, source: Path, plan: Sequence[Planned] = ()) -> Self:
        """Load a source and run some passes."""
        model = load_model(source)
        names = {value.name or "": value.name or "" for value in model.graph.outputs}
        state = cls(model, names, frozenset(faults(model)))
        for planned in plan:
            state.run(planned)
        return state

    def run(self, planned: Planned) -> PassReport:
        """Run one more pass; that it matched nothing is no surprise where just that was promised.

        Raises:
            VerificationError: the pass broke the graph or did not do what it reports.
            PreconditionError: the model does not meet what the pass needs.
        """
        item = planned.item
        names = item.output_names(self.model)
        found = item.detections(self.model)
        self.model, report = run_pass(self.model, item, known_faults=self.faults)
        if found is not None and report.modified:
            self.detections = add_detections(self.detections, in_source(found, self.names))
        if names is not None:
            self.names = {now: self.names.get(then, then) for now, then in names.items()}
        if not report.applied and planned.expected(self.model) == 0:
            report = replace(report, warning="")
        self.reports.append(report)
        return report
