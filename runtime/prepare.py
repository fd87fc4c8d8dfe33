"""Write a data set as the raw input files that device tools read.

The folder is made for a tool started inside it::

    input_bin/13056.bin ...   one file per image: float32, channels first, no header
    NAME.info                 "0 ./input_bin/13056.bin 224 224" per line, for benchmark
    index.json                image name, stem and file of each sample, for graphopt and its runner

``ais_bench --input input_bin`` takes the folder alone.
"""

import contextlib
import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.core.errors import DatasetError, OutputError
from graphopt.core.files import atomic_folder
from graphopt.core.preprocessing import Step
from graphopt.runtime.ahead import in_order
from graphopt.runtime.predictions import Progress, Sample, Samples
from graphopt.runtime.preprocess import preprocess, steps_to_json

INDEX_VERSION = 1
INPUT_FOLDER = "input_bin"
INDEX_NAME = "index.json"


@dataclass(frozen=True, kw_only=True)
class PreparedInputs:
    """What ``prepare`` wrote.

    Attributes:
        folder: the whole folder.
        inputs: the folder of ``.bin`` files inside it.
        info: the list for the benchmark tool.
        index: the list for graphopt and its runner.
        samples: number of images.
        shape: of one sample, [C, H, W].
        dtype: of the files.
        bytes: of all ``.bin`` files together.
    """

    folder: Path
    inputs: Path
    info: Path
    index: Path
    samples: int
    shape: tuple[int, ...]
    dtype: str
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            key: str(value) if isinstance(value, Path) else value
            for key, value in dataclasses.asdict(self).items()
        }


def prepare(
    dataset: Samples,
    steps: Sequence[Step],
    folder: Path,
    *,
    width: int,
    height: int,
    name: str = "inputs",
    force: bool = False,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> PreparedInputs:
    """Preprocess every image into its own file; the folder appears whole or not at all.

    Args:
        dataset: names and paths of the images.
        steps: preprocessing of the recipe.
        folder: to write; with ``force`` an old one is replaced.
        width: of the model's input, in pixels.
        height: of the model's input, in pixels.
        name: of the ``.info`` file.
        force: replace an existing folder.
        workers: number of threads that preprocess; None for one per processor.
        on_progress: called after each image.

    Raises:
        DatasetError: no images, names that the tools cannot carry, a broken image, another size.
        OutputError: the folder exists, or the disk is too small; nothing is left behind.
    """
    samples = list(dataset)
    _check_names(samples)
    first = preprocess(samples[0].path, steps)
    if first.shape[1:] != (height, width):
        raise DatasetError(
            f"preprocessing gives {first.shape[2]} x {first.shape[1]} (width x height), "
            f"the model takes {width} x {height}"
        )
    _check_space(folder, len(samples) * first.nbytes)
    with atomic_folder(folder, force=force) as temporary:
        inputs = temporary / INPUT_FOLDER
        inputs.mkdir()
        ready = in_order(lambda sample: preprocess(sample.path, steps), samples, workers=workers)
        with contextlib.closing(ready):
            for done, (sample, pixels) in enumerate(zip(samples, ready, strict=True), start=1):
                if pixels.shape != first.shape:
                    raise DatasetError(
                        f"{sample.name} becomes {list(pixels.shape)}, {samples[0].name} {list(first.shape)}: "
                        "the steps do not fix the size"
                    )
                (inputs / _file_name(sample)).write_bytes(pixels.data)
                if on_progress is not None:
                    on_progress(done, len(samples))
        lines = [f"{i} ./{INPUT_FOLDER}/{_file_name(s)} {width} {height}\n" for i, s in enumerate(samples)]
        (temporary / f"{name}.info").write_text("".join(lines), encoding="utf-8")
        index = {
            "index_version": INDEX_VERSION,
            "shape": list(first.shape),
            "dtype": str(first.dtype),
            "preprocessing": steps_to_json(steps),
            "samples": [
                {"name": s.name, "stem": _stem(s), "files": [f"{INPUT_FOLDER}/{_file_name(s)}"]}
                for s in samples
            ],
        }
        (temporary / INDEX_NAME).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return PreparedInputs(
        folder=folder,
        inputs=folder / INPUT_FOLDER,
        info=folder / f"{name}.info",
        index=folder / INDEX_NAME,
        samples=len(samples),
        shape=first.shape,
        dtype=str(first.dtype),
        bytes=len(samples) * first.nbytes,
    )


def _stem(sample: Sample) -> str:
    return Path(sample.name).stem


def _file_name(sample: Sample) -> str:
    return f"{_stem(sample)}.bin"


def _check_names(samples: Sequence[Sample]) -> None:
    if not samples:
        raise DatasetError("the data set has no images to prepare")
    # benchmark splits its list at blanks; ais_bench names results by what stands before the first dot.
    awkward = [s.name for s in samples if "." in _stem(s) or len(_stem(s).split()) != 1]
    if awkward:
        raise DatasetError(
            f"{len(awkward)} image names hold a blank or a second dot, which the device tools cut off: "
            f"{', '.join(awkward[:5])}; rename these images and their labels"
        )
    repeated = [stem for stem, count in Counter(map(_stem, samples)).items() if count > 1]
    if repeated:
        raise DatasetError(
            f"{len(repeated)} file stems belong to several images: {', '.join(repeated[:5])}; "
            "results are matched by stem, rename them"
        )


def _check_space(folder: Path, wanted: int) -> None:
    existing = next(place for place in folder.absolute().parents if place.exists())
    free = shutil.disk_usage(existing).free
    if wanted > free:
        raise OutputError(
            f"the inputs take {wanted / 1e9:.2f} GB, {existing} has {free / 1e9:.2f} GB free; "
            "choose another place with -o, or use --limit"
        )
