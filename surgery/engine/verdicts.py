"""From the answers of two models to a verdict: proven, wrong, or nothing learnt, and why.

Neither false alarms (nothing to see on both sides is no difference) nor false comfort (two models that
answer nothing, or the same whatever they are fed, are not proven).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.core.comparison import (
    FLOAT32_REORDERED,
    TensorComparison,
    Tolerance,
    compare_outputs,
    merge_samples,
)
from graphopt.core.detections import DetectionComparison
from graphopt.core.tensors import Array, Dim
from graphopt.surgery.graph_pass import Pass
from graphopt.surgery.report import Status

Answers = Sequence[Mapping[str, Array]]
"""Outputs by name, one mapping per input."""


_MOST = 0.5
"""An output with a larger share of NaN says nothing."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement on one candidate; fields as in ``report.Verification``."""

    status: Status
    reason: str = ""
    samples: int = 0
    tolerance: Tolerance | None = None
    comparisons: tuple[TensorComparison, ...] = ()
    detections: tuple[DetectionComparison, ...] = ()
    kind: str = ""

    def with_note(self, note: str) -> "Verdict":
        """Return it with another clause of the reason."""
        return dataclasses.replace(self, reason="; ".join(filter(None, (self.reason, note))))


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
    what = item.name if item.name.startswith("input ") else f"output {item.name}"
    if item.max_abs is None:
        return f"{what}: {item.outcome.value}, {item.detail}"
    return (
        f"{what} differs by up to {item.max_abs:.3g}, {item.margin:.3g} times the tolerance "
        f"(atol {tolerance.atol:g}, rtol {tolerance.rtol:g}, peak {tolerance.peak:g}); {item.detail}"
    )


def judge_answers(expected: Answers, got: Answers, tolerance: Tolerance) -> Verdict:
    """Compare what two models answered to the same inputs.

    An element that is NaN on both sides is passed over, an output without elements on both sides too,
    in that sample; an output of which nothing is left in any sample proves nothing.
    """
    pairs = [_without_shared_nan(mine, theirs) for mine, theirs in zip(expected, got, strict=True)]
    samples = [compare_outputs(mine, theirs, tolerance) for mine, theirs in pairs]
    kept = [tuple(item for item in sample if not _empty_alike(item)) for sample in samples]
    found = merge_samples([sample for sample in kept if sample])
    wrong = next((item for item in found if not item.passed), None)
    verdict = Verdict(
        status=Status.FAILED if wrong else Status.PROVEN,
        reason=describe(wrong, tolerance) if wrong else "",
        samples=len(expected),
        tolerance=tolerance,
        comparisons=found,
    )
    if wrong:
        return verdict
    if silent := [name for name in expected[0] if all(_says_nothing(sample[name]) for sample in expected)]:
        one = expected[0][silent[0]]
        detail = "it has no elements" if one.size == 0 else "most of its elements are NaN"
        reason = f"output {silent[0]} of the source proves nothing: {detail}, in every sample"
        return dataclasses.replace(verdict, status=Status.UNPROVEN, reason=reason)
    return verdict.with_note(_nan_note(expected))


def constant_outputs(samples: Answers) -> list[str]:
    """Return the outputs that were the same in every sample, as far as their sizes allow to tell."""
    first, *others = samples
    return [name for name in first if all(_alike(first[name], other[name]) for other in others)]


def contradicted_shape(declared: Mapping[str, tuple[Dim, ...] | None], answers: Answers) -> str:
    """Return how an output's shape contradicts what the model declares; empty when none does."""
    for sample in answers:
        for name, dims in declared.items():
            shape = sample[name].shape if name in sample else None
            if dims is None or shape is None:
                continue
            fits = len(dims) == len(shape) and all(
                not isinstance(dim, int) or dim == size for dim, size in zip(dims, shape, strict=True)
            )
            if not fits:
                text = ", ".join("?" if dim is None else str(dim) for dim in dims)
                return f"output {name} is declared as [{text}] and comes as {list(shape)}"
    return ""


def _without_shared_nan(
    expected: Mapping[str, Array], got: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    mine, theirs = dict(expected), dict(got)
    for name, array in expected.items():
        other = got.get(name)
        if other is None or other.shape != array.shape or array.dtype.kind not in "fc":
            continue
        both = np.isnan(array) & (np.isnan(other) if other.dtype.kind in "fc" else False)
        if both.any():
            mine[name], theirs[name] = _filled(array, both), _filled(other, both)
    return mine, theirs


def _filled(array: Array, where: Array) -> Array:
    filled = array.copy()
    filled[where] = 0
    return filled


def _empty_alike(item: TensorComparison) -> bool:
    return item.outcome.name == "EMPTY"


def _says_nothing(array: Array) -> bool:
    return array.size == 0 or (array.dtype.kind in "fc" and float(np.isnan(array).mean()) > _MOST)


def _nan_note(samples: Answers) -> str:
    notes = []
    for name in samples[0]:
        arrays = [sample[name] for sample in samples]
        total = sum(array.size for array in arrays)
        count = sum(int(np.isnan(array).sum()) for array in arrays if array.dtype.kind in "fc")
        if count:
            notes.append(f"{count} of {total} elements of {name} are NaN on both sides")
        if any(array.size == 0 for array in arrays):
            notes.append(f"{name} has no elements in some samples")
    return "; ".join(notes)


def _alike(one: Array, two: Array) -> bool:
    if one.shape[1:] != two.shape[1:] or one.ndim != two.ndim:
        return False
    if one.shape != two.shape:  # other batches of samples: look at those both have
        rows = min(len(one), len(two))
        one, two = one[:rows], two[:rows]
        return one.size > 0 and bool(np.array_equal(one, two, equal_nan=one.dtype.kind in "fc"))
    return bool(np.array_equal(one, two, equal_nan=one.dtype.kind in "fc"))
