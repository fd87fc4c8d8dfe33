"""Prove that rewritten models compute what their source computes.

All candidates are put beside the source in one graph (``beside``), so that one run answers for all;
nodes that cannot run are cut out first (``opening``).
"""

import dataclasses
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from graphopt.core.child import Child
from graphopt.core.comparison import SAME_NODES, Outcome, TensorComparison
from graphopt.core.detections import Detections
from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.core.tensors import Array, TensorSpec
from graphopt.surgery.engine.detection_verdicts import judge_sets
from graphopt.surgery.engine.feeds import PICTURE_SIZES, Feeds, SharedInputs, shared_inputs
from graphopt.surgery.engine.foreign import Operator, foreign_nodes, output_specs_of
from graphopt.surgery.engine.made_inputs import INTEGERS_BELOW, SEEDED, make_inputs
from graphopt.surgery.engine.mending import cost_of_rounding, mend, mended, note_of, without_rounding
from graphopt.surgery.engine.noise import SourceNoise, not_told
from graphopt.surgery.engine.opening import Cuts, Side, no_cuts, nodes_behind, plan_cuts
from graphopt.surgery.engine.output_dtypes import with_source_dtypes
from graphopt.surgery.engine.own_inputs import NOT_ALONE, Probe, add_probes, with_probes
from graphopt.surgery.engine.selections import compare_between
from graphopt.surgery.engine.trials import Answers, Candidate, Trial, TrialRunner
from graphopt.surgery.engine.verdicts import (
    Verdict,
    constant_outputs,
    contradicted_shape,
    describe,
)
from graphopt.surgery.graph_pass import Pass
from graphopt.surgery.report import Samples, Status

_NO_KERNEL = re.compile(r"Could not find an implementation for (?:([\w.]+)[.:]+)?(\w+)\(\d+\) node")
_FAILED_NODE = re.compile(r"while running (\w+) node\. Name:'([^']*)'")
_MAX_REFUSED = 16
_LISTED = 4


