"""Prove that a rewritten file computes what its source computes."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from graphopt.core.child import Child
from graphopt.core.comparison import (
    FLOAT32_REORDERED,
    TensorComparison,
    Tolerance,
    compare_outputs,
    merge_samples,
)
from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.onnx_files import input_specs, load_model, write_model
from graphopt.core.tensors import Array
from graphopt.surgery.engine.feeds import Feeds, SharedInputs, shared_inputs
from graphopt.surgery.engine.model_runs import Run, run_files
from graphopt.surgery.engine.walking import all_graphs
from graphopt.surgery.graph_pass import Pass
from graphopt.surgery.report import Samples, Status

SEEDED = "seeded structured"
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A rewritten file to judge.

    Attributes:
        path: the file.
        model: the same in memory; only its structure is looked at.
        names: output of the candidate -> tensor of the source.
        tolerance: what its passes may change.
    """

    path: Path
    model: ir.Model
    names: Mapping[str, str]
    tolerance: Tolerance


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement on one candidate; fields as in ``report.Verification``."""

    status: Status
    reason: str = ""
    samples: int = 0
    tolerance: Tolerance | None = None
    comparisons: tuple[TensorComparison, ...] = ()


@dataclass
class Verifier:
    """Compares candidates with one source; the source runs once per kind of input.

    Args:
        source: the reference file.
        samples: inputs to use; None makes up structured ones.
        scratch: an existing folder for temporary files.
        waiting: a process of ``model_runs.runner``.
        seconds: spent so far.
    """

    source: Path
    samples: Samples | None
    scratch: Path
    waiting: Child | None = None
    seconds: float = 0.0
    _references: dict[object, Run] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Where the inputs come from."""
        return self.samples.kind if self.samples else SEEDED

    def judge(self, candidate: Candidate) -> Verdict:
        """Run both models on the same inputs and compare every output.

        Raises:
            UsageError: the samples do not fit the model.
        """
        started = time.perf_counter()
        try:
            return self._judge(candidate)
        except PreconditionError as error:
            return Verdict(status=Status.UNPROVEN, reason=str(error))
        finally:
            self.seconds += time.perf_counter() - started

    def _judge(self, candidate: Candidate) -> Verdict:
        source = load_model(self.source)
        inputs = shared_inputs(input_specs(source), input_specs(candidate.model))
        feeds = self._feeds(inputs)
        reference, answer = self._run_both(source, inputs, feeds, candidate)
        if reference.error:
            return Verdict(status=Status.UNPROVEN, reason=f"the source does not run: {reference.error}")
        if answer.error:
            return _not_running(candidate.model, answer.error)
        expected = [_select(outputs, candidate.names) for outputs in reference.outputs]
        deaf = _constant_outputs(expected) if inputs.specs else []
        # A second feed made from a single given sample only tells whether outputs vary at all.
        count = min(len(feeds), self._given(inputs)) if self.samples else len(feeds)
        verdict = _compare_all(expected[:count], answer.outputs[:count], candidate.tolerance)
        if verdict.status is not Status.PROVEN or not deaf:
            return verdict
        if len(deaf) == len(candidate.names):
            reason = f"the outputs do not depend on the inputs ({self.kind})"
            return dataclasses.replace(verdict, status=Status.UNPROVEN, reason=reason)
        return dataclasses.replace(verdict, reason=f"{', '.join(deaf)} did not vary over the samples")

    def _given(self, inputs: SharedInputs) -> int:
        return len(inputs.regroup(self.samples.feeds)) if self.samples else 0

    def _run_both(
        self, source: ir.Model, inputs: SharedInputs, feeds: tuple[Feeds, ...], candidate: Candidate
    ) -> tuple[Run, Run]:
        outputs = {value.name for value in source.graph.outputs}
        probes = tuple(sorted(set(candidate.names.values()) - outputs))
        key = (inputs.specs, probes)
        if key in self._references:
            return self._references[key], run_files([candidate.path], feeds)[0]
        path = self._with_probes(source, probes) if probes else self.source
        reference, answer = run_files([path, candidate.path], feeds, waiting=self.waiting)
        self._references[key] = reference
        return reference, answer

    def _feeds(self, inputs: SharedInputs) -> tuple[Feeds, ...]:
        if not inputs.specs:
            return ({},)
        if self.samples is None:
            try:
                return inputs.seeded()
            except UsageError as error:
                raise PreconditionError(str(error)) from error
        if not self.samples.feeds:
            raise UsageError(f"no samples were given ({self.samples.kind})")
        feeds = inputs.regroup(self.samples.feeds)
        return feeds if len(feeds) > 1 else (*feeds, _varied(feeds[0]))

    def _with_probes(self, source: ir.Model, probes: tuple[str, ...]) -> Path:
        """Write the source with inner tensors as outputs: a pass made outputs of them."""
        values = {value.name: value for node in source.graph for value in node.outputs}
        values.update({value.name: value for value in source.graph.inputs})
        for name in probes:
            if name not in values:
                raise PreconditionError(f"the source has no tensor {name} to compare with")
            source.graph.outputs.append(values[name])
        path = self.scratch / f"reference-{len(self._references)}.onnx"
        write_model(source, path)
        return path


