"""Compare calls of target operators on their own: given the source's inputs, each makes the source's tensor.

The outputs do not always show what a call computes. Detectors start from residual branches whose last
scale is zero: whatever stands inside of one, a swapped offset or a mask of zeros, no output ever moves.
So calls whose output the source has too, by name, are run a second time on tensors of the source, beside
it in the same graph; what leaves that graph is three numbers each.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from graphopt.core.comparison import OWN_INPUTS, Outcome, TensorComparison, Tolerance
from graphopt.core.operators import at_home
from graphopt.core.tensors import Array
from graphopt.surgery.engine.beside import join, why_not_joined
from graphopt.surgery.engine.opening import same_call, same_constant
from graphopt.surgery.engine.trials import Candidate
from graphopt.surgery.engine.verdicts import Verdict
from graphopt.surgery.graph_edits import fresh_name, remove_dead
from graphopt.surgery.graph_queries import constant_tensor, has_subgraph, label
from graphopt.surgery.report import Status

_LARGEST_SLICE = 100
"""Nodes between tensors that both models have and a call; more are no small thing that stands alone."""

NOT_ALONE = "calls of target operators cannot be run on the source's tensors, so only outputs are compared"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One call that is compared on its own.

    Attributes:
        label: operator and node, for reports.
        over: tensor that counts the elements beyond the tolerance.
        error: tensor that holds the largest difference.
        peak: tensor that holds the largest magnitude.
    """

    label: str
    over: str
    error: str
    peak: str

    @property
    def tensors(self) -> tuple[str, str, str]:
        """All three tensors."""
        return (self.over, self.error, self.peak)


def add_probes(
    source: ir.Model, candidates: Sequence[Candidate]
) -> tuple[ir.Model, tuple[tuple[Probe, ...], ...]]:
    """Put the calls of rewritten models beside a source.

    Args:
        source: the reference; not changed.
        candidates: the rewritten models; not changed.

    Returns:
        The source with all that is needed to compute the probes (itself when there are none), and the
        probes of each candidate.
    """
    built = [_probe_model(source, candidate) for candidate in candidates]
    if not any(probes for _, probes in built):
        return source, ((),) * len(candidates)
    joined = join(source.clone(), [model for model, _ in built])
    for value in list(joined.model.graph.outputs)[len(source.graph.outputs) :]:
        joined.model.graph.outputs.remove(value)
    placed = tuple(
        tuple(
            Probe(
                label=probe.label,
                over=names[probe.over],
                error=names[probe.error],
                peak=names[probe.peak],
            )
            for probe in probes
        )
        for (_, probes), names in zip(built, joined.outputs, strict=True)
    )
    return joined.model, placed


def with_probes(verdict: Verdict, probes: Sequence[Probe], answers: Sequence[Mapping[str, Array]]) -> Verdict:
    """Return a verdict with what the probes answered; a call that computes something else refutes it."""
    found = tuple(_compare(probe, answers) for probe in probes)
    if not found or verdict.status is Status.FAILED:
        return verdict
    verdict = dataclasses.replace(verdict, comparisons=(*verdict.comparisons, *found))
    wrong = next((item for item in found if not item.passed), None)
    if wrong is None:
        return verdict
    reason = f"{wrong.name} computes something else, {wrong.detail}"
    return dataclasses.replace(verdict, status=Status.FAILED, reason=reason)


def _compare(probe: Probe, answers: Sequence[Mapping[str, Array]]) -> TensorComparison:
    over, error, peak = (max(_largest(outputs[name]) for outputs in answers) for name in probe.tensors)
    broken = not np.isfinite([over, error, peak]).all()
    detail = (
        f"{OWN_INPUTS}: {over:.0f} elements differ by more than is allowed, by up to {error:.3g} where the "
        f"largest is {peak:.3g}"
    )
    return TensorComparison(
        name=probe.label,
        outcome=Outcome.NOT_FINITE if broken else Outcome.VALUES if over else Outcome.MATCH,
        max_abs=None if broken else error,
        detail=detail if broken or over else OWN_INPUTS,
    )


def _largest(answer: Array) -> float:
    """Return the number; the largest of no elements, as of no regions on a level, is 0 and not -inf."""
    number = float(answer)
    return 0.0 if number == -np.inf else number


def _probe_model(source: ir.Model, candidate: Candidate) -> tuple[ir.Model, list[Probe]]:
    """Return a copy of a source that answers with the probes of a candidate only, and these."""
    model = source.clone()
    model.graph.outputs.clear()
    probes: list[Probe] = []
    if why_not_joined(source, candidate.model) is None:
        model.opset_imports.update(candidate.model.opset_imports)
        copier = _Copier(model)
        for node in candidate.model.graph:
            value = copier.values.get(node.outputs[0].name or "") if at_home(node) is not None else None
            if value is None or value.producer() is None:
                continue
            try:
                copy = copier.copy_call(node, value.producer())
            except _NotAloneError:
                continue
            if copy is None:
                continue
            text = f"{node.domain}::{label(node)}"
            probes.append(_Measure(model).write(text, value, copy.outputs[0], candidate.tolerance))
    remove_dead(model)
    return model, probes