@dataclass
class Verifier:
    """Compares candidates with one source.

    Args:
        source: the reference file.
        samples: inputs to use; None makes up structured ones.
        scratch: an existing folder for temporary files.
        waiting: a process of ``model_runs.runner``.
        roles: outputs that are detections by their roles; where the numbers differ, they are compared
            as sets.
        passes: of the plan: they may know where the source errs (``Pass.mend_reference``).
        seconds: spent so far.
    """

    source: Path
    samples: Samples | None
    scratch: Path
    waiting: Child | None = None
    roles: Detections | None = None
    passes: Sequence[Pass] = ()
    seconds: float = 0.0
    _refused: set[Operator] = field(default_factory=set)
    _picture: int = PICTURE_SIZES[0]
    _below: int = INTEGERS_BELOW[0]
    _free_integers: bool = False
    _counters: Mapping[str, str] = field(default_factory=dict)
    _probes: bool = True

    def judge(self, candidates: Sequence[Candidate]) -> tuple[Verdict, ...]:
        """Run the models on the same inputs and compare every output with the source's.

        Raises:
            UsageError: the samples do not fit the model.
        """
        started = time.perf_counter()
        try:
            return self._judge(candidates)
        finally:
            self.seconds += time.perf_counter() - started

    def _judge(self, candidates: Sequence[Candidate]) -> tuple[Verdict, ...]:
        source = load_model(self.source)
        plain = without_rounding(source, candidates, self.passes)
        self._counters = mend(source, self.passes)
        verdicts: dict[int, Verdict] = {}
        groups: dict[object, list[Trial]] = {}
        measured = [plain] if plain is not None and self._counters else []
        for place, candidate in enumerate([*candidates, *measured]):
            try:
                same = mended(candidate, self.passes) if self._counters else candidate
                trial = self._trial(source, place, same)
                groups.setdefault(trial.key, []).append(trial)
            except PreconditionError as error:
                verdicts[place] = _unproven(str(error))
            except _WrongError as error:
                verdicts[place] = error.verdict
        for trials in groups.values():
            try:
                verdicts.update(self._judge_group(source, trials))
            except _RunAgainError:
                return self._judge(candidates)
            except PreconditionError as error:
                verdicts.update({trial.place: _unproven(str(error)) for trial in trials})
        found = tuple(verdicts[place] for place in range(len(candidates)))
        if not measured:
            return found
        cost = cost_of_rounding(verdicts[len(candidates)])
        return tuple(v.with_note(cost) if v.detections and v.status is Status.PROVEN else v for v in found)

    def _trial(self, source: ir.Model, place: int, candidate: Candidate) -> Trial:
        if candidate.casts_outputs:
            model = with_source_dtypes(candidate.model, source, candidate.names)
            candidate = dataclasses.replace(candidate, model=model)
        inputs = self._shared(source, candidate.model)
        _check_outputs(candidate)
        missing = set(candidate.names.values()) - _tensor_names(source)
        if missing:
            raise PreconditionError(f"the source has no tensor {min(missing)} to compare with")
        foreign = [foreign_nodes(model, self._refused) for model in (source, candidate.model)]
        if not any(foreign):
            return Trial(place=place, candidate=candidate, cuts=no_cuts(candidate.names), inputs=inputs)
        sides: list[Side] = []
        for model, nodes in zip((source, candidate.model), foreign, strict=True):
            sizes = {spec.name: _own_shape(spec, inputs) for spec in input_specs(model)}
            sides.append(Side(model, nodes, output_specs_of(model, nodes, sizes)))
        cuts = plan_cuts(sides[0], sides[1], candidate.names)
        if not cuts.pairs:
            raise PreconditionError(f"nothing can be compared: {_cut_text(cuts)}")
        inputs = self._shared(source, candidate.model, cuts)
        return Trial(place=place, candidate=candidate, cuts=cuts, inputs=inputs)

    def _shared(self, source: ir.Model, other: ir.Model, cuts: Cuts | None = None) -> SharedInputs:
        cuts = cuts or Cuts()
        return shared_inputs(
            (*input_specs(source), *cuts.source_inputs),
            (*input_specs(other), *cuts.other_inputs),
            picture=self._picture,
        )

    def _judge_group(self, source: ir.Model, trials: list[Trial]) -> Iterator[tuple[int, Verdict]]:
        feeds, kind, count = self._feeds(source, trials[0].inputs)
        probed, probes = self._probed(source, trials)
        watched = [name for items in probes.values() for item in items for name in item.tensors]
        runner = TrialRunner(self.scratch, self.waiting, (*self._counters, *watched))
        noise = SourceNoise(source, trials, feeds[:count], self.scratch)
        for found in runner.run(probed, trials, feeds):
            trial = found.trial
            if error := found.reference.error:
                self._try_otherwise(error, trial.inputs, probed=bool(watched))
                verdict = _unproven(_source_error(error, trial.inputs, kind))
            elif error := found.answer.error:
                verdict = Verdict(status=Status.FAILED, reason=f"the result does not run: {error}")
            else:
                verdict = _verdict(source, found, count, kind)
                if verdict.status is Status.FAILED:
                    verdict = self._as_sets(source, found, count, kind, verdict)
                if verdict.status is Status.FAILED and not trial.candidate.is_measured:
                    verdict = self._beside_noise(source, found, noise, feeds, verdict)
                outputs = found.reference.outputs[:count]
                verdict = with_probes(verdict, probes[trial.place], outputs)
                verdict = verdict.with_note(note_of(self._counters, outputs))
                verdict = verdict if self._probes else verdict.with_note(NOT_ALONE)
                verdict = self._with_share(source, trial, verdict)
            yield trial.place, dataclasses.replace(verdict, kind=kind if verdict.samples else "")

    def _probed(self, source: ir.Model, trials: list[Trial]) -> tuple[ir.Model, dict[int, tuple[Probe, ...]]]:
        """Return the source with the probes of trials of whole models, and these by the trials' places."""
        places = [trial.place for trial in trials]
        if not self._probes or trials[0].cuts.operators is not None:
            return source, dict.fromkeys(places, ())
        model, found = add_probes(source, [trial.candidate for trial in trials])
        return model, dict(zip(places, found, strict=True))

    def _as_sets(self, source: ir.Model, found: Answers, count: int, kind: str, failed: Verdict) -> Verdict:
        """Look whether detections, which no pass called so, are equal as sets."""
        if self.roles is None or found.trial.candidate.detections:
            return failed
        verdict = _verdict(source, self._called_sets(found), count, kind)
        return verdict if verdict.detections else failed

    def _called_sets(self, found: Answers) -> Answers:
        candidate = found.trial.candidate
        if self.roles is None or candidate.detections:
            return found
        candidate = dataclasses.replace(candidate, detections=(self.roles,))
        return dataclasses.replace(found, trial=dataclasses.replace(found.trial, candidate=candidate))

    def _beside_noise(
        self, source: ir.Model, found: Answers, noise: SourceNoise, feeds: tuple[Feeds, ...], failed: Verdict
    ) -> Verdict:
        """Look whether only choices between near ties differ, or the source itself moves as much."""
        count = len(noise.feeds)
        cut = compare_between(source, found.trial, feeds, self.scratch)
        if cut is not None:
            verdict = _verdict(source, cut.answers, count, "")
            if verdict.status is Status.PROVEN:
                return verdict.with_note(cut.note(failed.reason))
            own = SourceNoise(source, [cut.answers.trial], cut.feeds[:count], self.scratch)
            if verdict.status is Status.FAILED and not own.explains(cut.answers, verdict):
                return failed
        found = self._called_sets(found) if failed.detections else found
        moves = noise.explains(found, failed)
        if not moves or _declared_wrongly(source, found.trial, found.answer.outputs):
            return failed
        return dataclasses.replace(failed, status=Status.UNPROVEN, reason=not_told(moves))

    def _try_otherwise(self, error: str, inputs: SharedInputs, *, probed: bool) -> None:
        """Judge all anew when the source may run with an operator cut out, or with other sizes."""
        found = _NO_KERNEL.search(error)
        operator = (found.group(1) or "", found.group(2)) if found else None
        if operator and operator not in self._refused and len(self._refused) < _MAX_REFUSED:
            self._refused.add(operator)
            raise _RunAgainError
        if probed:  # a call may not take what the source makes: another number of rows, say
            self._probes = False
            raise _RunAgainError
        larger = [size for size in PICTURE_SIZES if size > self._picture]
        if self.samples is None and larger and inputs.guessed:
            self._picture = larger[0]
            raise _RunAgainError
        # An index that is worked out from an input may lie outside of what it looks up.
        fewer = [size for size in INTEGERS_BELOW if size < self._below]
        if self.samples is None and fewer and self._free_integers:
            self._picture, self._below = PICTURE_SIZES[0], fewer[0]
            raise _RunAgainError

    def _feeds(self, source: ir.Model, inputs: SharedInputs) -> tuple[tuple[Feeds, ...], str, int]:
        """Return the inputs, what they are, and how many of them are compared."""
        if not inputs.specs:
            return ({},), SEEDED, 1
        if self.samples is None:
            made = make_inputs(source, inputs, below=self._below)
            self._free_integers = made.free_integers
            return made.feeds, made.kind, len(made.feeds)
        if not self.samples.feeds:
            raise UsageError(f"no samples were given ({self.samples.kind})")
        own = {value.name for value in source.graph.inputs}
        given = dataclasses.replace(inputs, specs=tuple(s for s in inputs.specs if s.name in own))
        feeds = given.regroup(self.samples.feeds)
        count = len(feeds)
        # A second feed made from a single given sample only tells whether outputs vary at all.
        feeds = feeds if count > 1 else (*feeds, _varied(feeds[0]))
        cut = dataclasses.replace(inputs, specs=tuple(s for s in inputs.specs if s.name not in own))
        extra = make_inputs(source, cut, range(len(feeds))).feeds if cut.specs else ({},) * len(feeds)
        return (
            tuple({**feed, **more} for feed, more in zip(feeds, extra, strict=True)),
            self.samples.kind,
            count,
        )

    def _with_share(self, source: ir.Model, trial: Trial, verdict: Verdict) -> Verdict:
        """Say how much of a model with foreign nodes was compared; that is no proof of the whole."""
        cuts = trial.cuts
        if cuts.operators is None or verdict.status is Status.FAILED:
            return verdict
        total = nodes_behind(source, set(trial.candidate.names.values()))
        stop = {spec.name for spec in cuts.source_inputs}
        done = nodes_behind(source, {pair.source for pair in cuts.pairs}, stop)
        text = f"{done} of {total} nodes are proven" if verdict.status is Status.PROVEN else verdict.reason
        return dataclasses.replace(verdict, status=Status.UNPROVEN, reason=f"{text}, {_cut_text(cuts)}")