def combined_tolerance(passes: Sequence[Pass]) -> Tolerance:
    """Return what several passes may change together: the sum of what each states."""
    stated = [item.tolerance for item in passes if item.tolerance != FLOAT32_REORDERED]
    if not stated:
        return FLOAT32_REORDERED
    return Tolerance(
        atol=sum(item.atol for item in stated),
        rtol=min(0.1, sum(item.rtol for item in stated)),
        peak=min(0.01, sum(item.peak for item in stated)),
        why="; ".join(dict.fromkeys(item.why for item in stated)),
    )


def describe(item: TensorComparison, tolerance: Tolerance) -> str:
    """Return a failed comparison as a clause: which output, how far, what was allowed."""
    if item.max_abs is None:
        return f"output {item.name}: {item.outcome.value}, {item.detail}"
    return (
        f"output {item.name} differs by up to {item.max_abs:.3g}, {item.margin:.3g} times the tolerance "
        f"(atol {tolerance.atol:g}, rtol {tolerance.rtol:g}, peak {tolerance.peak:g}); {item.detail}"
    )


def _compare_all(
    expected: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]], tolerance: Tolerance
) -> Verdict:
    itself = _compare(expected, expected, FLOAT32_REORDERED)
    if broken := next((item for item in itself if not item.passed), None):
        reason = f"output {broken.name} of the source proves nothing: {broken.detail}"
        return Verdict(status=Status.UNPROVEN, reason=reason, samples=len(expected))
    found = _compare(expected, got, tolerance)
    wrong = next((item for item in found if not item.passed), None)
    return Verdict(
        status=Status.FAILED if wrong else Status.PROVEN,
        reason=describe(wrong, tolerance) if wrong else "",
        samples=len(expected),
        tolerance=tolerance,
        comparisons=found,
    )


def _compare(
    expected: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]], tolerance: Tolerance
) -> tuple[TensorComparison, ...]:
    pairs = zip(expected, got, strict=True)
    return merge_samples([compare_outputs(mine, theirs, tolerance) for mine, theirs in pairs])


def _select(outputs: Mapping[str, Array], names: Mapping[str, str]) -> dict[str, Array]:
    return {now: outputs[then] for now, then in names.items()}


def _constant_outputs(samples: Sequence[Mapping[str, Array]]) -> list[str]:
    first, *others = samples
    return [name for name in first if all(np.array_equal(first[name], other[name]) for other in others)]


def _varied(feed: Feeds) -> Feeds:
    """Return another input like this one: reversed, floats halved."""
    return {name: _other(np.flip(array)) for name, array in feed.items()}


def _other(array: Array) -> Array:
    return np.multiply(array, 0.5, dtype=array.dtype) if array.dtype.kind == "f" else array


def _not_running(model: ir.Model, error: str) -> Verdict:
    foreign = _foreign_operator(model)
    if foreign:
        reason = f"the result does not run: operator {foreign} is unknown to onnxruntime"
        return Verdict(status=Status.UNPROVEN, reason=reason)
    return Verdict(status=Status.FAILED, reason=f"the result does not run: {error}")


def _foreign_operator(model: ir.Model) -> str:
    """Return the first operator that is neither ONNX's nor onnxruntime's nor a function."""
    for graph in all_graphs(model):
        for node in graph:
            if node.op_identifier() in model.functions:
                continue
            if node.domain not in _STANDARD_DOMAINS:
                return f"{node.domain}::{node.op_type}"
            if node.domain != "com.microsoft" and not onnx.defs.has(node.op_type, node.domain):
                return node.op_type
    return ""
