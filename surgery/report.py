"""What a rewrite did, as plain data: nothing here computes."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphopt.core.comparison import TensorComparison, Tolerance
from graphopt.core.detections import DetectionComparison
from graphopt.core.errors import VerificationError
from graphopt.core.tensors import Array
from graphopt.surgery.model_pass import Change, Refusal

REPORT_VERSION = 1


class Verify(enum.Enum):
    """When the model's numbers are compared with the source's."""

    FINAL = "final"
    """Once, after the last pass."""
    EACH = "each"
    """After every pass that changed something."""
    OFF = "off"
    """Never; the report says so."""


class Status(enum.Enum):
    """What verification found."""

    PROVEN = "proven"
    UNPROVEN = "unproven"
    FAILED = "failed"
    OFF = "off"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Inputs to compare with.

    Attributes:
        feeds: one mapping input name -> array per run.
        kind: where they come from, for the report: ``"seeded structured"``, ``"recipe samples"``.
    """

    feeds: tuple[Mapping[str, Array], ...]
    kind: str


@dataclass(frozen=True, kw_only=True)
class PassReport:
    """What one pass did.

    Attributes:
        name: of the pass.
        options: as plain data.
        effect: ``exact``, ``approximate`` or ``target only``.
        applied: every change, in the order made.
        declined: places left alone, and why, as they stand after the pass.
        nodes_before: of the main graph and its subgraphs.
        nodes_after: as ``nodes_before``.
        seconds: of the pass alone.
        max_abs: largest error of an output against the source, after this pass (``Verify.EACH``).
        warning: what the user should look at; empty when there is nothing.
        plugin: sha256 of the user's file that defines the pass; empty for one of graphopt.
    """

    name: str
    options: Mapping[str, Any]
    effect: str
    applied: tuple[Change, ...]
    declined: tuple[Refusal, ...]
    nodes_before: int
    nodes_after: int
    seconds: float
    max_abs: float | None = None
    warning: str = ""
    plugin: str = ""

    @property
    def modified(self) -> bool:
        """Whether the model changed, lineage stamps aside."""
        return bool(self.applied)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and reports."""
        return {
            "name": self.name,
            "options": dict(self.options),
            "effect": self.effect,
            "modified": self.modified,
            "applied": [vars(change) for change in self.applied],
            "declined": [vars(refusal) for refusal in self.declined],
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "seconds": self.seconds,
            "max_abs": self.max_abs,
            "warning": self.warning,
            "plugin": self.plugin,
        }


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether the numbers stayed.

    Attributes:
        mode: when they were compared.
        status: the verdict.
        reason: why it is not ``PROVEN``, or what to know although it is.
        samples: how many inputs were run.
        kind: where they come from.
        tolerance: what was allowed; None when nothing was compared.
        comparisons: the worst of all samples, per output.
        detections: outputs compared as sets, over all samples; each is one of ``comparisons`` too.
        guilty: the pass that changed the numbers; empty when there is none.
        seconds: of all runs and comparisons.
    """

    mode: Verify
    status: Status
    reason: str = ""
    samples: int = 0
    kind: str = ""
    tolerance: Tolerance | None = None
    comparisons: tuple[TensorComparison, ...] = ()
    detections: tuple[DetectionComparison, ...] = ()
    guilty: str = ""
    seconds: float = 0.0

    @property
    def max_abs(self) -> float | None:
        """Largest absolute error of all outputs; None when nothing could be compared."""
        return max((item.max_abs for item in self.comparisons if item.max_abs is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and reports."""
        return {
            "mode": self.mode.value,
            "status": self.status.value,
            "reason": self.reason,
            "samples": self.samples,
            "kind": self.kind,
            "tolerance": vars(self.tolerance) if self.tolerance else None,
            "comparisons": [item.to_json() for item in self.comparisons],
            "detections": [item.to_json() for item in self.detections],
            "max_abs": self.max_abs,
            "guilty": self.guilty,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, kw_only=True)
class RewriteReport:
    """What a rewrite did to a file.

    Attributes:
        source: the input.
        output: the result; None for a dry run.
        source_sha256: of the input.
        output_sha256: of the result; empty when none was written.
        nodes_before: of the main graph and its subgraphs.
        nodes_after: as ``nodes_before``.
        bytes_before: size of the input file; external data not counted.
        bytes_after: size of the result; 0 when none was written.
        ops_before: number of nodes per operator.
        ops_after: as ``ops_before``.
        passes: in the order run.
        verification: whether the numbers stayed.
        dropped: passes left out because they changed the numbers (``keep_proven``).
        seconds: of everything.
    """

    source: Path
    output: Path | None
    source_sha256: str
    output_sha256: str
    nodes_before: int
    nodes_after: int
    bytes_before: int
    bytes_after: int
    ops_before: Mapping[str, int]
    ops_after: Mapping[str, int]
    passes: tuple[PassReport, ...]
    verification: Verification
    seconds: float
    dropped: tuple[str, ...] = field(default=())

    @property
    def modified(self) -> bool:
        """Whether any pass changed the model."""
        return any(item.modified for item in self.passes)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and reports."""
        return {
            "report_version": REPORT_VERSION,
            **vars(self),
            "source": str(self.source),
            "output": str(self.output) if self.output else None,
            "ops_before": dict(self.ops_before),
            "ops_after": dict(self.ops_after),
            "modified": self.modified,
            "passes": [item.to_json() for item in self.passes],
            "verification": self.verification.to_json(),
            "dropped": list(self.dropped),
        }


class RewriteError(VerificationError):
    """A rewrite was refused: the numbers moved, or nothing proves that they did not.

    Args:
        message: which pass, which output, by how much, and what to do next.
        report: everything up to there; its ``output_sha256`` is empty, as no file was written.
    """

    def __init__(self, message: str, report: RewriteReport) -> None:
        super().__init__(message)
        self.report = report