class _RunAgainError(Exception):
    """The source can be run in another way."""


class _WrongError(Exception):
    """A candidate is wrong whatever it computes."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def _check_outputs(candidate: Candidate) -> None:
    found = [value.name or "" for value in candidate.model.graph.outputs]
    wanted = list(candidate.names)
    lost = [(name, "the candidate lacks this output") for name in wanted if name not in found]
    extra = [(name, "the reference lacks this output") for name in found if name not in wanted]
    items = tuple(TensorComparison(name=n, outcome=Outcome.MISSING, detail=why) for n, why in lost + extra)
    if not items and found == wanted:
        return
    reason = (
        describe(items[0], candidate.tolerance)
        if items
        else (f"the outputs come as {', '.join(found)}, not as {', '.join(wanted)}")
    )
    raise _WrongError(
        Verdict(status=Status.FAILED, reason=reason, tolerance=candidate.tolerance, comparisons=items)
    )


def _tensor_names(model: ir.Model) -> set[str | None]:
    made = {value.name for node in model.graph for value in node.outputs}
    return made | {value.name for value in model.graph.inputs} | set(model.graph.initializers)


def _own_shape(spec: TensorSpec, inputs: SharedInputs) -> tuple[int | str | None, ...]:
    """Return the sizes of an input, unknown ones as they will be fed."""
    fed = next((item.shape for item in inputs.specs if item.name == spec.name), spec.shape)
    return tuple(dim if isinstance(dim, int) else size for dim, size in zip(spec.shape, fed, strict=True))


def _verdict(source: ir.Model, found: Answers, count: int, kind: str) -> Verdict:
    trial, expected = found.trial, found.expected
    verdict = judge_sets(expected[:count], found.got[:count], trial.candidate.tolerance, found.sets)
    if verdict.status is Status.FAILED:
        return verdict
    if wrong := _declared_wrongly(source, trial, found.answer.outputs):
        return dataclasses.replace(verdict, status=Status.FAILED, reason=wrong)
    alike = tuple(
        TensorComparison(name=name, outcome=Outcome.MATCH, max_abs=0.0, margin=0.0, detail=SAME_NODES)
        for name in sorted(found.same)
    )
    verdict = dataclasses.replace(verdict, comparisons=(*verdict.comparisons, *alike))
    if verdict.status is not Status.PROVEN or not trial.inputs.specs or not found.pairs:
        return verdict
    deaf = constant_outputs(expected)
    if len(deaf) == len(found.pairs):
        reason = f"the outputs do not depend on the inputs ({kind})"
        return dataclasses.replace(verdict, status=Status.UNPROVEN, reason=reason)
    return verdict.with_note(f"{_list_text(deaf)} did not vary over the samples" if deaf else "")


def _declared_wrongly(source: ir.Model, trial: Trial, answer: Sequence[Mapping[str, Array]]) -> str:
    model = trial.candidate.model
    open_ones = {spec.name for spec in input_specs(source) if not isinstance((*spec.shape, 0)[0], int)}
    pairs = list(_input_pairs(trial, model))
    joined = any(own.name in open_ones or spec.shape[:1] != own.shape[:1] for spec, own in pairs)
    before = {value.name: _sizes(value) for value in source.graph.outputs}
    declared = {}
    for value in model.graph.outputs:
        name, dims = value.name or "", _sizes(value)
        if dims == before.get(trial.candidate.names.get(name)):
            continue  # what the source says itself, right or wrong
        # The first size of an answer that is put together from several runs is another one.
        declared[name] = (None, *dims[1:]) if joined and dims else dims
    return contradicted_shape(declared, answer)


def _sizes(value: ir.Value) -> tuple[int | None, ...] | None:
    if value.shape is None:
        return None
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in value.shape)


def _input_pairs(trial: Trial, model: ir.Model) -> Iterator[tuple[TensorSpec, TensorSpec]]:
    own = {spec.name: spec for spec in input_specs(model)}
    yield from ((spec, own[spec.name]) for spec in trial.inputs.specs if spec.name in own)


def _varied(feed: Feeds) -> Feeds:
    """Return another input like this one: reversed, floats halved."""

    def other(array: Array) -> Array:
        return np.multiply(array, 0.5, dtype=array.dtype) if array.dtype.kind == "f" else array

    return {name: other(np.flip(array)) for name, array in feed.items()}


def _unproven(reason: str) -> Verdict:
    return Verdict(status=Status.UNPROVEN, reason=reason)


def _source_error(error: str, inputs: SharedInputs, kind: str) -> str:
    """Say that it is not the rewrite that fails, where, and what to do."""
    failed = _FAILED_NODE.search(error)
    sizes = ", ".join(f"{name} = {size}" for name, size in inputs.guessed)
    if sizes:
        return (
            f"the source does not run: {error} (made up: {sizes}; give inputs of the right size with --data)"
        )
    if failed is None:
        return f"the source does not run: {error}"
    operator, node = failed.groups()
    return (
        f"the source itself, before any pass, does not run on these inputs ({kind}): {operator} {node} "
        "fails; a size that tracing took from one example may be baked in there: give inputs on which it "
        f"runs with --data, or export it again with another example. onnxruntime says: {error}"
    )


def _cut_text(cuts: Cuts) -> str:
    operators = ", ".join(f"{count} {name}" for name, count in (cuts.operators or {}).items())
    text = f"the models cut at {operators}, which onnxruntime cannot run; what these compute is not compared"
    return f"{text}, nor {_list_text(cuts.left_out)}" if cuts.left_out else text


def _list_text(items: Sequence[str]) -> str:
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")
