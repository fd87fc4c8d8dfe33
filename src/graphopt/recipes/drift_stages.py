"""The stages whose predictions ``drift`` compares: read from a run where they hold, else made now."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from graphopt.core.errors import (
    CheckpointError,
    DatasetError,
    InvalidModelError,
    MissingBackendError,
    PreconditionError,
    UsageError,
)
from graphopt.core.golden import GOLDEN_FILE
from graphopt.core.words import counted
from graphopt.recipes.progress import Progress
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.run_checkpoint import check_exported_from
from graphopt.recipes.run_folder import RunFolder
from graphopt.recipes.run_sources import RunSources, run_versions
from graphopt.recipes.scoring import Scorer
from graphopt.recipes.stages import RUN_STAGES, Stage, parse_stage
from graphopt.runtime.datasets.image_folder import ImageFolder, is_image
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.task import Dataset

HALF_NMS, HALF, DEVICE, INPUTS = "fp16-nms", "fp16", "device", "inputs"
_CANNOT = (
    CheckpointError,
    InvalidModelError,
    MissingBackendError,
    PreconditionError,
    UsageError,
)
"""Why a stage may have no row of figures while others have; anything else ends the work."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one stage answered.

    Attributes:
        stage: its label.
        predictions: None when it could not run here.
        against: the stage it is made from.
        estimate: whether it only imitates a chip.
        note: why it could not run, or what it is.
    """

    stage: str
    predictions: Predictions | None
    against: str = ""
    estimate: bool = False
    note: str = ""


@dataclass(kw_only=True)
class DriftStages:
    """Runs the stages of a run over images, or reads what the pipeline stored.

    Attributes:
        run: the run folder.
        recipe: whose run it is.
        sources: what the run worked on, options of this call put in.
        stored: what the run was made with: its own predictions are of these images.
        progress: told what is being done.
    """

    run: Path
    recipe: Recipe
    sources: RunSources
    stored: RunSources
    progress: Progress
    dataset: Dataset = field(init=False)

    def __post_init__(self) -> None:
        if self.sources.data is None:
            raise UsageError(
                f"{self.run} does not say which images it ran on; name the data set folder, or a folder of "
                "images: --data DIR"
            )
        self.recipe.needed_steps("drift")
        self.dataset = open_images(self.recipe, self.sources)
        own = RunFolder(self.run, self.recipe.name, versions=run_versions(self.recipe))
        self._whole: Scorer | None = None
        if self.stored.data is not None and self.stored.data.is_dir():
            whole = open_images(self.recipe, self.stored)
            self._whole = self._scorer(own, whole)
        if self._whole is None or self._whole.dataset is None:
            folder = self._other_images()
        else:
            folder = own if self._whole.dataset.digest == self.dataset.digest else self._other_images()
        self._here = self._scorer(folder, self.dataset)

    @property
    def has_labels(self) -> bool:
        """Whether the images have labels."""
        return not isinstance(self.dataset, ImageFolder)

    @property
    def sample_kind(self) -> str:
        """What the images are, in words."""
        assert self.sources.data is not None
        return f"{counted(len(self.dataset), 'image')} of {self.sources.data.name}"

    @property
    def folder(self) -> RunFolder:
        """Where predictions of these images are kept."""
        return self._here.folder

    @property
    def rewritten(self) -> Path:
        """The rewritten model, which the device runs."""
        return self.run / RUN_STAGES["rewritten"]

    def rows(self) -> Iterator[Row]:
        """Yield PyTorch, raw, rewritten, the estimates of half precision and what was compiled."""
        yield self._torch()
        yield self._file("raw", against="torch")
        yield self._file("rewritten", against="raw")
        if any(spec.role == "dets" for spec in self.recipe.outputs):
            yield self._half(HALF_NMS, "in and out of the suppression only")
        yield self._half(HALF, "all tensors; sums in float32")
        for target in ("onnxruntime", "openvino"):
            if any(self.run.glob(RUN_STAGES[target])):
                yield self._file(target, against="rewritten", optimize=True)
            else:
                yield Row(stage=target, predictions=None, note="not compiled in this run")

    def results(self, folder: Path) -> Row:
        """Read a results folder of the device, or what the original scripts made of one.

        Raises:
            DatasetError: a result is missing, short or of an unknown image.
        """
        task = self.recipe.needed_task("--results")
        found = task.read_original(self.dataset, folder) if self.has_labels else None
        if found is None:
            if folder.is_file():
                raise DatasetError(f"{folder} holds no results of the original scripts; give the folder")
            found = self._here.results(DEVICE, folder, self.rewritten).predictions
        return Row(stage=DEVICE, predictions=found, against="rewritten", note=f"read from {folder.name}")

    def _torch(self) -> Row:
        checkpoint = self.sources.checkpoint
        if checkpoint is None:
            return Row(stage="torch", predictions=None, note="no checkpoint is known; add --checkpoint FILE")
        try:
            check_exported_from(self.run, checkpoint)
        except CheckpointError as error:
            return Row(stage="torch", predictions=None, note=f"not run: {error}")
        text = f"torch:{self.recipe.name}@{checkpoint}"
        return self._row("torch", lambda: parse_stage(text), checkpoint)

    def _file(self, label: str, *, against: str, optimize: bool = False) -> Row:
        places = sorted(self.run.glob(RUN_STAGES[label]))
        if not places:
            raise UsageError(f"{self.run} has no {label} model; finish it with: graphopt pipeline")

        def stage() -> Stage:
            return parse_stage(str(places[0]), recipe_name=self.recipe.name)

        return self._row(label, stage, places[0], against=against, optimize=optimize)

    def _half(self, label: str, note: str) -> Row:
        text = f"{label}:{self.rewritten}"

        def stage() -> Stage:
            return parse_stage(text, recipe_name=self.recipe.name)

        return self._row(label, stage, self.rewritten, against="rewritten", estimate=True, note=note)

    def _row(
        self,
        label: str,
        stage: Callable[[], Stage],
        file: Path,
        *,
        against: str = "",
        optimize: bool = False,
        estimate: bool = False,
        note: str = "",
    ) -> Row:
        try:
            predictions = self._cut(label, file, optimize=optimize)
            if predictions is None:
                self.progress.say(f"{label}: starting")
                scored = self._here.run(label, stage(), file=file, made=None, optimize=optimize)
                predictions = scored.predictions
        except _CANNOT as error:
            return Row(
                stage=label, predictions=None, against=against, estimate=estimate, note=f"not run: {error}"
            )
        return Row(stage=label, predictions=predictions, against=against, estimate=estimate, note=note)

    def _cut(self, label: str, file: Path, *, optimize: bool) -> Predictions | None:
        """Return what the run stored for these images, when it stored at least them."""
        if self._whole is None or not file.is_file():
            return None
        found = self._whole.stored(label, file, optimize=optimize)
        names = tuple(sample.name for sample in self.dataset)
        if found is None or found.names[: len(names)] != names or not self._are_the_same_files():
            return None
        return Predictions(
            names=names, outputs={name: rows[: len(names)] for name, rows in found.outputs.items()}
        )

    def _are_the_same_files(self) -> bool:
        assert self._whole is not None
        assert self._whole.dataset is not None
        pairs = zip(self.dataset, self._whole.dataset, strict=False)
        return all(one.path.resolve() == two.path.resolve() for one, two in pairs)

    def _other_images(self) -> RunFolder:
        """Keep predictions of other images apart: the run's own stay valid."""
        folder = self.run / "drift" / self.dataset.digest[:12]
        return RunFolder(folder, self.recipe.name, versions=run_versions(self.recipe))

    def _scorer(self, folder: RunFolder, dataset: Dataset) -> Scorer:
        return Scorer(
            recipe=self.recipe,
            folder=folder,
            data=self.sources.data,
            golden=self.run / "raw" / GOLDEN_FILE,
            limit=None,
            count=self.progress.count,
            images=dataset,
            judged=False,
        )


def open_images(recipe: Recipe, sources: RunSources) -> Dataset:
    """Open the data set, or a plain folder of images.

    Raises:
        DatasetError: it is neither.
    """
    assert sources.data is not None
    folder = sources.data
    if sources.annotations is None and folder.is_dir() and any(is_image(path) for path in folder.iterdir()):
        return ImageFolder(folder, limit=sources.limit)
    task = recipe.needed_task("drift")
    return task.open_data(folder, limit=sources.limit, annotations=sources.annotations)
