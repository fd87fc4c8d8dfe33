"""Run the stages of a pipeline over the same inputs, score and compare them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.core.comparison import Outcome, TensorComparison
from graphopt.core.detections import detections_of_roles
from graphopt.core.errors import DatasetError
from graphopt.core.files import sha256_of
from graphopt.core.mapped import blocks
from graphopt.core.model_digest import model_digest
from graphopt.core.onnx_files import input_specs, load_model, output_specs
from graphopt.core.peak_memory import peak_memory
from graphopt.core.session import Session
from graphopt.core.tensors import Array
from graphopt.core.words import counted
from graphopt.recipes.compilation import in_order
from graphopt.recipes.inference import named_results
from graphopt.recipes.named_outputs import named, predict_named
from graphopt.recipes.pipeline_report import BatchCheck, StageRow
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.row_comparison import compare_predictions, stack_samples
from graphopt.recipes.run_folder import RunFolder, StageRecord
from graphopt.recipes.samples import Feeds, feeds_for
from graphopt.recipes.stages import Stage, parse_stage
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.task import Dataset, Sample, Score
from graphopt.validate.batches import run_in_batches


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One stage after it ran.

    Attributes:
        label: of the stage.
        predictions: None when it could not run here.
        score: None without labels.
        seconds: of making the stage and of running it.
        bytes: of its files.
        sha256: of its main file.
        reused: whether nothing had to be done.
        exact: whether the comparison with the reference decides; False for device results, whose
            half precision only the metric judges.
        note: for the table.
        is_estimate: whether it stands for a chip that was not asked: it fails nothing.
        peak_bytes: memory that running it needed; None when unknown.
        agreement: score against the reference stage in place of labels; None where there is none.
    """

    label: str
    predictions: Predictions | None
    score: Score | None
    seconds: float
    bytes: int
    sha256: str
    reused: bool
    exact: bool = True
    note: str = ""
    is_estimate: bool = False
    peak_bytes: int | None = None
    agreement: Score | None = None

    @staticmethod
    def _as_estimate(verdict: str) -> str:
        """Call it an estimate; that its values differ is what it is there for."""
        usual = {"", Outcome.MATCH.value, Outcome.VALUES.value}
        return "estimate" if verdict in usual else f"estimate: {verdict}"

    def row(self, reference: "Scored", recipe: Recipe, max_drop: float) -> StageRow:
        """Return the table's row, compared with the reference."""
        metric = self.score.headline if self.score else None
        change = None
        if self.score is not None and reference.score is not None and self is not reference:
            change = (self.score.headline - reference.score.headline) * 100
        compared = None if self is reference else _compare(reference, self, recipe)
        flips = None
        # Without a common shape (or output) there are no decisions to count.
        if (
            recipe.task is not None
            and compared is not None
            and compared.max_abs is not None
            and self.predictions
            and reference.predictions
        ):
            flips = recipe.task.flips(reference.predictions, self.predictions)[0]
        failed = compared is not None and not compared.passed
        verdict = "reference" if self is reference else compared.outcome.value if compared else ""
        lost = change is not None and -change > max_drop
        return StageRow(
            stage=self.label,
            verdict=self._as_estimate(verdict) if self.is_estimate else verdict,
            max_error=compared.max_abs if compared else None,
            margin=compared.margin if compared and not self.is_estimate else None,
            failed=failed and self.exact and not self.is_estimate,
            metric=metric,
            change=change,
            drop_failed=lost and not self.is_estimate,
            flips=flips,
            bytes=self.bytes,
            seconds=self.seconds,
            sha256=self.sha256,
            reused=self.reused,
            note=self.note,
            estimate=self.is_estimate,
            peak_bytes=self.peak_bytes,
            agreement=self.agreement.headline if self.agreement else None,
        )


