"""The input is a stage too: what the rewritten model answers to the very files that the device was fed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphopt.core.files import sha256_of
from graphopt.core.tensors import Array
from graphopt.core.words import counted
from graphopt.recipes.drift_stages import INPUTS, DriftStages, Row
from graphopt.recipes.fed_files import fed_files, model_input
from graphopt.recipes.input_comparison import compare_every_input
from graphopt.recipes.input_probe import Probe
from graphopt.recipes.named_outputs import named, predict_named
from graphopt.recipes.stages import parse_stage
from graphopt.runtime.predictions import Predictions, Sample
from graphopt.validate.inputs.verdict import InputVerdict


def inputs_row(stages: DriftStages, folder: Path) -> tuple[InputVerdict, Row]:
    """Compare the files with the recipe's own inputs; where they differ, run the rewritten model on them.

    Raises:
        DatasetError: there are no such files, or not for these images.
        PreconditionError: the recipe's input is no picture of a fixed size.
    """
    stages.progress.say("comparing the inputs")
    verdict = compare_every_input(stages.recipe, stages.dataset, folder)
    if verdict.ok:
        absent = len(stages.dataset) - verdict.images
        if absent:
            return verdict, _row(
                None, f"equal to the recipe's own inputs, but {counted(absent, 'image')} without a file"
            )
        return verdict, _row(None, "equal to the recipe's own inputs: nothing is lost there")
    if not verdict.dtype:
        return verdict, _row(None, f"not run: {verdict.cause}")
    files = {sample.name: path for path, sample in fed_files(folder, stages.dataset)}
    missing = [sample.name for sample in stages.dataset if sample.name not in files]
    if missing:
        why = f"{counted(len(missing), 'image')} without a file, first {missing[0]}"
        return verdict, _row(None, f"not run: {why}; {verdict.cause}")
    return verdict, _row(_predict(stages, files), f"the rewritten model on the given files: {verdict.cause}")


def _row(predictions: Predictions | None, note: str) -> Row:
    return Row(stage=INPUTS, predictions=predictions, against="rewritten", note=note)


def _predict(stages: DriftStages, files: Mapping[str, Path]) -> Predictions:
    relative = f"predictions/{INPUTS}.npz"
    folder, recipe = stages.folder, stages.recipe
    folder.path("predictions").mkdir(exist_ok=True)
    sha256 = sha256_of(stages.rewritten)
    depends = {"model": sha256, "data": stages.dataset.digest, "files": _digest(files)}
    probe = Probe(recipe.needed_steps("reading inputs"), recipe.name)

    def read(sample: Sample) -> Array:
        return model_input(files[sample.name], recipe, probe)

    def work() -> Mapping[str, Any]:
        with parse_stage(str(stages.rewritten), recipe_name=recipe.name).open() as session:
            predict_named(
                session,
                stages.dataset,
                recipe,
                on_progress=stages.progress.count(f"{INPUTS}: image"),
                store=folder.path(relative),
                model_sha256=sha256,
                data_digest=folder.key(depends),
                prepare=read,
            )
        return {}

    folder.stage(f"predict-{INPUTS}", depends, work, outputs=(relative,))
    return named(Predictions.load(folder.path(relative)), recipe)


def _digest(files: Mapping[str, Path]) -> str:
    """Return the sha256 over names, sizes and times: reading all inputs twice would take as long as a run."""
    digest = hashlib.sha256()
    for name, path in files.items():
        known = path.stat()
        digest.update(f"{name} {path.name} {known.st_size} {known.st_mtime_ns}\n".encode())
    return digest.hexdigest()
