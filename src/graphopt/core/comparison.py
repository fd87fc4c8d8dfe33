"""Compare tensors of a candidate with those of a reference; nothing is skipped.

NaN, infinities, a missing tensor, another shape or dtype are failures with their own name, not
values to be ignored.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.mapped import BLOCK_BYTES, blocks
from graphopt.core.tensors import Array


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Allowed: ``|candidate - reference| <= atol + rtol * |reference| + peak * max|reference|``.

    Attributes:
        atol: in the unit of the tensor (pixels for boxes, 1 for probabilities).
        rtol: fraction of each reference element, 0 to 0.1; more than that says nothing.
        peak: fraction of the tensor's largest magnitude, 0 to 0.01: what float noise scales with.
        why: where the numbers come from; printed in the report.
    """

    atol: float
    rtol: float
    why: str
    peak: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.atol < math.inf and 0 <= self.rtol <= 0.1 and 0 <= self.peak <= 0.01):
            raise ValueError(f"tolerance out of range: atol {self.atol}, rtol {self.rtol}, peak {self.peak}")


FLOAT32_REORDERED = Tolerance(
    atol=1e-7,
    rtol=1e-4,
    peak=1e-5,
    why="float32 with sums in another order: about 100 roundings of 2^-24, relative to the largest value",
)


_OVER = 1e9
"""Stands for "infinitely over the allowance": JSON has no infinity."""
_LARGEST = float(np.finfo(np.float64).max)


CANDIDATE_LACKS = "the candidate lacks this output"
REFERENCE_LACKS = "the reference lacks this output"


class Outcome(enum.Enum):
    """What a comparison of one tensor found."""

    MATCH = "match"
    VALUES = "values differ"
    SHAPE = "shape differs"
    DTYPE = "dtype differs"
    NOT_FINITE = "not finite"
    MISSING = "missing"
    EMPTY = "empty"


@dataclass(frozen=True, kw_only=True)
class TensorComparison:
    """One tensor, compared.

    Attributes:
        name: tensor name.
        outcome: MATCH or the first reason it failed.
        max_abs: largest absolute difference; None where values could not be compared.
        max_rel: largest difference relative to the reference element (zeros left out).
        cosine: cosine of the angle between both as flat vectors; 1.0 when equal.
        margin: largest error over its allowance; at most 1.0 passes.
        worst: index of the element with the largest margin.
        detail: the failure in words; empty for a match.
    """

    name: str
    outcome: Outcome
    max_abs: float | None = None
    max_rel: float | None = None
    cosine: float | None = None
    margin: float | None = None
    worst: tuple[int, ...] | None = None
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the outcome is MATCH."""
        return self.outcome is Outcome.MATCH

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and reports."""
        return {
            "name": self.name,
            "outcome": self.outcome.name,
            "max_abs": self.max_abs,
            "max_rel": self.max_rel,
            "cosine": self.cosine,
            "margin": self.margin,
            "worst": list(self.worst) if self.worst is not None else None,
            "detail": self.detail,
        }


SAME_NODES = "made by the same nodes"
"""Detail of a match that needed no numbers."""
OWN_INPUTS = "given the source's inputs"
"""Detail of a match of one node on its own."""


def compare_tensor(name: str, reference: Array, candidate: Array, tolerance: Tolerance) -> TensorComparison:
    """Compare one tensor; both arrays are left as they are.

    Integers, booleans and strings must be equal. A non-finite element passes only where the
    reference holds the same infinity; NaN never passes.
    """
    if reference.dtype != candidate.dtype:
        detail = f"dtype is {candidate.dtype}, reference {reference.dtype}"
        return TensorComparison(name=name, outcome=Outcome.DTYPE, detail=detail)
    if reference.shape != candidate.shape:
        detail = f"shape is {list(candidate.shape)}, reference {list(reference.shape)}"
        return TensorComparison(name=name, outcome=Outcome.SHAPE, detail=detail)
    if reference.size == 0:
        return TensorComparison(
            name=name, outcome=Outcome.EMPTY, detail=f"no elements to compare, shape {list(reference.shape)}"
        )
    if not _is_numeric(reference.dtype):
        return _compare_exactly(name, reference, candidate)
    return _compare_numbers(name, reference, candidate, tolerance)


def compare_outputs(
    reference: Mapping[str, Array], candidate: Mapping[str, Array], tolerance: Tolerance
) -> tuple[TensorComparison, ...]:
    """Compare two sets of named outputs; a tensor only one side has is MISSING."""
    results: list[TensorComparison] = []
    for name in [*reference, *(name for name in candidate if name not in reference)]:
        if name not in candidate:
            results.append(TensorComparison(name=name, outcome=Outcome.MISSING, detail=CANDIDATE_LACKS))
        elif name not in reference:
            results.append(TensorComparison(name=name, outcome=Outcome.MISSING, detail=REFERENCE_LACKS))
        else:
            results.append(compare_tensor(name, reference[name], candidate[name], tolerance))
    return tuple(results)


