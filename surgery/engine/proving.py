"""Run a plan, check and prove its result, and find the pass to blame when that fails."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import onnx_ir as ir

import graphopt
from graphopt.core.child import Child
from graphopt.core.detections import Detections
from graphopt.core.errors import ExpectedMatchError, VerificationError
from graphopt.core.lineage import LineageStep, stamp_model
from graphopt.core.onnx_files import StagedModel, check_model_file, load_model, write_model
from graphopt.surgery.engine.model_runs import one_line
from graphopt.surgery.engine.plan import Planned, State
from graphopt.surgery.engine.trials import Candidate
from graphopt.surgery.engine.verdicts import Verdict, combined_tolerance
from graphopt.surgery.engine.verification import Verifier
from graphopt.surgery.report import Status, Verification, Verify


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How far a plan came.

    Attributes:
        state: the model and the reports.
        verification: the verdict.
        guilty: index of the pass to blame; None when there is none.
    """

    state: State
    verification: Verification
    guilty: int | None = None


@dataclass(frozen=True)
class _Snapshot:
    """A model after some passes.

    Attributes:
        model: a copy that shares the weights.
        names: of its outputs, as in ``State``.
        count: how many passes it went through.
        detections: as in ``State``.
    """

    model: ir.Model
    names: Mapping[str, str]
    count: int
    detections: tuple[Detections, ...]

    @classmethod
    def of(cls, state: State) -> Self:
        """Remember a state."""
        return cls(state.model.clone(), dict(state.names), len(state.reports), state.detections)

    def back(self, state: State) -> State:
        """Return the state as it was then."""
        reports = state.reports[: self.count]
        return State(self.model, dict(self.names), state.faults, reports, self.detections)


