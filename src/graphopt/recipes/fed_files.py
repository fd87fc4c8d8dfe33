"""Find the files that were fed to a device and their images, and read them as a model's input."""

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
from graphopt.validate.inputs.layouts import CHANNELS, DTYPES, arranged, read_input

_SUFFIXES = (".bin", ".npy")
_SHOWN = 3


def fed_files(folder: Path, dataset: Samples, *, limit: int | None = None) -> list[tuple[Path, Sample]]:
    """Return the file of each image that has one, in the order of the images.

    Files belong to images by their stems. Numbered files that are called like no image belong to the images
    in their natural order, as the device tools read them.

    Args:
        folder: of ``.bin`` or ``.npy`` files, or one that holds ``input_bin`` as ``prepare`` makes it.
        dataset: names of the images.
        limit: of the pairs.

    Raises:
        DatasetError: there are no such files, or not for these images.
    """
    files = _files(folder)
    by_stem = {path.stem: path for path in reversed(files)}
    found = ((by_stem[stem], each) for each in dataset if (stem := Path(each.name).stem) in by_stem)
    if named := list(itertools.islice(found, limit)):
        return named
    if any(_without_numbers(path.stem) != _without_numbers(files[0].stem) for path in files):
        images = [sample.name for sample in itertools.islice(dataset, _SHOWN)]
        raise DatasetError(
            f"{folder}: no file is called like an image of the data set (files {_first(files)}; images "
            f"{', '.join(images)}); is this the right data set?"
        )
    if len(files) > len(dataset):
        raise DatasetError(
            f"{folder} holds {len(files)} numbered files, the data set has {len(dataset)} images: files are "
            "matched by their order only where each has its image"
        )
    return list(itertools.islice(zip(files, dataset, strict=False), limit))


def input_canvas(recipe: Recipe) -> tuple[int, int]:
    """Return height and width of a recipe's only input.

    Raises:
        PreconditionError: it takes something else than one image of a fixed size.
    """
    spec = recipe.inputs[0] if len(recipe.inputs) == 1 else None
    sizes = spec.shape[1:] if spec is not None else ()
    if len(sizes) == 3 and sizes[0] == CHANNELS and isinstance(sizes[1], int) and isinstance(sizes[2], int):
        return sizes[1], sizes[2]
    raise PreconditionError(
        f"inputs of {recipe.name} cannot be compared: it does not take one input [N, 3, H, W] of a fixed size"
    )


def model_input(path: Path, recipe: Recipe, probe: Probe | None = None) -> NDArray[np.float32]:
    """Return what a device made of a file: float32 [3, H, W].

    Whole levels (uint8) are laid out [H, W, 3] and normalised as AIPP would, by the recipe's numbers.

    Args:
        path: the file.
        recipe: whose input it is.
        probe: of the recipe, where there is one already.

    Raises:
        DatasetError: the file has another size, or cannot be read.
    """
    canvas = input_canvas(recipe)
    flat = read_input(path, canvas)
    if flat is None:
        raise DatasetError(another_size(path, canvas))
    if flat.dtype != np.uint8:
        return flat.reshape(CHANNELS, *canvas).astype(np.float32, copy=False)
    probe = probe or Probe(recipe.needed_steps("reading inputs"), recipe.name)
    levels = arranged(flat, "NHWC", canvas).astype(np.float32)
    levels *= np.array(probe.channels.scale, np.float32)
    levels += np.array(probe.channels.offset, np.float32)
    return np.ascontiguousarray(levels.transpose(2, 0, 1))


def another_size(path: Path, canvas: tuple[int, int]) -> str:
    """Say that a file is no input of this size."""
    count = CHANNELS * canvas[0] * canvas[1]
    sizes = ", ".join(f"{count * size} as {DTYPES[size]}" for size in sorted(DTYPES))
    return (
        f"{path.name} has {path.stat().st_size} bytes; an input of 3 x {canvas[0]} x {canvas[1]} has {sizes}"
    )


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


def _without_numbers(stem: str) -> str:
    return re.sub(r"\d+", "#", stem)


def _first(files: Sequence[Path]) -> str:
    return ", ".join(path.name for path in files[:_SHOWN])