def compare_rows(
    reference: Mapping[str, Array],
    candidate: Mapping[str, Array],
    tolerance: Tolerance,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[TensorComparison, ...]:
    """Compare two sets of outputs over many samples, a block of rows at a time.

    Little memory is needed however large the outputs are. What is measured against a whole tensor
    (``peak``, cosine) is measured in each block; up to ``block_bytes`` an output is one block.

    Args:
        reference: by name; axis 0 is the sample.
        candidate: as ``reference``.
        tolerance: as ``compare_tensor``.
        block_bytes: of an output in memory at a time.
    """
    results: list[TensorComparison] = []
    for name in [*reference, *(name for name in candidate if name not in reference)]:
        pair = [side[name] for side in (reference, candidate) if name in side]
        if len(pair) < 2 or pair[0].shape != pair[1].shape or 0 in pair[0].shape:
            left_side, right_side = (
                {name: side[name]} if name in side else {} for side in (reference, candidate)
            )
            results += compare_outputs(left_side, right_side, tolerance)
            continue
        parts: list[tuple[TensorComparison, ...]] = []
        for part, (left, right) in blocks(pair, block_bytes=block_bytes):
            found = compare_tensor(name, left, right, tolerance)
            if part.start and found.worst is not None:
                found = replace(
                    found,
                    worst=(found.worst[0] + part.start, *found.worst[1:]),
                    detail=found.detail and f"in rows {part.start} to {part.stop - 1}, {found.detail}",
                )
            parts.append((found,))
        results += merge_samples(parts)
    return tuple(results)


def merge_samples(results: list[tuple[TensorComparison, ...]]) -> tuple[TensorComparison, ...]:
    """Reduce the comparisons of several samples to the worst per tensor.

    A failure beats a match, then the larger margin wins; ``max_abs`` and ``max_rel`` are the
    largest, ``cosine`` the smallest over all samples.
    """
    by_name: dict[str, list[TensorComparison]] = {}
    for sample in results:
        for item in sample:
            by_name.setdefault(item.name, []).append(item)
    return tuple(_worst_of(items) for items in by_name.values())


def _worst_of(items: list[TensorComparison]) -> TensorComparison:
    worst = max(items, key=lambda item: (not item.passed, item.margin is None, item.margin or 0.0))

    def extreme(field: str, pick: Any) -> float | None:
        values = [getattr(item, field) for item in items if getattr(item, field) is not None]
        return pick(values) if values else None

    return TensorComparison(
        name=worst.name,
        outcome=worst.outcome,
        max_abs=extreme("max_abs", max),
        max_rel=extreme("max_rel", max),
        cosine=extreme("cosine", min),
        margin=worst.margin,
        worst=worst.worst,
        detail=worst.detail,
    )


def _compare_exactly(name: str, reference: Array, candidate: Array) -> TensorComparison:
    different = np.asarray(reference != candidate)
    if not different.any():
        return TensorComparison(name=name, outcome=Outcome.MATCH, margin=0.0, cosine=1.0)
    worst = tuple(int(i) for i in np.argwhere(different)[0])
    detail = f"{int(different.sum())} of {different.size} elements differ, first at {list(worst)}"
    return TensorComparison(name=name, outcome=Outcome.VALUES, worst=worst, detail=detail)


def _is_numeric(dtype: np.dtype[Any]) -> bool:
    # The second half: bfloat16, int4 and their like, which numpy itself does not know.
    return np.issubdtype(dtype, np.number) or np.can_cast(dtype, np.float64)


def _is_exact(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biu" or dtype.name.startswith(("int", "uint"))


def _compare_numbers(name: str, reference: Array, candidate: Array, tolerance: Tolerance) -> TensorComparison:
    wide = np.complex128 if np.iscomplexobj(reference) else np.float64
    expected = reference.astype(wide)
    got = candidate.astype(wide)
    same_infinity = np.isinf(expected) & (expected == got)
    bad = ~(np.isfinite(got) & np.isfinite(expected)) & ~same_infinity
    if bad.any():
        worst = tuple(int(i) for i in np.argwhere(bad)[0])
        detail = (
            f"{int(bad.sum())} of {bad.size} elements are not finite, first at {list(worst)}: "
            f"candidate {got[worst]}, reference {expected[worst]}"
        )
        return TensorComparison(name=name, outcome=Outcome.NOT_FINITE, worst=worst, detail=detail)
    expected = np.where(same_infinity, 0, expected)
    got = np.where(same_infinity, 0, got)
    with np.errstate(over="ignore"):  # of two opposite giants
        error = np.minimum(np.abs(got - expected), _LARGEST)
    magnitude = np.abs(expected)
    if _is_exact(reference.dtype):
        different = np.asarray(reference != candidate)
        error = np.where(different, np.maximum(error, 1), 0)  # large integers are equal as float64
        margin = np.where(different, _OVER, 0.0)
    else:
        margin = _margins(error, magnitude, tolerance)
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(margin)), margin.shape))
    worst_margin = float(margin[worst])
    passed = worst_margin <= 1.0
    return TensorComparison(
        name=name,
        outcome=Outcome.MATCH if passed else Outcome.VALUES,
        max_abs=float(error.max()),
        max_rel=float(_ratio(error, magnitude, otherwise=0.0).max()),
        cosine=_cosine(expected, got),
        margin=worst_margin,
        worst=worst,
        detail=""
        if passed
        else f"at {list(worst)}: candidate {candidate[worst]}, reference {reference[worst]}",
    )


def _margins(
    error: NDArray[np.float64], magnitude: NDArray[np.float64], tolerance: Tolerance
) -> NDArray[np.float64]:
    allowed = tolerance.atol + tolerance.rtol * magnitude + tolerance.peak * float(magnitude.max())
    return np.where(error == 0, 0.0, np.minimum(_ratio(error, allowed, otherwise=_OVER), _OVER))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64], *, otherwise: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        ratio = np.divide(part, whole, out=np.full_like(part, otherwise), where=whole > 0)
    return np.minimum(ratio, _LARGEST)


def _cosine(left: Any, right: Any) -> float:
    a, b = (values.ravel() / (float(np.abs(values).max()) or 1.0) for values in (left, right))
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if norms == 0:
        return 1.0 if np.array_equal(a, b) else 0.0
    return float(np.clip(np.vdot(a, b).real / norms, -1.0, 1.0))