@dataclass(kw_only=True)
class Scorer:
    """Runs stages over a data set, or over golden or seeded inputs when there is none.

    Attributes:
        recipe: preprocessing, task, tolerance.
        folder: keeps predictions, so that an unchanged stage does not run again.
        data: data set folder; None compares without scoring.
        golden: ``golden.npz`` of the raw bundle, used without data.
        annotations: the file of the labels, where the data set's format has one.
        limit: only the first images.
        workers: number of threads that prepare images; None for one per processor.
        count: given a label, returns a progress callback.
        images: the data set where it is opened already, or is no folder of the task's format.
        judged: whether to score; no for images without labels.
    """

    recipe: Recipe
    folder: RunFolder
    data: Path | None
    golden: Path
    limit: int | None
    count: Callable[[str], Callable[[int, int], None]]
    annotations: Path | None = None
    workers: int | None = None
    by_label: dict[str, Scored] = field(default_factory=dict)
    images: Dataset | None = None
    judged: bool = True

    def __post_init__(self) -> None:
        self._dataset: Dataset | None = self.images
        self._feeds: Feeds | None = None
        if self._dataset is not None:
            return
        if self.data is not None:
            task = self.recipe.needed_task("--data")
            self._dataset = task.open_data(self.data, limit=self.limit, annotations=self.annotations)
        else:
            self._feeds = feeds_for(self.recipe.inputs, golden=self.golden)

    @property
    def samples(self) -> int:
        """How many inputs each stage runs."""
        return (
            len(self._dataset)
            if self._dataset is not None
            else len(self._feeds.samples if self._feeds else ())
        )

    @property
    def sample_kind(self) -> str:
        """What the inputs are, in words."""
        if self._dataset is not None and self.data is not None:
            return f"{counted(len(self._dataset), 'image')} of {self.data.name}"
        return self._feeds.kind if self._feeds else ""

    @property
    def dataset(self) -> Dataset | None:
        """The data set; None when there is none."""
        return self._dataset

    def run(
        self,
        label: str,
        stage: Stage,
        *,
        file: Path,
        made: StageRecord | None,
        optimize: bool = False,
        note: str = "",
    ) -> Scored:
        """Run a stage over all inputs, or take what an earlier run left."""
        sha256 = model_digest(file)
        depends = self._depends(sha256, optimize=optimize)
        relative = f"predictions/{label}.npz"
        self.folder.path("predictions").mkdir(exist_ok=True)

        def work() -> Mapping[str, Any]:
            with peak_memory() as memory, stage.open(optimize=optimize) as session:
                if self._dataset is not None:
                    predict_named(
                        session,
                        self._dataset,
                        self.recipe,
                        on_progress=self.count(f"{label}: image"),
                        store=self.folder.path(relative),
                        model_sha256=sha256,
                        data_digest=self.folder.key(depends),
                        workers=self.workers,
                    )
                else:
                    assert self._feeds is not None
                    _predict_feeds(session, self._feeds).save(self.folder.path(relative))
            return {"peak_bytes": memory.bytes}

        record = self.folder.stage(f"predict-{label}", depends, work, outputs=(relative,))
        predictions = named(Predictions.load(self.folder.path(relative)), self.recipe)
        score, agreement = None, None
        try:
            score, agreement = self._score(predictions), self._agreement(predictions)
        except DatasetError as error:  # it may have overflowed
            if not stage.is_estimate:
                raise
            note = f"{note}; not scored: {error}"
        scored = Scored(
            label=label,
            predictions=predictions,
            score=score,
            seconds=record.seconds + (made.seconds if made else 0.0),
            bytes=0 if stage.is_estimate else _size(file),
            sha256="" if stage.is_estimate else sha256_of(file),
            reused=record.reused and (made is None or made.reused),
            note=note,
            is_estimate=stage.is_estimate,
            peak_bytes=record.result.get("peak_bytes"),
            agreement=agreement,
        )
        self.by_label[label] = scored
        return scored

    def stored(self, label: str, file: Path, *, optimize: bool = False) -> Predictions | None:
        """Return what an earlier run of the stage left; None when that does not hold any more."""
        relative = f"predictions/{label}.npz"
        depends = self._depends(model_digest(file), optimize=optimize)
        if not self.folder.holds(f"predict-{label}", depends, outputs=(relative,)):
            return None
        return named(Predictions.load(self.folder.path(relative)), self.recipe)

    def _depends(self, sha256: str, *, optimize: bool) -> dict[str, Any]:
        return {
            "model": sha256,
            "data": self._dataset.digest if self._dataset is not None else self.sample_kind,
            "steps": repr(self.recipe.preprocessing),
            "optimize": optimize,
        }

    def results(self, label: str, results: Path, model: Path) -> Scored:
        """Read what the device tools wrote for exactly the data set's images.

        Args:
            label: of the stage.
            results: folder of the tools.
            model: the ONNX file that was compiled for the device.

        Raises:
            DatasetError: a result is missing, short or of an unknown image.
        """
        if self._dataset is None:
            raise DatasetError("device results can only be scored with --data")
        graph = load_model(model)
        predictions = named_results(
            results,
            input_specs(graph),
            in_order(output_specs(graph), self.recipe),
            self._dataset,
            in_model_order="out_nodes" not in self.recipe.atc,
        )
        scored = Scored(
            label=label,
            predictions=predictions,
            score=self._score(predictions),
            agreement=self._agreement(predictions),
            seconds=0.0,
            bytes=0,
            sha256=_digest(predictions),
            reused=False,
            exact=False,
            note=f"read from {results}",
        )
        self.by_label[label] = scored
        return scored

    def check_batch(self, model: Path, size: int) -> BatchCheck:
        """Run a model of another batch size on a few images, the last batch being partial.

        The stage ``rewritten`` must have run before.
        """
        assert self._dataset is not None
        total = min(len(self._dataset), 2 * size + 1)
        total -= total > 1 and total % size == 0
        chosen: list[Sample] = list(islice(self._dataset, total))
        with parse_stage(str(model), recipe_name=self.recipe.name).open() as session:
            got = predict_named(session, chosen, self.recipe, workers=self.workers)
        reference = _first(self.by_label["rewritten"].predictions, got.names)
        compared = compare_predictions(reference.outputs, got.outputs, self.recipe)
        task = self.recipe.needed_task("comparing decisions")
        flips, decisions = task.flips(reference, got)
        errors = [item.max_abs for item in compared if item.max_abs is not None]
        few = flips <= task.allowed_flips * decisions
        return BatchCheck(
            batch=size,
            images=total,
            max_error=max(errors, default=None),
            passed=few and all(item.passed for item in compared),
            flips=flips,
        )

    def _score(self, predictions: Predictions) -> Score | None:
        if self._dataset is None or not self.judged:
            return None
        return self.recipe.needed_task("scoring").score(self._dataset, predictions)

    def _agreement(self, predictions: Predictions) -> Score | None:
        """Score detections against those of the reference, which ran first."""
        reference = next(iter(self.by_label.values()), None)
        if self._dataset is None or reference is None or reference.predictions is None:
            return None
        if detections_of_roles(self.recipe.outputs) is None:
            return None  # other tasks count decisions that flip
        task = self.recipe.needed_task("comparing detections")
        try:
            return task.agreement(self._dataset, reference.predictions, predictions)
        except DatasetError:  # the reference is sure of nothing
            return None


