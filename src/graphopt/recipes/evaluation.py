"""Score whatever a user names: against labels, or against what another stage says of the same images."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from graphopt.core.errors import UsageError
from graphopt.core.files import check_output, output_errors
from graphopt.core.model_digest import model_digest
from graphopt.recipes.inference import named_results, recipe_of
from graphopt.recipes.named_outputs import predict_named
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.run_checkpoint import TORCH, torch_stage
from graphopt.recipes.run_sources import run_versions
from graphopt.recipes.stage_panels import outputs_of, stage_panels
from graphopt.recipes.stages import Stage, parse_stage
from graphopt.runtime.datasets.image_folder import ImageFolder, ImageSample, is_image
from graphopt.runtime.decode.boxes import BoxMapping
from graphopt.runtime.pictures import draw_prediction
from graphopt.runtime.predictions import Predictions, Progress
from graphopt.runtime.task import Dataset, Sample, Score, Task
from graphopt.runtime.tasks.detection import DetectionTask

_PICTURES = 12


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A score and what it was made of.

    Attributes:
        recipe: of the model.
        task: what it is scored as.
        dataset: the images; without labels where a reference stands for them.
        predictions: that were scored.
        score: the figures.
        reference: what stood for the labels; None when those of the data set did.
    """

    recipe: Recipe
    task: Task
    dataset: Dataset
    predictions: Predictions
    score: Score
    reference: Predictions | None = None

    def worst(self, count: int) -> tuple[Sample, ...]:
        """Return the samples with the largest errors, the worst first; perfect ones are left out."""
        errors = self.score.errors
        wrong = [sample for sample in self.dataset if errors.get(sample.name, 0.0) > 0]
        return tuple(sorted(wrong, key=lambda sample: (-errors[sample.name], sample.name))[:count])


