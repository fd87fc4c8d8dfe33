"""What a comparison of stages found, as data for tables, JSON and pages."""

from dataclasses import dataclass
from typing import Any, ClassVar

from graphopt.core.comparison import CANDIDATE_LACKS, REFERENCE_LACKS, TensorComparison, Tolerance
from graphopt.core.detections import DetectionComparison


@dataclass(frozen=True, kw_only=True)
class Flips:
    """How many decisions of logits changed; the verdict stays with the tolerance.

    Attributes:
        flipped: attributes on the other side of zero, or pixels of another class.
        decisions: all that were compared.
    """

    flipped: int
    decisions: int


@dataclass(frozen=True, kw_only=True)
class OutputComparison:
    """One output of one candidate, the worst over all samples.

    Attributes:
        tensor: numbers and verdict.
        role: what the task calls the output; empty when unknown.
        flips: changed decisions, for outputs with role ``attributes`` or ``masks``; None elsewhere,
            and when no sample could be compared value by value.
        detections: of outputs with the roles ``dets`` and ``labels``, which are compared as one set.
    """

    tensor: TensorComparison
    role: str = ""
    flips: Flips | None = None
    detections: DetectionComparison | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        flips = None
        if self.flips is not None:
            flips = {"flipped": self.flips.flipped, "decisions": self.flips.decisions}
        detections = self.detections.to_json() if self.detections is not None else None
        return {**self.tensor.to_json(), "role": self.role, "flips": flips, "detections": detections}


@dataclass(frozen=True, kw_only=True)
class CandidateComparison:
    """One candidate stage against the reference.

    Attributes:
        name: as the user gave it.
        outputs: the reference's outputs in its order, then those that only the candidate has.
    """

    name: str
    outputs: tuple[OutputComparison, ...]

    @property
    def passed(self) -> bool:
        """Whether there is an output and every one matches."""
        return bool(self.outputs) and all(output.tensor.passed for output in self.outputs)

    @property
    def max_abs(self) -> float | None:
        """Largest absolute error over all outputs; None when nothing could be compared."""
        return max((o.tensor.max_abs for o in self.outputs if o.tensor.max_abs is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """Every candidate against one reference, on the same inputs. Ask ``passed`` for the verdict.

    Attributes:
        reference: name of the reference stage.
        candidates: in the order given.
        samples: how many inputs each stage was fed.
        sample_kind: what the inputs were, e.g. ``"7 images of PETA"``.
        tolerance: what was allowed, and why.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "candidate",
        "output",
        "outcome",
        "max abs",
        "max rel",
        "cosine",
        "margin",
        "flips",
        "detail",
    )

    reference: str
    candidates: tuple[CandidateComparison, ...]
    samples: int
    sample_kind: str
    tolerance: Tolerance

    @property
    def passed(self) -> bool:
        """Whether something was compared and every output of every candidate matches."""
        return self.samples > 0 and bool(self.candidates) and all(item.passed for item in self.candidates)

    @property
    def detections(self) -> tuple[DetectionComparison, ...]:
        """What was compared as sets, per candidate."""
        outputs = (output for item in self.candidates for output in item.outputs)
        return tuple(output.detections for output in outputs if output.detections is not None)

    @property
    def are_named_apart(self) -> bool:
        """Whether two stages each have outputs that the other lacks: of a detector, perhaps the same ones."""
        return any(
            {CANDIDATE_LACKS, REFERENCE_LACKS} <= {output.tensor.detail for output in item.outputs}
            for item in self.candidates
        )

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Return one row per candidate and output, in the order of ``COLUMNS``."""
        return tuple(_row(item.name, output) for item in self.candidates for output in item.outputs)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and reports."""
        return {
            "reference": self.reference,
            "passed": self.passed,
            "samples": self.samples,
            "sample_kind": self.sample_kind,
            "tolerance": {
                "atol": self.tolerance.atol,
                "rtol": self.tolerance.rtol,
                "peak": self.tolerance.peak,
                "why": self.tolerance.why,
            },
            "candidates": [
                {
                    "name": item.name,
                    "passed": item.passed,
                    "outputs": [output.to_json() for output in item.outputs],
                }
                for item in self.candidates
            ],
        }


def _row(candidate: str, output: OutputComparison) -> tuple[str, ...]:
    tensor = output.tensor
    flips = "" if output.flips is None else f"{output.flips.flipped} of {output.flips.decisions}"
    return (
        candidate,
        tensor.name,
        tensor.outcome.value,
        _number(tensor.max_abs),
        _number(tensor.max_rel),
        "" if tensor.cosine is None else f"{tensor.cosine:.6f}",
        _number(tensor.margin),
        flips,
        tensor.detail or (output.detections.summary if output.detections is not None else ""),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
