"""Compare the files that were fed to a device with a recipe's own preprocessing."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError
from graphopt.core.words import counted
from graphopt.recipes.fed_files import another_size, fed_files, input_canvas
from graphopt.recipes.input_probe import Probe
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.predictions import Sample, Samples
from graphopt.validate.inputs.expected import ExpectedInput
from graphopt.validate.inputs.judging import judge
from graphopt.validate.inputs.layouts import read_input
from graphopt.validate.inputs.verdict import InputCause, InputOutcome, InputVerdict
from graphopt.validate.inputs.views import Fed

DEFAULT_LIMIT = 8
_OTHERS = 32
"""Further images that a file is compared with when it does not hold its own."""


def compare_inputs(
    recipe: Recipe, dataset: Samples, folder: Path, *, limit: int = DEFAULT_LIMIT
) -> InputVerdict:
    """Say whether the files in a folder are what the recipe makes of the images, and if not, what differs.

    Args:
        recipe: its preprocessing and the size of its input count.
        dataset: names and paths of the images.
        folder: ``.bin`` or ``.npy`` files of one image each: float32, float16 or uint8 (levels before AIPP),
            with their axes in any order; see ``fed_files.fed_files``.
        limit: images to compare, at most.

    Raises:
        DatasetError: there are no such files, or not for these images.
        PreconditionError: the recipe has no preprocessing to one input with three channels.
    """
    input_canvas(recipe)
    return _compared(recipe, dataset, folder, fed_files(folder, dataset, limit=limit))


def compare_every_input(recipe: Recipe, dataset: Samples, folder: Path) -> InputVerdict:
    """Compare all files, not only the first; of the first few that differ, say what differs.

    Arguments and errors are those of ``compare_inputs``.
    """
    input_canvas(recipe)
    pairs = fed_files(folder, dataset)
    verdict, worst = None, 0.0
    for start in range(0, len(pairs), DEFAULT_LIMIT):
        found = _compared(recipe, dataset, folder, pairs[start : start + DEFAULT_LIMIT])
        if not found.ok:
            before = f"the first {start} inputs equal the recipe's, of the next " if start else ""
            return replace(found, sentence=before + found.sentence)
        if verdict is None or (found.max_error or 0.0) > worst:
            verdict, worst = found, found.max_error or 0.0
    assert verdict is not None
    sentence = verdict.sentence.replace(counted(verdict.images, "input"), counted(len(pairs), "input"), 1)
    return replace(verdict, sentence=sentence, images=len(pairs), equal=len(pairs))


def _compared(
    recipe: Recipe, dataset: Samples, folder: Path, pairs: Sequence[tuple[Path, Sample]]
) -> InputVerdict:
    probe = Probe(recipe.needed_steps("comparing inputs"), recipe.name)
    canvas = input_canvas(recipe)
    flats: list[NDArray[np.generic]] = []
    for path, _ in pairs:
        flat = read_input(path, canvas)
        if flat is None:
            return _another_size(path, canvas, len(pairs))
        flats.append(flat)
    dtypes = sorted({str(flat.dtype) for flat in flats})
    if len(dtypes) > 1:
        raise DatasetError(f"{folder} holds files of {' and '.join(dtypes)}; keep those of one number format")
    fed = [
        Fed(file=path.name, flat=flat, image=probe.expected(sample.name, sample.path))
        for (path, sample), flat in zip(pairs, flats, strict=True)
    ]
    paddings = (probe.padding(item.image.pixels.shape[1], item.image.pixels.shape[0]) for item in fed)
    padding = next((each for each in paddings if each is not None), None)

    def more() -> list[ExpectedInput]:
        known = {sample.name for _, sample in pairs}
        others = itertools.islice((sample for sample in dataset if sample.name not in known), _OTHERS)
        return [item.image for item in fed] + [probe.expected(each.name, each.path) for each in others]

    return judge(fed, probe.channels, padding, others=more)


def _another_size(path: Path, canvas: tuple[int, int], images: int) -> InputVerdict:
    sentence = another_size(path, canvas)
    return InputVerdict(
        outcome=InputOutcome.NAMED,
        causes=(InputCause(name="size", sentence=sentence),),
        sentence=sentence,
        images=images,
        equal=0,
        dtype="",
    )
