"""What a pipeline found: one row per stage, and whether all of it holds."""

from dataclasses import asdict, dataclass, field
from typing import Any

from graphopt.core.words import counted

PIPELINE_REPORT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage of the table.

    Attributes:
        stage: its name.
        verdict: outcome of the comparison with the reference; empty when there was none.
        max_error: largest absolute difference of any output; None when not compared.
        margin: largest error over its allowance; None for an estimate, which has none.
        failed: whether the comparison failed.
        metric: headline figure, a fraction; None without labels or without a run.
        change: of the metric against the reference, in points; negative is a loss.
        drop_failed: whether the loss is beyond the gate.
        flips: decisions that differ from the reference; None when not compared.
        bytes: size of the stage's files.
        seconds: of making the stage and running it over the data.
        sha256: of the stage's main file.
        reused: whether an earlier run's result still held.
        note: one line for people.
        estimate: whether it stands for a chip that was not asked; it never fails a run.
        peak_bytes: memory that running the stage needed beyond what the process held before; None when
            unknown.
        agreement: the metric with the reference's detections in place of labels, a fraction; None for the
            reference, for other tasks, and where the reference is sure of nothing.
    """

    stage: str
    verdict: str = ""
    max_error: float | None = None
    margin: float | None = None
    failed: bool = False
    metric: float | None = None
    change: float | None = None
    drop_failed: bool = False
    flips: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    sha256: str = ""
    reused: bool = False
    note: str = ""
    estimate: bool = False
    peak_bytes: int | None = None
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class BatchCheck:
    """Whether a batch size gives the same predictions as the rewritten model.

    Attributes:
        batch: the size.
        images: how many images were run; no multiple of ``batch``, so that the last one is partial.
        max_error: largest absolute difference.
        passed: within the recipe's tolerance, and no more decisions flipped than the task allows.
        flips: decisions that differ.
    """

    batch: int
    images: int
    max_error: float | None
    passed: bool
    flips: int = 0

    @property
    def text(self) -> str:
        """One sentence."""
        verdict = "same predictions" if self.passed else "DIFFERENT predictions"
        if self.passed and self.flips:
            verdict = f"same predictions but for {self.flips} decisions on the edge"
        error = "" if self.max_error is None else f", largest difference {self.max_error:.3g}"
        return (
            f"batch {self.batch}: {verdict} as the rewritten model on {counted(self.images, 'image')} "
            f"(last batch {self.images % self.batch or self.batch} of {self.batch}){error}"
        )


@dataclass(frozen=True, kw_only=True)
class PipelineReport:
    """Everything a run found, as plain data.

    Attributes:
        recipe: name.
        title: of the recipe.
        reference: label of the stage that all others are compared with.
        metric: name of the headline figure; empty without labels.
        samples: how many images or inputs each stage ran.
        sample_kind: what they are.
        tolerance: in words.
        max_drop: the gate, in points.
        stages: the table.
        batches: agreement of batch sizes.
        rewrite: the rewrite's report as JSON.
        scores: every stage's figures, by stage.
        published: figures from public sources, never ours.
        commands: what to type on the device box, and here afterwards.
        device_note: what the commands are for.
        environment: versions.
        folder: of the run.
        notes: what was left out and why.
        refused: why targets would not take the model.
    """

    recipe: str
    title: str
    reference: str
    metric: str
    samples: int
    sample_kind: str
    tolerance: str
    max_drop: float
    stages: tuple[StageRow, ...]
    batches: tuple[BatchCheck, ...]
    rewrite: dict[str, Any]
    scores: dict[str, Any]
    published: tuple[dict[str, Any], ...]
    commands: tuple[str, ...]
    device_note: str
    environment: dict[str, str]
    folder: str
    notes: tuple[str, ...] = field(default=())
    refused: tuple[str, ...] = ()

    @property
    def has_agreement(self) -> bool:
        """Whether stages were also scored against the reference in place of labels."""
        return any(row.agreement is not None for row in self.stages)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the run failed, a sentence each; empty when it passed."""
        found = [
            f"{row.stage} differs from {self.reference}: {row.verdict}, largest error {row.max_error}"
            + (f", {row.flips} decisions are others" if row.flips else "")
            for row in self.stages
            if row.failed
        ]
        found += [
            f"{row.stage} loses {-(row.change or 0):.2f} points of {self.metric}, more than {self.max_drop}"
            for row in self.stages
            if row.drop_failed
        ]
        found += [check.text for check in self.batches if not check.passed]
        found += self.refused
        return tuple(found)

    @property
    def ok(self) -> bool:
        """Whether every comparison, the gate and the batch sizes hold."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``report.json`` and ``--json``."""
        return {
            "report_version": PIPELINE_REPORT_VERSION,
            "ok": self.ok,
            "problems": list(self.problems),
            **asdict(self),
        }
