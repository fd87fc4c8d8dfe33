"""Run and time whatever a user names, with its recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.files import check_output, output_errors
from graphopt.core.samples import structured_feeds
from graphopt.core.tensors import TensorSpec
from graphopt.core.words import counted
from graphopt.recipes.batches import batch_model
from graphopt.recipes.named_outputs import predict_named
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.stages import Stage, parse_stage
from graphopt.runtime.latency import Latency, measure
from graphopt.runtime.pictures import draw_prediction
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.results_folder import read_results
from graphopt.runtime.task import Dataset, Reading


@dataclass(frozen=True, kw_only=True)
class Image:
    """A loose image file, as a sample."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class ImageReadings:
    """What the model said about one image."""

    image: Path
    readings: tuple[Reading, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"image": str(self.image), "readings": [item.to_json() for item in self.readings]}


def read_images(
    what: str,
    images: Sequence[Path],
    *,
    recipe_name: str = "",
    pictures: Path | None = None,
    force: bool = False,
) -> tuple[ImageReadings, ...]:
    """Run a stage on image files.

    Args:
        what: a stage; see ``recipes.stages``.
        images: the files; one given twice is run once.
        recipe_name: for files without a sidecar.
        pictures: folder for a drawing of each prediction, named by the image's stem.
        force: replace older drawings.

    Raises:
        UsageError: the model has no recipe, or is a results folder, or two drawings would have one name.
        DatasetError: an image is missing or broken.
        OutputError: a drawing is there already, or cannot be written.
    """
    stage = parse_stage(what, recipe_name=recipe_name)
    recipe = recipe_of(stage)
    task = recipe.needed_task("reading outputs")
    recipe.needed_steps("running images")
    missing = [str(path) for path in images if not path.is_file()]
    if missing:
        raise DatasetError(f"{counted(len(missing), 'image')} missing, first {missing[0]}")
    samples = [Image(name=str(path), path=path) for path in dict.fromkeys(images)]
    drawings = _drawings(samples, pictures, force=force) if pictures is not None else {}
    with stage.open(optimize=True) as session:
        predictions = predict_named(session, samples, recipe, known=stage.known_outputs)
    results = []
    for i, sample in enumerate(samples):
        outputs = {name: rows[i] for name, rows in predictions.outputs.items()}
        readings = task.read(outputs, sample)
        results.append(ImageReadings(image=sample.path, readings=readings))
        if sample.name in drawings:
            panels = task.panels(outputs, sample)
            draw_prediction(panels, readings, drawings[sample.name], title=sample.path.name, force=force)
    return tuple(results)


def _drawings(samples: Sequence[Image], folder: Path, *, force: bool) -> dict[str, Path]:
    """Return where each drawing will stand; refuse what cannot be written before anything runs."""
    places = {sample.name: folder / f"{sample.path.stem}.png" for sample in samples}
    if len(set(places.values())) < len(places):
        raise UsageError("two images have the same name; their pictures would overwrite each other")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --pictures takes a folder")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    inputs = tuple(sample.path for sample in samples)
    for place in places.values():
        check_output(place, force=force, inputs=inputs)
    return places


def named_results(
    folder: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    dataset: Dataset,
    *,
    in_model_order: bool = False,
) -> Predictions:
    """Read a results folder and give each row the data set's own name; files are matched by stem.

    Args:
        folder: what the device tools wrote.
        inputs: of the graph that ``outputs`` describe: their first size is its batch.
        outputs: of the graph; results are one file per image and output, whatever the batch.
        dataset: the images.
        in_model_order: ``outputs`` are in the compiled model's order.

    Raises:
        DatasetError: a result is missing, short, or of an unknown image.
    """
    names = {Path(sample.name).stem: sample.name for sample in dataset}
    batch = inputs[0].shape[0] if inputs and inputs[0].shape else 1
    found = read_results(
        folder,
        outputs,
        tuple(names),
        batch=batch if isinstance(batch, int) else 1,
        in_model_order=in_model_order,
    )
    return Predictions(names=tuple(names[stem] for stem in found.names), outputs=found.outputs)


def bench(
    what: str, *, batches: tuple[int, ...] = (), seconds: float, recipe_name: str = ""
) -> tuple[Latency, ...]:
    """Time a stage on seeded inputs, once per batch size.

    A model of a fixed batch is rewritten into a temporary one for each other size.

    Raises:
        UsageError: batch sizes are asked of something that cannot change its batch, or an estimate is timed.
    """
    stage = parse_stage(what, recipe_name=recipe_name)
    if stage.is_estimate:
        raise UsageError(
            f"{what}: the estimate computes in float32, so its time says nothing of a chip's; time the file"
        )
    if not batches:
        return (_time(stage, None, seconds),)
    results = []
    with TemporaryDirectory(prefix="graphopt-bench-") as scratch:
        for size in batches:
            sized = _sized(stage, size, Path(scratch))
            results.append(_time(sized, size, seconds))
    return tuple(results)


def recipe_of(stage: Stage) -> Recipe:
    """Return the stage's recipe.

    Raises:
        UsageError: it is not known.
    """
    if stage.recipe is None:
        raise UsageError(
            f"{stage.label} does not say whose model it is; add --recipe NAME (see: graphopt recipes)"
        )
    return stage.recipe


def _sized(stage: Stage, size: int, scratch: Path) -> Stage:
    with stage.open() as session:
        own = session.inputs[0].shape[0] if session.inputs[0].shape else None
    if own == size or not isinstance(own, int):
        return stage
    if stage.kind != "model" or stage.path is None or stage.path.suffix != ".onnx":
        raise UsageError(
            f"{stage.label} has a fixed batch of {own}; compile it for batch {size} to time that"
        )
    place = scratch / f"model_bs{size}.onnx"
    batch_model(stage.path, place, size)
    return parse_stage(str(place))


def _time(stage: Stage, size: int | None, seconds: float) -> Latency:
    with stage.open(optimize=True) as session:
        specs = session.inputs
        if size is not None:
            specs = tuple(
                TensorSpec(name=spec.name, shape=(size, *spec.shape[1:]), dtype=spec.dtype) for spec in specs
            )
        return measure(session, structured_feeds(specs, seed=0), seconds=seconds)
