"""What a pipeline is asked to do."""

from dataclasses import dataclass
from pathlib import Path

from graphopt.compile.target import list_targets
from graphopt.core.errors import UsageError

DEFAULT_TARGETS = ("onnxruntime", "openvino", "atc")


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """What a run works on.

    Attributes:
        folder: of the run.
        checkpoint: trained weights.
        onnx: a raw graph exported elsewhere, instead of exporting one.
        demo: make a seeded checkpoint and data set.
        data: data set folder; None runs without a metric.
        results: folder that the device tools wrote.
        annotations: the file of the labels, where the data set's format has one.
        limit: only the first images.
        workers: number of threads that prepare images; None for one per processor.
        targets: compile targets; one that is not installed is left out and named.
        batches: sizes to make, each compared with the rewritten model.
        soc: chip for ATC.
        max_drop: largest allowed loss of the metric, in points.
        estimates: whether half precision is estimated too.
    """

    folder: Path
    checkpoint: Path | None = None
    onnx: Path | None = None
    demo: bool = False
    data: Path | None = None
    results: Path | None = None
    annotations: Path | None = None
    limit: int | None = None
    workers: int | None = None
    targets: tuple[str, ...] = DEFAULT_TARGETS
    batches: tuple[int, ...] = (1, 8)
    soc: str = "310P3"
    max_drop: float = 0.3
    estimates: bool = True

    def __post_init__(self) -> None:
        sources = [self.demo, self.onnx is not None, self.checkpoint is not None and self.onnx is None]
        if self.demo and (self.onnx or self.data or self.checkpoint):
            raise UsageError(
                "--demo brings its own checkpoint and data: leave --onnx, --checkpoint, --data out"
            )
        if sum(sources) != 1:
            raise UsageError(
                "say where the model comes from: --checkpoint FILE, --onnx RAW (with --checkpoint to compare "
                "with PyTorch), or --demo"
            )
        if self.annotations is not None and self.data is None:
            raise UsageError("--annotations needs --data: the folder of the images")
        if self.results is not None and self.data is None and not self.demo:
            raise UsageError("--results needs --data: the labels to score them with")
        unknown = sorted(set(self.targets) - set(list_targets()))
        if unknown:
            raise UsageError(f"unknown target {unknown[0]!r}; known: {', '.join(list_targets())}")
