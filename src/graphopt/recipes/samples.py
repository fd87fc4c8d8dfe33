"""Inputs for comparisons: the user's, the recipe's data set, a bundle's golden ones, or seeded."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.samples import structured_feeds
from graphopt.core.tensors import Array, TensorSpec
from graphopt.core.words import counted
from graphopt.recipes.recipe import Recipe

DEFAULT_COUNT = 8
_SEEDED_COUNT = 2


@dataclass(frozen=True, kw_only=True)
class Feeds:
    """Inputs and where they come from.

    Attributes:
        samples: one mapping per sample; arrays carry the batch axis.
        kind: shown wherever a verdict is shown.
    """

    samples: tuple[Mapping[str, Array], ...]
    kind: str


def feeds_for(
    inputs: tuple[TensorSpec, ...],
    *,
    data: Path | None = None,
    recipe: Recipe | None = None,
    golden: Path | None = None,
    annotations: Path | None = None,
    count: int = DEFAULT_COUNT,
) -> Feeds:
    """Return inputs for a model.

    The first of these that is there: ``data`` (an ``.npz`` with one array per input, or an ``.npy`` for
    the only one, stacked along axis 0 or one sample each; or a data set folder of the recipe),
    ``golden`` (a bundle's ``golden.npz``), seeded structured ones. ``annotations`` is the file of a data
    set's labels, where its format has one.

    Raises:
        UsageError: non-float inputs need ``data``; or ``data`` does not fit the inputs.
        DatasetError: ``data`` cannot be read.
    """
    if data is not None and data.is_dir():
        if recipe is None:
            raise UsageError(f"{data} is a data set folder: say whose with --recipe, or give an .npz file")
        return _from_data_set(data, recipe, annotations, count)
    if annotations is not None:
        raise UsageError("--annotations goes with a data set folder: name it with --data")
    if data is not None:
        return _from_arrays(data, _read_arrays(data, inputs), inputs, count)
    if golden is not None and golden.is_file():
        return _from_golden(golden, inputs, count)
    integers = [spec.name for spec in inputs if not spec.dtype.startswith("float")]
    if integers:
        raise UsageError(
            f"inputs {', '.join(integers)} are not floats and cannot be made up: give --data FILE.npz"
        )
    samples = tuple(structured_feeds(inputs, seed=seed) for seed in range(min(count, _SEEDED_COUNT)))
    return Feeds(samples=samples, kind=f"{counted(len(samples), 'seeded structured input')}")


def _from_data_set(folder: Path, recipe: Recipe, annotations: Path | None, count: int) -> Feeds:
    from graphopt.runtime.preprocess import preprocess

    task = recipe.needed_task(f"the data set folder {folder}")
    dataset = task.open_data(folder, limit=count, annotations=annotations)
    steps = recipe.needed_steps(f"the data set folder {folder}")
    name = recipe.inputs[0].name
    chosen = list(islice(dataset, count))
    samples = tuple({name: preprocess(sample.path, steps)[np.newaxis]} for sample in chosen)
    return Feeds(samples=samples, kind=f"{counted(len(samples), 'image')} of {folder.name}")


def _from_arrays(path: Path, arrays: dict[str, Array], inputs: tuple[TensorSpec, ...], count: int) -> Feeds:
    missing = [spec.name for spec in inputs if spec.name not in arrays]
    if missing:
        raise UsageError(f"{path} has no array for input {', '.join(missing)}; it has: {', '.join(arrays)}")
    lengths = {len(arrays[spec.name]) if arrays[spec.name].ndim else 1 for spec in inputs}
    batches = {spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else 1 for spec in inputs}
    if len(lengths) != 1 or len(batches) != 1:
        sample = {spec.name: arrays[spec.name] for spec in inputs}
        return _checked(Feeds(samples=(sample,), kind=f"1 sample of {path.name}"), inputs)
    step = batches.pop()
    total = lengths.pop() // step
    samples = tuple(
        {spec.name: arrays[spec.name][i * step : (i + 1) * step] for spec in inputs}
        for i in range(min(total, count))
    )
    things = "sample" if total == 1 else "samples"
    of_all = str(total) if total == len(samples) else f"{len(samples)} of {total}"
    if not samples:
        raise UsageError(f"{path} holds fewer samples than the model's batch of {step}")
    return _checked(Feeds(samples=samples, kind=f"{of_all} {things} of {path.name}"), inputs)


def _from_golden(path: Path, inputs: tuple[TensorSpec, ...], count: int) -> Feeds:
    from graphopt.core.golden import read_golden

    samples = tuple(feeds for feeds, _ in read_golden(path)[:count])
    fits = all(set(feeds) == {spec.name for spec in inputs} for feeds in samples)
    if not fits:
        return feeds_for(inputs, count=count)
    return Feeds(samples=samples, kind=f"{len(samples)} golden inputs of the export")


def _read_arrays(path: Path, inputs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Return the arrays of a file by input; that of an ``.npy`` has no name and is the only input's."""
    if not path.is_file():
        raise DatasetError(f"{path} does not exist; --data takes an .npz or .npy file, or a data set folder")
    try:
        # Opened here: numpy leaves a damaged file that it opened itself open.
        with path.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            single = content if isinstance(content, np.ndarray) else None
            arrays = {} if single is not None else {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DatasetError(
            f"{path} is not an .npz file of plain arrays; write it with numpy.savez(FILE, NAME=array)"
        ) from error
    if single is not None:
        return _only_input(path, single, inputs)
    if not arrays:
        raise DatasetError(f"{path} holds no named arrays; write it with numpy.savez(FILE, NAME=array)")
    return arrays


def _only_input(path: Path, array: Array, inputs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise UsageError(f"{path} holds one array for {len(inputs)} inputs; give an .npz with {names}")
    return {inputs[0].name: array}


def _checked(feeds: Feeds, inputs: tuple[TensorSpec, ...]) -> Feeds:
    for sample in feeds.samples:
        for spec in inputs:
            array = sample[spec.name]
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise UsageError(f"--data, input {spec.name}: holds NaN or infinities, which prove nothing")
            reason = spec.mismatch(array)
            if reason and not reason.startswith("shape"):  # a batch may differ; the comparison splits it
                raise UsageError(f"--data, input {spec.name}: {reason}")
    return feeds
