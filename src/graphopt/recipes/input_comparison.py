"""Compare the files that were fed to a device with a recipe's own preprocessing."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, PreconditionError
from graphopt.recipes.input_probe import Probe
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.predictions import Sample, Samples
from graphopt.runtime.prepare import INPUT_FOLDER
from graphopt.validate.inputs.expected import ExpectedInput
from graphopt.validate.inputs.judging import judge
from graphopt.validate.inputs.layouts import CHANNELS, DTYPES, read_input
from graphopt.validate.inputs.verdict import InputCause, InputOutcome, InputVerdict
from graphopt.validate.inputs.views import Fed

DEFAULT_LIMIT = 8
_SUFFIXES = (".bin", ".npy")
_OTHERS = 32
"""Further images that a file is compared with when it does not hold its own."""
_SHOWN = 3


def compare_inputs(
    recipe: Recipe, dataset: Samples, folder: Path, *, limit: int = DEFAULT_LIMIT
) -> InputVerdict:
    """Say whether the files in a folder are what the recipe makes of the images, and if not, what differs.

    Args:
        recipe: its preprocessing and the size of its input count.
        dataset: names and paths of the images.
        folder: ``.bin`` or ``.npy`` files of one image each: float32, float16 or uint8 (levels before AIPP),
            with their axes in any order; also a folder that holds ``input_bin``, as ``prepare`` makes it.
            They belong to images by their stems, else in their natural order.
        limit: images to compare, at most.

    Raises:
        DatasetError: there are no such files, or not for these images.
        PreconditionError: the recipe has no preprocessing to one input with three channels.
    """
    probe = Probe(recipe.needed_steps("comparing inputs"), recipe.name)
    canvas = _canvas(recipe)
    samples = list(itertools.islice(dataset, limit + _OTHERS))
    pairs = _paired(folder, samples, total=len(dataset), limit=limit)
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
    paddings = (probe.padding(*_size(item.image)) for item in fed)
    known = {sample.name for _, sample in pairs}
    others = [sample for sample in samples if sample.name not in known]

    def more() -> list[ExpectedInput]:
        return [item.image for item in fed] + [probe.expected(each.name, each.path) for each in others]

    return judge(fed, probe.channels, next((each for each in paddings if each), None), others=more)


def _canvas(recipe: Recipe) -> tuple[int, int]:
    spec = recipe.inputs[0] if len(recipe.inputs) == 1 else None
    sizes = spec.shape[1:] if spec is not None else ()
    if len(sizes) == 3 and sizes[0] == CHANNELS and isinstance(sizes[1], int) and isinstance(sizes[2], int):
        return sizes[1], sizes[2]
    raise PreconditionError(
        f"inputs of {recipe.name} cannot be compared: it does not take one input [N, 3, H, W] of a fixed size"
    )


def _size(image: ExpectedInput) -> tuple[int, int]:
    return image.pixels.shape[1], image.pixels.shape[0]


def _paired(folder: Path, samples: Sequence[Sample], *, total: int, limit: int) -> list[tuple[Path, Sample]]:
    """Return the file of each of the first images."""
    files = _files(folder)
    by_stem = {path.stem: path for path in reversed(files)}
    asked = samples[:limit]
    if not asked:
        raise DatasetError("the data set has no images to compare inputs with")
    named = [(by_stem[stem], sample) for sample in samples if (stem := Path(sample.name).stem) in by_stem]
    if named:
        return named[:limit]
    if any(_parts(path.stem) != _parts(files[0].stem) for path in files):
        raise DatasetError(
            f"{folder}: no file is called like an image of the data set ({_first(files)}; images "
            f"{', '.join(sample.name for sample in asked[:_SHOWN])}); is this the right data set?"
        )
    if len(files) > total:
        raise DatasetError(
            f"{folder} holds {len(files)} numbered files, the data set has {total} images: files are matched "
            "by their order only where each has its image"
        )
    return list(zip(files, asked, strict=False))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"the folder of inputs {folder} does not exist")
    inside = folder / INPUT_FOLDER
    for place in (folder, inside) if inside.is_dir() else (folder,):
        files = [path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file()]
        if files:
            return sorted(files, key=lambda path: _natural(path.name))
    raise DatasetError(f"{folder} holds no inputs such as NAME.bin; is this the right folder?")


def _natural(name: str) -> list[tuple[int, str]]:
    """Order digits by their value, as the device tools do."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _parts(stem: str) -> str:
    """Return what is left of a name without its numbers."""
    return re.sub(r"\d+", "#", stem)


def _another_size(path: Path, canvas: tuple[int, int], images: int) -> InputVerdict:
    count = CHANNELS * canvas[0] * canvas[1]
    sizes = ", ".join(f"{count * size} as {DTYPES[size]}" for size in sorted(DTYPES))
    sentence = (
        f"{path.name} has {path.stat().st_size} bytes; an input of 3 x {canvas[0]} x {canvas[1]} has {sizes}"
    )
    return InputVerdict(
        outcome=InputOutcome.NAMED,
        causes=(InputCause(name="size", sentence=sentence),),
        sentence=sentence,
        images=images,
        equal=0,
        dtype="",
    )


def _first(files: Sequence[Path]) -> str:
    return ", ".join(path.name for path in files[:_SHOWN])
