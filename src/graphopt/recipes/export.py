"""Join a recipe's network, checkpoint and data to the exporter."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from graphopt.core.artefacts import Artefact
from graphopt.core.files import sha256_of
from graphopt.core.optional import require
from graphopt.recipes.drawn_inputs import drawn_feeds
from graphopt.recipes.progress import Silent
from graphopt.recipes.recipe import Demo, Recipe
from graphopt.recipes.samples import feeds_for

_GOLDEN_SAMPLES = 2


def export_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    checkpoint: Path | None,
    data: Path | None = None,
    annotations: Path | None = None,
    legacy: bool = False,
    force: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Artefact:
    """Write the raw ONNX bundle of a recipe.

    Args:
        recipe: what to export.
        folder: of the bundle.
        checkpoint: trained weights; None makes the demo's.
        data: data set folder for golden inputs; None takes the demo's, drawn scenes for a detector, or
            seeded ones.
        annotations: the file of its labels, where its format has one.
        legacy: add what torch 1.6 left behind.
        force: replace an existing folder.
        on_progress: told what is being done.

    Raises:
        GraphoptError: a package is missing, the checkpoint does not fit, or the export is wrong.
    """
    require("torch", extra="torch", purpose=f"exporting {recipe.name}")
    say = on_progress or Silent().say
    write = partial(_export, recipe, folder, annotations=annotations, legacy=legacy, force=force, say=say)
    if checkpoint is not None:
        return write(checkpoint, data)
    with tempfile.TemporaryDirectory(prefix="graphopt-demo-") as scratch:
        say("making the demo checkpoint")
        demo = recipe.needed_demo("--demo")(Path(scratch))
        return write(demo.checkpoint, data or demo.data)


def make_demo(recipe: Recipe, folder: Path) -> Demo:
    """Write the demo's checkpoint and data set into a folder.

    Raises:
        MissingBackendError: torch is not installed.
    """
    require("torch", extra="torch", purpose="making the demo checkpoint")
    return recipe.needed_demo("--demo")(folder)


def _export(
    recipe: Recipe,
    folder: Path,
    checkpoint: Path,
    data: Path | None,
    *,
    annotations: Path | None,
    legacy: bool,
    force: bool,
    say: Callable[[str], None],
) -> Artefact:
    from graphopt.exporters.bundle import write_bundle

    say(f"reading {checkpoint}")
    module = recipe.needed_module("exporting", checkpoint)
    feeds = drawn_feeds(recipe, _GOLDEN_SAMPLES) if data is None else None
    feeds = feeds or feeds_for(
        recipe.inputs, data=data, annotations=annotations, recipe=recipe, count=_GOLDEN_SAMPLES
    )
    say("exporting")
    return write_bundle(
        folder,
        module=module,
        inputs=recipe.inputs,
        outputs=recipe.answers_of(module),
        samples=feeds.samples,
        recipe=recipe.name,
        opset=recipe.opset,
        checkpoint_sha256=sha256_of(checkpoint),
        legacy_torch16=legacy,
        tolerance=recipe.tolerance,
        force=force,
        fixed_sizes=bool(getattr(module, "fixed_sizes", False)),
        settings=getattr(module, "settings", None),
    )