class _NotAloneError(Exception):
    """A call cannot be run on tensors of the source."""


@dataclass
class _Copier:
    """Writes nodes of a rewritten model into a copy of the source."""

    model: ir.Model
    values: dict[str, ir.Value] = field(default_factory=dict)
    _copies: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.values.update({value.name or "": value for node in graph for value in node.outputs})
        self.values.update({value.name or "": value for value in graph.inputs})

    def copy_call(self, node: ir.Node, twin: ir.Node | None) -> ir.Node | None:
        """Copy a call, and what lies between it and tensors of the source.

        Args:
            node: the call.
            twin: what makes the tensor of that name in the source.

        Returns:
            None when both are the same.

        Raises:
            _NotAloneError: there is too much between them, or something that cannot be copied.
        """
        before = len(self._copies)
        inputs = [None if value is None else self._copy(value, before) for value in node.inputs]
        if twin is not None and same_call(node, twin) and _alike(inputs, twin.inputs):
            return None
        return self._write(node, inputs)

    def _copy(self, value: ir.Value, before: int) -> ir.Value:
        if value in self._copies:
            return self._copies[value]
        known, producer = self.values.get(value.name or ""), value.producer()
        if known is not None and constant_tensor(value) is None:
            return known
        if len(self._copies) - before > _LARGEST_SLICE:
            raise _NotAloneError
        if value.is_initializer():
            self._copies[value] = self._initializer(value)
        elif producer is None or has_subgraph(producer):
            raise _NotAloneError
        else:
            inputs = [None if item is None else self._copy(item, before) for item in producer.inputs]
            self._copies.update(zip(producer.outputs, self._write(producer, inputs).outputs, strict=True))
        return self._copies[value]

    def _write(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Node:
        copy = ir.Node(
            node.domain, node.op_type, inputs, node.attributes.values(), num_outputs=len(node.outputs)
        )
        for value, old in zip(copy.outputs, node.outputs, strict=True):
            value.name = fresh_name(self.model, f"{old.name} on its own")
            value.type, value.shape = old.type, old.shape
        self.model.graph.append(copy)
        return copy

    def _initializer(self, value: ir.Value) -> ir.Value:
        copy = ir.Value(
            name=fresh_name(self.model, f"{value.name} of the result"),
            type=value.type,
            shape=value.shape,
            const_value=value.const_value,
        )
        self.model.graph.register_initializer(copy)
        return copy


def _alike(inputs: Sequence[ir.Value | None], others: Sequence[ir.Value | None]) -> bool:
    return len(inputs) == len(others) and all(
        one is two or same_constant(one, two) for one, two in zip(inputs, others, strict=True)
    )


@dataclass(frozen=True)
class _Measure:
    """Writes the comparison of two tensors as nodes, in operators that are the same in every opset from 9."""

    model: ir.Model

    def write(self, text: str, expected: ir.Value, got: ir.Value, tolerance: Tolerance) -> Probe:
        one, two = (self._op("Cast", value, to=ir.DataType.FLOAT.value) for value in (expected, got))
        size = self._op("Abs", one)
        peak = self._op("ReduceMax", size, keepdims=0)
        both = self._op("And", self._op("IsNaN", one), self._op("IsNaN", two))
        zero = self._op("Sub", peak, peak)
        error = self._op("Where", both, zero, self._op("Abs", self._op("Sub", one, two)))
        allowed = self._op("Mul", size, self._number(tolerance.rtol))
        floor = self._op(
            "Add", self._op("Mul", peak, self._number(tolerance.peak)), self._number(tolerance.atol)
        )
        # Not "more than allowed": a NaN on one side is no less, either.
        within = self._op("Or", both, self._op("Less", error, self._op("Add", allowed, floor)))
        over = self._op("Cast", self._op("Not", within), to=ir.DataType.FLOAT.value)
        found = (self._op("ReduceSum", over, keepdims=0), self._op("ReduceMax", error, keepdims=0), peak)
        self.model.graph.outputs.extend(found)
        names = [value.name or "" for value in found]
        return Probe(label=text, over=names[0], error=names[1], peak=names[2])

    def _op(self, op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        node = ir.node(op_type, inputs, attributes)
        node.outputs[0].name = fresh_name(self.model, "probe")
        self.model.graph.append(node)
        return node.outputs[0]

    def _number(self, number: float) -> ir.Value:
        name = fresh_name(self.model, "probe constant")
        tensor = ir.tensor(np.array(number, np.float32), name=name)
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape([]), const_value=tensor)
        self.model.graph.register_initializer(value)
        return value