@dataclass(frozen=True, kw_only=True)
class Prover:
    """Runs plans on one source.

    Attributes:
        source: the model file.
        source_sha256: its hash.
        mode: when to compare.
        verifier: compares.
        checker: a process of ``onnx_files.checker``.
        scratch: an existing folder for temporary files.
        recipe: to record in the model.
        progress: called with one line before each piece of work.
    """

    source: Path
    source_sha256: str
    mode: Verify
    verifier: Verifier
    checker: Child
    scratch: Path
    recipe: str
    progress: Callable[[str], None]

    def run(
        self, state: State, plan: Sequence[Planned], target: StagedModel, *, keep_proven: bool
    ) -> tuple[Attempt, tuple[str, ...]]:
        """Write the result of a plan to ``target``.

        Args:
            state: the source, just loaded; used up.
            plan: passes in order.
            target: overwritten; worth something only when the attempt is.
            keep_proven: leave out guilty passes until the rest stands.

        Returns:
            The last attempt and the names of the passes left out.

        Raises:
            ExpectedMatchError: a pass did not match as often as promised.
            PreconditionError: the model does not meet what a pass needs.
        """
        dropped: list[str] = []
        while True:
            attempt = self._attempt(state, plan, target)
            if attempt.guilty is None or not keep_proven:
                return attempt, tuple(dropped)
            dropped.append(plan[attempt.guilty].item.name)
            self.progress(f"leaving out {dropped[-1]}")
            plan = [*plan[: attempt.guilty], *plan[attempt.guilty + 1 :]]
            state = State.of(self.source)

    def _attempt(self, state: State, plan: Sequence[Planned], target: StagedModel) -> Attempt:
        taken: list[_Snapshot] = []
        for index, planned in enumerate(plan):
            self.progress(planned.item.name)
            try:
                report = state.run(planned)
            except VerificationError as error:
                return self._blame_first(state, plan, index, str(error))
            if promise := planned.broken_promise(report, state.model):
                raise ExpectedMatchError(f"{promise}; look at the sites with --dry-run")
            if report.modified and self.mode is Verify.EACH:
                taken.append(_Snapshot.of(state))
        return self._finish(state, plan, taken, target)

    def _finish(
        self, state: State, plan: Sequence[Planned], taken: "list[_Snapshot]", target: StagedModel
    ) -> Attempt:
        self._stamp(state)
        self.progress("writing and checking")
        target.write(state.model)
        note = ""
        if complaint := check_model_file(target.path, waiting=self.checker):
            complaint = one_line(complaint)
            guilty = self._first_refused(plan)
            if guilty is not None:
                return self._blame_first(
                    state, plan, guilty, f"the ONNX checker refuses the result: {complaint}"
                )
            note = f"the ONNX checker refuses the source too: {complaint}"
        if self.mode is Verify.OFF:
            return Attempt(
                state=state, verification=Verification(mode=self.mode, status=Status.OFF, reason=note)
            )
        changed = [index for index, report in enumerate(state.reports) if report.modified]
        final = self._candidate(load_model(target.path), state.names, plan, state.detections)
        earlier = taken[:-1]  # the last one is what was written
        *verdicts, verdict = self._judge([*(self._prefix(item, plan) for item in earlier), final])
        if self.mode is Verify.EACH or len(changed) == 1:
            _note_errors(state, zip(changed, [*verdicts, verdict], strict=False))
        for item, found in zip(earlier, verdicts, strict=True):
            if found.status is Status.FAILED:
                return self._blame(item.back(state), plan, item.count - 1, found)
        if verdict.status is Status.FAILED and changed:
            if self.mode is Verify.EACH:
                return self._blame(state, plan, changed[-1], verdict)
            index, first = self._first_wrong(plan)
            return self._blame(state, plan, index, verdict if first is None else first)
        return Attempt(state=state, verification=self._verification(verdict.with_note(note)))

    def _stamp(self, state: State) -> None:
        steps = [
            LineageStep(
                name=report.name,
                options=report.options,
                version=graphopt.__version__,
                plugin=report.plugin,
            )
            for report in state.reports
        ]
        stamp_model(state.model, recipe=self.recipe, parent_sha256=self.source_sha256, steps=steps)

    def _blame(self, state: State, plan: Sequence[Planned], guilty: int | None, verdict: Verdict) -> Attempt:
        name = "" if guilty is None else plan[guilty].item.name
        return Attempt(state=state, verification=self._verification(verdict, guilty=name), guilty=guilty)

    def _blame_first(self, state: State, plan: Sequence[Planned], index: int, reason: str) -> Attempt:
        """Blame a pass for what was seen after it, or an earlier one that had made the numbers wrong."""
        verdict = Verdict(status=Status.FAILED, reason=reason)
        if self.mode is not Verify.OFF:
            earlier, found = self._first_wrong(plan[:index])
            if earlier is not None and found is not None:
                return self._blame(state, plan, earlier, found)
        return self._blame(state, plan, index, verdict)

    def _first_wrong(self, plan: Sequence[Planned]) -> tuple[int | None, Verdict | None]:
        """Return the pass that first makes the numbers wrong, and how; None when none does."""
        self.progress(f"looking for the guilty pass among {len(plan)}")
        state = State.of(self.source)
        taken = [_Snapshot.of(state) for planned in plan if state.run(planned).modified]
        verdicts = self._judge([self._prefix(item, plan) for item in taken])
        for item, verdict in zip(taken, verdicts, strict=True):
            if verdict.status is Status.FAILED:
                return item.count - 1, verdict
        return None, None

    def _first_refused(self, plan: Sequence[Planned]) -> int | None:
        """Return the pass that first makes the checker complain; None when the source does."""

        def refused(count: int) -> bool:
            path = self.scratch / "prefix.onnx"
            write_model(State.of(self.source, plan[:count]).model, path)
            return check_model_file(path) is not None

        return None if check_model_file(self.source) is not None else _first(len(plan), refused)

    def _judge(self, candidates: Sequence[Candidate]) -> tuple[Verdict, ...]:
        if candidates:
            self.progress("comparing with the source")
        return self.verifier.judge(candidates)

    def _prefix(self, item: "_Snapshot", plan: Sequence[Planned]) -> Candidate:
        return self._candidate(item.model, item.names, plan[: item.count], item.detections)

    def _candidate(
        self,
        model: ir.Model,
        names: Mapping[str, str],
        plan: Sequence[Planned],
        detections: tuple[Detections, ...],
    ) -> Candidate:
        tolerance = combined_tolerance([planned.item for planned in plan])
        casts = any(planned.item.casts_outputs for planned in plan)
        return Candidate(
            model=model, names=names, tolerance=tolerance, casts_outputs=casts, detections=detections
        )

    def _verification(self, verdict: Verdict, *, guilty: str = "") -> Verification:
        return Verification(
            mode=self.mode,
            status=verdict.status,
            reason=verdict.reason,
            samples=verdict.samples,
            kind=verdict.kind,
            tolerance=verdict.tolerance,
            comparisons=verdict.comparisons,
            detections=verdict.detections,
            guilty=guilty,
            seconds=self.verifier.seconds,
        )


def _first(count: int, bad: Callable[[int], bool]) -> int:
    """Return the index of a pass before which all is well and after which it is not.

    All is well with none of the ``count`` passes and not with all of them.
    """
    good, wrong = 0, count
    while wrong - good > 1:
        middle = (good + wrong) // 2
        good, wrong = (good, middle) if bad(middle) else (middle, wrong)
    return wrong - 1


def _note_errors(state: State, found: Iterable[tuple[int, Verdict]]) -> None:
    for index, verdict in found:
        errors = [item.max_abs for item in verdict.comparisons if item.max_abs is not None]
        state.reports[index] = dataclasses.replace(state.reports[index], max_abs=max(errors, default=None))
