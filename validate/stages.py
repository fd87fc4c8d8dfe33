"""Compare stages: the same inputs through a reference and its candidates, output by output."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from graphopt.core.comparison import TensorComparison, Tolerance, compare_outputs, merge_samples
from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import (
    DetectionComparison,
    Detections,
    detections_of_roles,
    merge_detections,
)
from graphopt.core.errors import UsageError
from graphopt.core.session import Session
from graphopt.core.tensors import Array, TensorSpec
from graphopt.validate.batches import run_in_batches
from graphopt.validate.report import CandidateComparison, ComparisonReport, Flips, OutputComparison


def compare_sessions(
    reference: Session,
    candidates: Mapping[str, Session],
    samples: Iterable[Mapping[str, Array]],
    tolerance: Tolerance,
    *,
    sample_kind: str,
    reference_name: str = "reference",
    outputs: tuple[TensorSpec, ...] = (),
    candidate_outputs: Mapping[str, tuple[TensorSpec, ...]] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> ComparisonReport:
    """Run every sample through all sessions and compare each candidate with the reference.

    A session whose fixed batch differs from a sample's is fed in batches of its own. Nothing is
    skipped: NaN, another shape or dtype, and a missing output are failures in the report.

    Args:
        reference: what is right by definition; runs first on each sample.
        candidates: sessions by the name shown in the report.
        samples: one array [n, ...] per input and sample; consumed once, never held together.
        tolerance: allowed difference, for every output.
        sample_kind: what the samples are, in words; printed with the verdict.
        reference_name: shown in the report.
        outputs: specs with roles, from a recipe or a sidecar; a role ``attributes`` adds a count of
            flipped signs, ``masks`` of pixels whose class changes; ``dets`` and ``labels`` are compared
            as sets. Empty: as the reference session declares them.
        candidate_outputs: the same of candidates, by their names: a detector may call its outputs
            otherwise. None, or none given: as the candidate's session declares them, else as the
            reference's.
        on_progress: called with the number of samples done.

    Raises:
        UsageError: no candidate, no sample, or a candidate with other inputs than the reference.
    """
    if not candidates:
        raise UsageError("nothing to compare: give at least one candidate stage besides the reference")
    for name, session in candidates.items():
        _check_inputs(reference, session, candidate=name, reference_name=reference_name)
    own = candidate_outputs or {}
    tallies = {
        name: _Tally(outputs or reference.outputs, own.get(name) or session.outputs)
        for name, session in candidates.items()
    }
    count = 0
    for feeds in samples:
        expected = run_in_batches(reference, feeds)
        for name, session in candidates.items():
            tallies[name].add(expected, run_in_batches(session, feeds), tolerance)
        count += 1
        if on_progress is not None:
            on_progress(count)
    if count == 0:
        raise UsageError(f"nothing was compared: there are no samples ({sample_kind})")
    return ComparisonReport(
        reference=reference_name,
        candidates=tuple(
            CandidateComparison(name=name, outputs=tally.outputs()) for name, tally in tallies.items()
        ),
        samples=count,
        sample_kind=sample_kind,
        tolerance=tolerance,
    )


class _Tally:
    """What one candidate has shown so far."""

    def __init__(self, specs: tuple[TensorSpec, ...], own: tuple[TensorSpec, ...]) -> None:
        self._roles = {spec.name: spec.role for spec in specs}
        self._results: list[tuple[TensorComparison, ...]] = []
        self._flips: dict[str, Flips] = {}
        self._expected = detections_of_roles(specs)
        self._got = detections_of_roles(own) or self._expected
        self._sets: list[DetectionComparison] = []

    def add(self, expected: Mapping[str, Array], got: Mapping[str, Array], tolerance: Tolerance) -> None:
        expected, got = self._without_sets(expected, got)
        self._results.append(compare_outputs(expected, got, tolerance))
        for name, array in expected.items():
            if name not in got or got[name].shape != array.shape:
                continue
            role = self._roles.get(name)
            if role == "attributes":
                flipped, decisions = count_sign_flips(array, got[name]), array.size
            elif role == "masks" and _holds_classes(array):
                flipped, decisions = count_class_flips(array, got[name]), array.size // array.shape[1]
            else:
                continue
            before = self._flips.get(name, Flips(flipped=0, decisions=0))
            self._flips[name] = Flips(
                flipped=before.flipped + flipped, decisions=before.decisions + decisions
            )

    def _without_sets(
        self, expected: Mapping[str, Array], got: Mapping[str, Array]
    ) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """Compare the detections; return what else there is."""
        if self._expected is None or self._got is None:
            return expected, got
        first = sum(item.images for item in self._sets)
        mine, its = _detected(expected, self._expected), _detected(got, self._got)
        if mine is None or its is None:
            return expected, got  # an output is missing, and is called so
        self._sets.append(compare_detections(mine, its, self._expected, first_image=first))
        return _others(expected, self._expected), _others(got, self._got)

    def outputs(self) -> tuple[OutputComparison, ...]:
        found = self._compared()
        if not self._sets:
            return found
        whole = merge_detections(self._sets)
        return (OutputComparison(tensor=whole.as_tensor(), role="dets", detections=whole), *found)

    def _compared(self) -> tuple[OutputComparison, ...]:
        return tuple(
            OutputComparison(
                tensor=tensor, role=self._roles.get(tensor.name, ""), flips=self._flips.get(tensor.name)
            )
            for tensor in merge_samples(self._results)
        )


def _detected(outputs: Mapping[str, Array], what: Detections) -> tuple[Array, Array | None] | None:
    if what.dets not in outputs or (what.labels and what.labels not in outputs):
        return None
    return outputs[what.dets], outputs[what.labels] if what.labels else None


def _others(outputs: Mapping[str, Array], what: Detections) -> dict[str, Array]:
    return {name: array for name, array in outputs.items() if name not in (what.dets, what.labels)}


def count_sign_flips(reference: Array, candidate: Array) -> int:
    """Return how many logits are above zero on one side only; NaN counts as not above.

    Args:
        reference: logits of any shape.
        candidate: same shape.
    """
    positive = np.asarray(reference, dtype=np.float64) > 0
    return int(np.count_nonzero(positive != (np.asarray(candidate, dtype=np.float64) > 0)))


def count_class_flips(reference: Array, candidate: Array) -> int:
    """Return how many places have their largest value in another class; of equal ones the first counts.

    Args:
        reference: logits [N, K, ...].
        candidate: same shape.
    """
    return int(np.count_nonzero(np.argmax(reference, axis=1) != np.argmax(candidate, axis=1)))


def _holds_classes(array: Array) -> bool:
    """Whether it is [N, K, H, W] of logits; masks of detections are not per class."""
    return array.ndim == 4 and array.shape[1] > 1 and np.issubdtype(array.dtype, np.floating)


def _check_inputs(reference: Session, session: Session, *, candidate: str, reference_name: str) -> None:
    wanted = {spec.name: spec for spec in reference.inputs}
    found = {spec.name: spec for spec in session.inputs}
    if wanted.keys() != found.keys():
        raise UsageError(
            f"{candidate} cannot be compared with {reference_name}: its inputs are {sorted(found)}, "
            f"the reference's are {sorted(wanted)}; inputs are matched by name"
        )
    for name, spec in wanted.items():
        other = found[name]
        if other.dtype != spec.dtype or len(other.shape) != len(spec.shape):
            raise UsageError(
                f"{candidate} cannot be compared with {reference_name}: input {name} is {other.dtype} "
                f"{other.shape_text}, in the reference {spec.dtype} {spec.shape_text}"
            )