def evaluate(
    what: str,
    data: Path,
    *,
    recipe_name: str = "",
    limit: int | None = None,
    annotations: Path | None = None,
    against: str = "",
    checkpoint: Path | None = None,
    box_mapping: str = "",
    pictures: bool = False,
    store: Path | None = None,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Score a stage, or what the device tools or the original scripts wrote, on a data set.

    Args:
        what: a stage; see ``recipes.stages``.
        data: data set folder; the images are needed only when a model must run. With ``against`` a plain
            folder of images is enough.
        recipe_name: for files without a sidecar and for results.
        limit: only the first samples.
        annotations: the file of the labels, where the data set's format has one.
        against: a stage whose answers stand for the labels; ``torch`` is the network of the recipe.
        checkpoint: its weights; None takes those of the run that ``what`` is of.
        box_mapping: ``real`` or ``published``; of detections, see ``BoxMapping``. Empty for the recipe's.
        pictures: the images are needed for pictures.
        store: keeps predictions, so that an interrupted evaluation goes on.
        workers: number of threads that prepare images; None for one per processor.
        on_progress: told samples done and their total.

    Raises:
        UsageError: whose model it is is not known, or an option does not fit the task.
        DatasetError: data set or results are incomplete.
    """
    stage = parse_stage(what, recipe_name=recipe_name)
    recipe = recipe_of(stage)
    task = _mapped(recipe.needed_task("evaluate"), box_mapping)
    if checkpoint is not None and against != TORCH:
        raise UsageError(f"--checkpoint goes with --against {TORCH}")
    other = _reference(against, stage, recipe, checkpoint, recipe_name) if against else None
    stages = [item for item in (stage, other) if item is not None]
    if other is not None and not (other.recipe and other.recipe.name == recipe.name):
        raise UsageError(f"{other.label} is no model of {recipe.name}: their answers cannot be compared")
    unseen = not pictures and all(item.kind == "results" for item in stages)
    dataset: Dataset
    if other is not None and annotations is None and _is_plain(data):
        dataset = ImageFolder(data, limit=limit)
    else:
        dataset = task.open_data(data, limit=limit, labels_only=unseen, annotations=annotations)
    stores = (store, store.with_suffix(".against.npz") if store is not None else None)
    answers = [
        _answers(item, recipe, task, dataset, place, workers, on_progress)
        for item, place in zip(stages, stores, strict=False)
    ]
    predictions, reference = answers[0], answers[1] if len(answers) > 1 else None
    if reference is None:
        score = task.score(dataset, predictions)
    else:
        score = task.agreement(dataset, reference, predictions)
    return Evaluation(
        recipe=recipe,
        task=task,
        dataset=dataset,
        predictions=predictions,
        score=score,
        reference=reference,
    )


def draw_worst(
    result: Evaluation, folder: Path, *, count: int = _PICTURES, force: bool = False
) -> tuple[Path, ...]:
    """Draw the worst images; where a reference stands for the labels, its answer stands beside.

    When fewer images have errors, others fill up the number.

    Returns:
        The pictures, the worst image first.

    Raises:
        OutputError: a picture is there without ``force``, or cannot be written.
    """
    worst = list(result.worst(count))
    chosen = {sample.name for sample in worst}
    rest = (sample for sample in result.dataset if sample.name not in chosen)
    samples = [*worst, *islice(rest, max(0, count - len(worst)))]
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --pictures takes a folder")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # Numbered: file managers then show the worst first.
    places = [folder / f"{i:02d}-{Path(sample.name).stem}.png" for i, sample in enumerate(samples, start=1)]
    for place in places:
        check_output(place, force=force)
    for sample, place in zip(samples, places, strict=True):
        _draw(result, sample, place, force=force)
    return tuple(places)


def _draw(result: Evaluation, sample: Sample, place: Path, *, force: bool) -> None:
    shown: Sample = sample
    stages = [("prediction", result.predictions)]
    if result.reference is not None:  # labels took no part in the score
        shown = ImageSample(name=sample.name, path=sample.path)
        stages = [("reference", result.reference), *stages]
    panels = stage_panels(result.task, shown, stages)
    readings = result.task.read(outputs_of(result.predictions, sample), shown)
    draw_prediction(panels, readings, place, title=sample.name, force=force)


def _reference(
    against: str, stage: Stage, recipe: Recipe, checkpoint: Path | None, recipe_name: str
) -> Stage:
    if against == TORCH:
        return torch_stage(stage, recipe, checkpoint)
    return parse_stage(against, recipe_name=recipe_name or recipe.name)


def _answers(
    stage: Stage,
    recipe: Recipe,
    task: Task,
    dataset: Dataset,
    store: Path | None,
    workers: int | None,
    on_progress: Progress | None,
) -> Predictions:
    if stage.kind == "results":
        assert stage.path is not None
        original = task.read_original(dataset, stage.path)
        if original is not None:
            return original
        return named_results(stage.path, recipe.inputs, recipe.outputs, dataset)
    recipe.needed_steps("evaluate")
    model_sha256 = _identity(stage, recipe) if store is not None else ""
    with stage.open(optimize=True) as session:
        return predict_named(
            session,
            dataset,
            recipe,
            known=stage.known_outputs,
            on_progress=on_progress,
            store=store,
            model_sha256=model_sha256,
            data_digest=dataset.digest if store is not None else "",
            workers=workers,
        )


def _identity(stage: Stage, recipe: Recipe) -> str:
    """Name what answers: the same file opened in another way, or in another network, answers differently."""
    if stage.path is None:
        return ""
    network = run_versions(recipe) if stage.kind == "torch" else {}
    return " ".join((model_digest(stage.path), stage.kind, *map(str, network.items())))


def _mapped(task: Task, box_mapping: str) -> Task:
    if not box_mapping:
        return task
    if not isinstance(task, DetectionTask):
        raise UsageError("only detections have boxes to map: leave --box-mapping out")
    return replace(task, mapping=BoxMapping(box_mapping))


def _is_plain(folder: Path) -> bool:
    return folder.is_dir() and any(is_image(path) for path in folder.iterdir())