def _compare(reference: Scored, candidate: Scored, recipe: Recipe) -> TensorComparison | None:
    if reference.predictions is None or candidate.predictions is None:
        return None
    aligned = _first(candidate.predictions, reference.predictions.names)
    compared = compare_predictions(reference.predictions.outputs, aligned.outputs, recipe)
    # A tensor that is missing or has another shape is worse than any number.
    return max(compared, key=lambda item: (not item.passed, item.margin is None, item.margin or 0.0))


def _first(predictions: Predictions | None, names: tuple[str, ...]) -> Predictions:
    """Return the rows of ``names``, in that order; a run of rows is not copied."""
    assert predictions is not None
    place = {name: i for i, name in enumerate(predictions.names)}
    missing = [name for name in names if name not in place]
    if missing:
        raise DatasetError(f"no prediction for {counted(len(missing), 'sample')}, first {missing[:3]}")
    numbers = [place[name] for name in names]
    start = numbers[0] if numbers else 0
    together = numbers == list(range(start, start + len(numbers)))
    rows: Any = slice(start, start + len(numbers)) if together else np.array(numbers)
    return Predictions(
        names=names, outputs={name: values[rows] for name, values in predictions.outputs.items()}
    )


def _predict_feeds(session: Session, feeds: Feeds) -> Predictions:
    """Run every sample; its batch axis becomes the rows, as with a data set."""
    names: list[str] = []
    parts: dict[str, list[Array]] = {}
    for i, sample in enumerate(feeds.samples):
        result = run_in_batches(session, sample)
        count = len(next(iter(sample.values())))
        batched = all(value.ndim > 0 and len(value) == count for value in result.values())
        names += [f"input-{i}-{row}" for row in range(count if batched else 1)]
        for name, value in result.items():
            parts.setdefault(name, []).append(value if batched else value[np.newaxis])
    outputs = {name: stack_samples(values) for name, values in parts.items()}
    return Predictions(names=tuple(names), outputs=outputs)


def _digest(predictions: Predictions) -> str:
    """Return the sha256 of what was read: names and raw rows, in order."""
    digest = hashlib.sha256("\n".join(predictions.names).encode())
    for name, rows in sorted(predictions.outputs.items()):
        digest.update(name.encode())
        for _, (block,) in blocks([rows]):
            digest.update(block.tobytes())
    return digest.hexdigest()


def _size(path: Path) -> int:
    # OpenVINO keeps the weights beside the graph.
    weights = path.with_suffix(".bin") if path.suffix == ".xml" else None
    return path.stat().st_size + (weights.stat().st_size if weights is not None and weights.is_file() else 0)
