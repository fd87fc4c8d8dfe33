"""Run a plan, check and prove its result, and find the pass to blame when that fails."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import graphopt
from graphopt.core.child import Child
from graphopt.core.errors import ExpectedMatchError, VerificationError
from graphopt.core.lineage import LineageStep, stamp_model
from graphopt.core.onnx_files import StagedModel, check_model_file, write_model
from graphopt.surgery.engine.plan import Planned, State
from graphopt.surgery.engine.verification import Candidate, Verdict, Verifier, combined_tolerance
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
        waiting: int | None = None  # the last pass that changed something and is not verified yet
        for index, planned in enumerate(plan):
            if waiting is not None and self.mode is Verify.EACH:
                verdict = self._judge_prefix(state, plan[:index])
                _note_error(state, waiting, verdict)
                if verdict.status is Status.FAILED:
                    return self._blame(state, plan, waiting, verdict)
                waiting = None
            self.progress(planned.item.name)
            try:
                report = state.run(planned)
            except VerificationError as error:
                return self._blame(state, plan, index, Verdict(status=Status.FAILED, reason=str(error)))
            if promise := planned.broken_promise(report, state.model):
                raise ExpectedMatchError(f"{promise}; look at the sites with --dry-run")
            waiting = index if report.modified else waiting
        return self._finish(state, plan, waiting, target)

    def _finish(
        self, state: State, plan: Sequence[Planned], waiting: int | None, target: StagedModel
    ) -> Attempt:
        self._stamp(state)
        self.progress("writing and checking")
        target.write(state.model)
        note = ""
        if complaint := check_model_file(target.path, waiting=self.checker):
            guilty = self._first_refused(plan)
            if guilty is not None:
                reason = f"the ONNX checker refuses the result: {complaint.rstrip('. ')}"
                return self._blame(state, plan, guilty, Verdict(status=Status.FAILED, reason=reason))
            note = f"the ONNX checker refuses the source too: {complaint.rstrip('. ')}"
        if self.mode is Verify.OFF:
            return Attempt(
                state=state, verification=Verification(mode=self.mode, status=Status.OFF, reason=note)
            )
        verdict = self._judge(state, plan, target.path)
        changed = [index for index, report in enumerate(state.reports) if report.modified]
        if changed and ((waiting is not None and self.mode is Verify.EACH) or len(changed) == 1):
            _note_error(state, changed[-1], verdict)
        if verdict.status is Status.FAILED and changed:
            guilty = changed[-1] if self.mode is Verify.EACH else self._first_wrong(plan)
            return self._blame(state, plan, guilty, verdict)
        verdict = dataclasses.replace(verdict, reason="; ".join(filter(None, (verdict.reason, note))))
        return Attempt(state=state, verification=self._verification(verdict))

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

    def _blame(self, state: State, plan: Sequence[Planned], guilty: int, verdict: Verdict) -> Attempt:
        verification = self._verification(verdict, guilty=plan[guilty].item.name)
        return Attempt(state=state, verification=verification, guilty=guilty)

    def _first_wrong(self, plan: Sequence[Planned]) -> int:
        """Return the pass that first makes the numbers wrong."""

        def wrong(count: int) -> bool:
            self.progress(f"looking for the guilty pass among {len(plan)}: comparing after {count}")
            prefix = plan[:count]
            verdict = self._judge_prefix(State.of(self.source, prefix), prefix)
            return verdict.status is Status.FAILED

        return _first(len(plan), wrong)

    def _first_refused(self, plan: Sequence[Planned]) -> int | None:
        """Return the pass that first makes the checker complain; None when the source does."""

        def refused(count: int) -> bool:
            path = self.scratch / "prefix.onnx"
            write_model(State.of(self.source, plan[:count]).model, path)
            return check_model_file(path) is not None

        return None if refused(0) else _first(len(plan), refused)

    def _judge_prefix(self, state: State, plan: Sequence[Planned]) -> Verdict:
        path = self.scratch / "prefix.onnx"
        write_model(state.model, path)
        return self._judge(state, plan, path)

    def _judge(self, state: State, plan: Sequence[Planned], path: Path) -> Verdict:
        self.progress("comparing with the source")
        tolerance = combined_tolerance([planned.item for planned in plan])
        candidate = Candidate(path=path, model=state.model, names=state.names, tolerance=tolerance)
        return self.verifier.judge(candidate)

    def _verification(self, verdict: Verdict, *, guilty: str = "") -> Verification:
        return Verification(
            mode=self.mode,
            status=verdict.status,
            reason=verdict.reason,
            samples=verdict.samples,
            kind=self.verifier.kind if verdict.samples else "",
            tolerance=verdict.tolerance,
            comparisons=verdict.comparisons,
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


def _note_error(state: State, index: int, verdict: Verdict) -> None:
    errors = [item.max_abs for item in verdict.comparisons if item.max_abs is not None]
    state.reports[index] = dataclasses.replace(state.reports[index], max_abs=max(errors, default=None))
