"""The input is a stage too: what the rewritten model answers to the very files that the device was fed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.core.errors import DatasetError
from graphopt.core.files import sha256_of
from graphopt.core.session import Session
from graphopt.core.tensors import Array
from graphopt.recipes.drift_stages import INPUTS, DriftStages, Row
from graphopt.recipes.input_comparison import compare_inputs
from graphopt.recipes.named_outputs import named, predict_named
from graphopt.recipes.stages import parse_stage
from graphopt.runtime.predictions import Predictions, Sample
from graphopt.runtime.prepare import INPUT_FOLDER
from graphopt.validate.inputs.layouts import read_input
from graphopt.validate.inputs.verdict import InputVerdict

_NUMBERS = ("float32", "float16")
"""What reaches the model as it is; other files go through AIPP on the device."""


def inputs_row(stages: DriftStages, folder: Path) -> tuple[InputVerdict, Row]:
    """Compare the files with the recipe's own inputs; where they differ, run the rewritten model on them.

    Raises:
        DatasetError: there are no such files, or not for these images.
        PreconditionError: the recipe's input is no picture of a fixed size.
    """
    stages.progress.say("comparing the inputs")
    verdict = compare_inputs(stages.recipe, stages.dataset, folder)
    note = verdict.sentence
    if verdict.ok:
        return verdict, _row(None, "equal to the recipe's own inputs: nothing is lost there")
    if verdict.dtype not in _NUMBERS:
        what = f"{verdict.dtype} goes through AIPP" if verdict.dtype else "the model takes another size"
        return verdict, _row(None, f"not run: {what}; {note}")
    files = _files(stages, folder)
    missing = [name for name, path in files.items() if path is None]
    if missing:
        return verdict, _row(None, f"not run: {len(missing)} images have no file, first {missing[0]}; {note}")
    return verdict, _row(_predict(stages, {name: path for name, path in files.items() if path}), note)


def _row(predictions: Predictions | None, note: str) -> Row:
    return Row(stage=INPUTS, predictions=predictions, against="rewritten", note=note)


def _files(stages: DriftStages, folder: Path) -> dict[str, Path | None]:
    """Return the file of each image, by stem."""
    inside = folder / INPUT_FOLDER
    found: dict[str, Path] = {}
    for place in (inside, folder):
        if place.is_dir():
            found.update({path.stem: path for path in place.iterdir() if path.suffix in (".bin", ".npy")})
    return {sample.name: found.get(Path(sample.name).stem) for sample in stages.dataset}


def _predict(stages: DriftStages, files: Mapping[str, Path]) -> Predictions:
    relative = f"predictions/{INPUTS}.npz"
    folder = stages.folder
    folder.path("predictions").mkdir(exist_ok=True)
    sha256 = sha256_of(stages.rewritten)
    depends = {"model": sha256, "data": stages.dataset.digest, "files": _digest(files)}

    def work() -> Mapping[str, Any]:
        with parse_stage(str(stages.rewritten), recipe_name=stages.recipe.name).open() as session:
            shape = _sample_shape(session)

            def read(sample: Sample) -> Array:
                flat = read_input(files[sample.name], (shape[-2], shape[-1]))
                if flat is None:
                    raise DatasetError(f"{files[sample.name]} is no input of {list(shape)}; cut short?")
                # As the device reads it: the bytes in the order of the model's axes, whatever was meant.
                return flat.astype(np.float32).reshape(shape)

            predict_named(
                session,
                stages.dataset,
                stages.recipe,
                on_progress=stages.progress.count(f"{INPUTS}: image"),
                store=folder.path(relative),
                model_sha256=sha256,
                data_digest=folder.key(depends),
                prepare=read,
            )
        return {}

    folder.stage(f"predict-{INPUTS}", depends, work, outputs=(relative,))
    return named(Predictions.load(folder.path(relative)), stages.recipe)


def _sample_shape(session: Session) -> tuple[int, ...]:
    return tuple(dim for dim in session.inputs[0].shape[1:] if isinstance(dim, int))


def _digest(files: Mapping[str, Path]) -> str:
    """Return the sha256 over names, sizes and times: reading all inputs twice would take as long as a run."""
    digest = hashlib.sha256()
    for name, path in files.items():
        known = path.stat()
        digest.update(f"{name} {path.name} {known.st_size} {known.st_mtime_ns}\n".encode())
    return digest.hexdigest()
