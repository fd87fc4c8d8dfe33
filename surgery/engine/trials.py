"""Run a source and its rewrites on the same inputs, together where that can be."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from graphopt.core.child import Child
from graphopt.core.comparison import Tolerance
from graphopt.core.detections import Detections
from graphopt.core.onnx_files import input_specs
from graphopt.core.tensors import Array
from graphopt.surgery.engine.beside import join, why_not_joined
from graphopt.surgery.engine.detection_verdicts import in_source
from graphopt.surgery.engine.feeds import Feeds, SharedInputs, split_feed
from graphopt.surgery.engine.lean_model import lean_model
from graphopt.surgery.engine.model_runs import Run, run_models
from graphopt.surgery.engine.opening import Cuts, Pair, open_model
from graphopt.surgery.graph_edits import remove_dead


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A rewritten model to judge.

    Attributes:
        model: not changed.
        names: output of the candidate -> tensor of the source.
        tolerance: what its passes may change.
        casts_outputs: whether one of its passes may change the dtype of outputs.
        detections: outputs to be compared as sets, by tensor of the source.
        is_measured: whether only its distance is asked for: it is not mended, and no difference explained.
    """

    model: ir.Model
    names: Mapping[str, str]
    tolerance: Tolerance
    casts_outputs: bool = False
    detections: tuple[Detections, ...] = ()
    is_measured: bool = False


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate, and how it can be run beside the source."""

    place: int
    candidate: Candidate
    cuts: Cuts
    inputs: SharedInputs

    @property
    def key(self) -> object:
        """Trials of one key have the same inputs and the same source."""
        return (self.inputs, self.cuts.source_inputs)


@dataclass(frozen=True)
class Answers:
    """What the source and a candidate answered.

    Attributes:
        trial: of which candidate.
        reference: outputs of the source, by tensor name.
        answer: outputs of the candidate, by tensor name.
        same: labels of pairs that are one and the same computation, and need not be compared.
    """

    trial: Trial
    reference: Run
    answer: Run
    same: frozenset[str] = frozenset()

    @property
    def pairs(self) -> list[Pair]:
        """The pairs to be compared."""
        return [pair for pair in self.trial.cuts.pairs if pair.label not in self.same]

    @property
    def expected(self) -> list[dict[str, Array]]:
        """What the source answered, by the labels of the pairs."""
        return self.of_source(self.reference)

    @property
    def got(self) -> list[dict[str, Array]]:
        """What the candidate answered, by the labels of the pairs; what it lacks is left out."""
        return [
            {pair.label: outputs[pair.other] for pair in self.pairs if pair.other in outputs}
            for outputs in self.answer.outputs
        ]

    @property
    def sets(self) -> list[Detections]:
        """What is compared as sets, by the labels of the pairs."""
        labels = {pair.source: pair.label for pair in self.pairs}
        return [in_source(item, labels) for item in self.trial.candidate.detections]

    def of_source(self, run: Run) -> list[dict[str, Array]]:
        """Return what a run of the source answered, by the labels of the pairs."""
        return [{pair.label: outputs[pair.source] for pair in self.pairs} for outputs in run.outputs]


@dataclass
class TrialRunner:
    """Runs trials of one source.

    Args:
        scratch: an existing folder for temporary files.
        waiting: a process of ``model_runs.runner``; used once.
        watched: tensors of the source to answer with as well, where it is run as a whole.
    """

    scratch: Path
    waiting: Child | None = None
    watched: tuple[str, ...] = ()
    _count: int = 0

    def run(self, source: ir.Model, trials: list[Trial], feeds: tuple[Feeds, ...]) -> Iterator[Answers]:
        """Run together what can be run together; what fails together is run in smaller parts."""
        together = [trial for trial in trials if can_join(source, trial, feeds)]
        if together:
            answers = self._run_joined(source, together, feeds)
            if answers is not None:
                yield from answers
            elif len(together) > 1:
                half = len(together) // 2
                yield from self.run(source, together[:half], feeds)
                yield from self.run(source, together[half:], feeds)
            else:
                yield self._run_apart(source, together[0], feeds)
        for trial in trials:
            if trial not in together:
                yield self._run_apart(source, trial, feeds)

    def run_source(self, source: ir.Model, trials: list[Trial], feeds: tuple[Feeds, ...]) -> Run:
        """Run a source alone; return what trials of one key compare, by tensor."""
        model = source.clone()
        mine = self._open_source(model, trials)
        (run,) = run_models([lean_model(model, self._spill())], feeds, self.scratch, waiting=self.waiting)
        return _pick(run, mine)

    def _run_joined(
        self, source: ir.Model, trials: list[Trial], feeds: tuple[Feeds, ...]
    ) -> list[Answers] | None:
        reference = source.clone()
        mine = self._open_source(reference, trials)
        others, held = [], []
        for trial in trials:
            others.append(trial.candidate.model.clone())
            held.append(_open_candidate(others[-1], trial))
        joined = join(reference, others)
        same = [
            _identical(trial, mine, {name: names[output] for name, output in place.items()})
            for trial, names, place in zip(trials, joined.outputs, held, strict=True)
        ]
        _drop_unneeded(joined.model, trials, same, mine)
        (run,) = run_models(
            [lean_model(joined.model, self._spill())], feeds, self.scratch, waiting=self.waiting
        )
        if run.error:
            return None
        expected = _pick(run, mine)
        return [
            Answers(
                trial, expected, _pick(run, {name: names[output] for name, output in place.items()}), known
            )
            for trial, names, place, known in zip(trials, joined.outputs, held, same, strict=True)
        ]

    def _run_apart(self, source: ir.Model, trial: Trial, feeds: tuple[Feeds, ...]) -> Answers:
        reference, other = source.clone(), trial.candidate.model.clone()
        mine = self._open_source(reference, [trial])
        its = _open_candidate(other, trial)
        models = [lean_model(model, self._spill()) for model in (reference, other)]
        runs = run_models(models, feeds, self.scratch, waiting=self.waiting)
        return Answers(trial, _pick(runs[0], mine), _pick(runs[1], its))

    def _open_source(self, source: ir.Model, trials: list[Trial]) -> dict[str, str]:
        wanted = {pair.source for trial in trials for pair in trial.cuts.pairs}
        if trials[0].cuts.operators is None:
            wanted.update(self.watched)
        return open_model(source, trials[0].cuts.source_inputs, sorted(wanted))

    def _spill(self) -> Path:
        self._count += 1
        return self.scratch / f"weights-{self._count}.bin"


def _open_candidate(model: ir.Model, trial: Trial) -> dict[str, str]:
    return open_model(model, trial.cuts.other_inputs, list(dict.fromkeys(p.other for p in trial.cuts.pairs)))


def can_join(source: ir.Model, trial: Trial, feeds: tuple[Feeds, ...]) -> bool:
    """Whether source and candidate can be run in one graph, on whole feeds."""
    other = trial.candidate.model
    if why_not_joined(source, other) is not None:
        return False
    mine = (*input_specs(source), *trial.cuts.source_inputs)
    its = (*input_specs(other), *trial.cuts.other_inputs)
    known = {spec.name: spec.dtype for spec in mine}
    if any(known[spec.name] != spec.dtype for spec in its):
        return False
    return all(len(split_feed(specs, feed)) == 1 for feed in feeds for specs in (mine, its))


def _identical(trial: Trial, mine: dict[str, str], its: dict[str, str]) -> frozenset[str]:
    """Return the inner pairs that the joint model computes once; outputs are looked at in any case."""
    return frozenset(
        pair.label
        for pair in trial.cuts.pairs
        if pair.label not in trial.candidate.names and its.get(pair.other) == mine.get(pair.source)
    )


def _drop_unneeded(
    model: ir.Model, trials: list[Trial], same: list[frozenset[str]], mine: dict[str, str]
) -> None:
    pairs = [(pair, known) for trial, known in zip(trials, same, strict=True) for pair in trial.cuts.pairs]
    needed = {mine.get(pair.source) for pair, known in pairs if pair.label not in known}
    unneeded = {mine.get(pair.source) for pair, known in pairs if pair.label in known} - needed
    if unneeded:
        kept = [value for value in model.graph.outputs if value.name not in unneeded]
        model.graph.outputs.clear()
        model.graph.outputs.extend(kept)
        remove_dead(model)


def _pick(run: Run, names: Mapping[str, str]) -> Run:
    """Return a run's outputs by the names of the tensors that they hold."""
    return dataclasses.replace(
        run,
        outputs=tuple(
            {name: outputs[held] for name, held in names.items() if held in outputs}
            for outputs in run.outputs
        ),
    )
