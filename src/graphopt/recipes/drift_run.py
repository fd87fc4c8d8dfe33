"""Find the run that ``drift`` looks at, or make it."""

import json
from pathlib import Path

from graphopt.core.errors import UsageError
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.progress import Progress
from graphopt.recipes.recipe import Recipe

_TARGETS = ("onnxruntime", "openvino")


def run_for(
    what: str,
    run: Path | None,
    *,
    checkpoint: Path | None,
    onnx: Path | None,
    demo: bool,
    data: Path | None,
    annotations: Path | None,
    limit: int | None,
    progress: Progress,
) -> tuple[Recipe, Path]:
    """Return the recipe and the folder of its run.

    Args:
        what: a run folder, or the name of a recipe.
        run: of a recipe, its run; None is ``out/RECIPE``. A pipeline makes it when it is not there.
        checkpoint: for a new run.
        onnx: for a new run.
        demo: for a new run.
        data: for a new run.
        annotations: for a new run.
        limit: for a new run.
        progress: told what is being done.

    Raises:
        UsageError: it is neither, or options do not go together.
    """
    folder = Path(what)
    if (folder / "run.json").is_file():
        if run is not None:
            raise UsageError(f"{what} is a run already: leave --run out")
        if onnx is not None or demo:
            raise UsageError(f"{what} is a run, which has its model: leave --onnx and --demo out")
        return find_recipe(_recipe_of(folder)), folder
    if folder.is_dir():
        raise UsageError(f"{what} is not a run folder (it has no run.json); make one with: graphopt pipeline")
    recipe = find_recipe(what)
    folder = run or Path("out") / recipe.stem
    if (folder / "run.json").is_file() and onnx is None and not demo:
        return recipe, folder
    if onnx is None and not demo and checkpoint is None:
        raise UsageError(
            f"{folder} is no run of {recipe.name} yet; say where its model comes from: --checkpoint FILE, "
            "--onnx RAW or --demo; or name a run with --run DIR"
        )
    options = PipelineOptions(
        folder=folder,
        checkpoint=checkpoint,
        onnx=onnx,
        demo=demo,
        data=data,
        annotations=annotations,
        limit=limit,
        targets=_TARGETS,
        batches=(),
    )
    run_pipeline(recipe, options, progress=progress)
    return recipe, folder


def _recipe_of(run: Path) -> str:
    try:
        return str(json.loads((run / "run.json").read_text(encoding="utf-8"))["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{run / 'run.json'} is damaged ({error}); run graphopt pipeline again") from error
