"""Read what ais_bench, benchmark or graphopt's runner wrote on the device box.

Files are matched to images by stem and to outputs by name where an index says it, else by size
and shape; what could be two things is refused.
"""

import itertools
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.tensors import Array, TensorSpec
from graphopt.runtime.predictions import Predictions, Progress
from graphopt.runtime.row_spool import RowSpool

_RESULT = re.compile(r"(?P<stem>.+?)(?:_output)?_(?P<k>\d+)\.(?P<kind>bin|txt|npy)", re.IGNORECASE)
_DEVICE_FOLDER = re.compile(r"(dumpOutput_)?device_?\d+")
_NOT_RESULTS = re.compile(r"\..*|.*\.json|.*\.log|perf_.*\.txt|PureInfer_.*\.txt")
_NARROWER = {"float32": "float16", "int64": "int32"}
"""What a device may write instead: half of the bytes, cast back when read."""

_SHOWN = 5


@dataclass(frozen=True)
class _Expected:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def dtypes(self) -> tuple[np.dtype[Any], ...]:
        """What a file may hold; no two of one size."""
        narrower = _NARROWER.get(self.dtype.name)
        return (self.dtype, np.dtype(narrower)) if narrower else (self.dtype,)

    def stored_as(self, path: Path) -> np.dtype[Any]:
        """Return the dtype that a raw file's size says."""
        size = path.stat().st_size
        fitting = (dtype for dtype in self.dtypes() if self.size * dtype.itemsize == size)
        return next(fitting, self.dtype)


def read_results(
    folder: Path,
    outputs: Sequence[TensorSpec],
    stems: Sequence[str],
    *,
    batch: int = 1,
    in_model_order: bool = False,
    allow_extra: bool = False,
    on_progress: Progress | None = None,
) -> Predictions:
    """Read a folder of results.

    Accepted are the folder with the files, one with a sub-folder per device, ``result`` of
    benchmark, ais_bench's output folder when it holds one run, and a bundle with ``results``.

    Args:
        folder: as above.
        outputs: of the model, with every size but the batch known.
        stems: file stems (or names) of the images; the predictions carry them in this order.
        batch: batch size of the compiled model; tells whether a fixed first size is the batch.
        in_model_order: ``outputs`` are in the order of the compiled model, so that outputs of
            equal size may be bound by their number.
        allow_extra: accept results of images that are not in ``stems``.
        on_progress: called after each image.

    Raises:
        DatasetError: files are missing, too many, too short, or could be several outputs; the
            message names the first ones.
        UsageError: an output has free sizes besides the batch.
    """
    expected = [_expected(spec, batch) for spec in outputs]
    place = _find_place(folder)
    files = _collect(place, _by_stem(stems), allow_extra=allow_extra)
    missing = [stem for stem in stems if Path(stem).stem not in files and stem not in files]
    if missing:
        raise DatasetError(f"{place}: {_count(missing, stems)} images have no results: {_first(missing)}")
    ordered = [files[stem] if stem in files else files[Path(stem).stem] for stem in stems]
    _check_numbers(place, stems, ordered, len(expected))
    numbers = sorted(ordered[0])
    index = place / "index.json"
    if index.is_file():
        binding = _binding_of_index(index, expected, numbers)
    else:
        binding = _binding_by_content(expected, numbers, ordered, in_model_order=in_model_order)
    # The first image tells the precision of all: another one half its size was cut short.
    stored = [item.stored_as(ordered[0][number]) for item, number in zip(expected, binding, strict=True)]
    with RowSpool() as spool:
        for done, sample in enumerate(ordered, start=1):
            spool.append(
                {
                    item.name: _load(sample[number], item, dtype)[np.newaxis]
                    for item, number, dtype in zip(expected, binding, stored, strict=True)
                }
            )
            if on_progress is not None:
                on_progress(done, len(ordered))
        return Predictions(names=tuple(stems), outputs=spool.outputs())


def _expected(spec: TensorSpec, batch: int) -> _Expected:
    shape = list(spec.shape)
    if shape and (shape[0] == batch or not isinstance(shape[0], int)):
        shape = shape[1:]
    elif batch != 1:
        raise UsageError(f"output {spec.name} {spec.shape_text} has no axis of the batch size {batch}")
    sizes = tuple(dim for dim in shape if isinstance(dim, int))
    if len(sizes) != len(shape):
        raise UsageError(
            f"output {spec.name} {spec.shape_text} has free sizes; result files carry no shape, so pin it"
        )
    return _Expected(spec.name, sizes, np.dtype(spec.dtype))


def _find_place(folder: Path) -> Path:
    """Return the folder that holds the files or the folders of the devices."""
    if not folder.is_dir():
        raise DatasetError(f"the results folder {folder} does not exist")
    if (folder / "bundle.json").is_file():
        if not (folder / "results").is_dir():
            raise DatasetError(f"{folder} is a bundle without results: run its device_runner.py first")
        return folder / "results"
    if (folder / "index.json").is_file() or any(_result_files(folder)):
        return folder
    for inner in (folder / "result", *sorted(folder.iterdir())):
        if _DEVICE_FOLDER.fullmatch(inner.name) and inner.is_dir():
            return folder
        if inner == folder / "result" and inner.is_dir():
            return inner
    runs = [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and any(_result_files(inner))]
    if len(runs) == 1:
        return runs[0]
    if runs:
        names = ", ".join(inner.name for inner in runs[:_SHOWN])
        raise DatasetError(f"{folder} holds several runs ({names}); name one of them")
    raise DatasetError(f"{folder} holds no results such as NAME_0.bin; is this the right folder?")


def _result_files(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.iterdir() if _RESULT.fullmatch(entry.name) and not _skipped(entry))


def _skipped(entry: Path) -> bool:
    return bool(_NOT_RESULTS.fullmatch(entry.name))


def _by_stem(stems: Sequence[str]) -> dict[str, str]:
    known = {Path(stem).stem: stem for stem in stems} | {stem: stem for stem in stems}
    if len({Path(stem).stem for stem in stems}) != len(stems):
        raise DatasetError("several images have the same file stem: their results cannot be told apart")
    return known


def _collect(place: Path, known: dict[str, str], *, allow_extra: bool) -> dict[str, dict[int, Path]]:
    """Return the files of each stem by output number."""
    devices = [entry for entry in sorted(place.iterdir()) if _DEVICE_FOLDER.fullmatch(entry.name)]
    found: dict[str, dict[int, Path]] = {}
    extra = []
    for entry in itertools.chain.from_iterable(sorted(part.iterdir()) for part in (place, *devices)):
        if entry in devices or _skipped(entry):
            continue
        stem, number = _parse(entry.name, known)
        if stem not in known:
            extra.append(entry.name)
            continue
        other = found.setdefault(stem, {}).setdefault(number, entry)
        if other != entry and other.read_bytes() != entry.read_bytes():
            raise DatasetError(
                f"{other} and {entry} are both output {number} of {stem}, and differ; keep one of them"
            )
    if extra and not allow_extra:
        raise DatasetError(
            f"{place}: {len(extra)} files belong to no image of the data set: {_first(extra)}; "
            "is this the right data set?"
        )
    return found


def _parse(name: str, known: dict[str, str]) -> tuple[str, int]:
    match = _RESULT.fullmatch(name)
    if match is None:
        return "", 0
    # A stem may itself end in "_output": believe the data set.
    whole = name.rpartition("_")[0]
    return (whole if whole in known else match["stem"]), int(match["k"])


def _check_numbers(
    place: Path, stems: Sequence[str], ordered: Sequence[dict[int, Path]], outputs: int
) -> None:
    numbers = set(ordered[0])
    odd = [stem for stem, files in zip(stems, ordered, strict=True) if set(files) != numbers]
    if odd:
        raise DatasetError(
            f"{place}: {len(odd)} images have other output numbers than {sorted(numbers)}: {_first(odd)}"
        )
    if len(numbers) != outputs:
        raise DatasetError(
            f"{place}: results have {len(numbers)} outputs per image (numbers {sorted(numbers)}), "
            f"the model has {outputs}"
        )


def _binding_of_index(path: Path, expected: Sequence[_Expected], numbers: Sequence[int]) -> list[int]:
    """Return the output number of each expected output, from the runner's own index."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = [item["name"] for item in content["outputs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is damaged ({error}); copy the results again") from error
    missing = [item.name for item in expected if item.name not in names]
    if missing or len(names) != len(numbers):
        raise DatasetError(
            f"{path} names the outputs {', '.join(names)}; the model has others: {_first(missing)}"
        )
    return [numbers[names.index(item.name)] for item in expected]


def _binding_by_content(
    expected: Sequence[_Expected],
    numbers: Sequence[int],
    ordered: Sequence[dict[int, Path]],
    *,
    in_model_order: bool,
) -> list[int]:
    first = ordered[0]
    possible = [
        arrangement
        for arrangement in itertools.permutations(numbers)
        if all(_fits(first[number], item) for number, item in zip(arrangement, expected, strict=True))
    ]
    if not possible:
        sizes = ", ".join(f"{first[number].name} {first[number].stat().st_size} bytes" for number in numbers)
        wanted = ", ".join(f"{item.name} {item.dtype.name} {list(item.shape)}" for item in expected)
        raise DatasetError(f"result files do not fit the outputs: found {sizes}; expected {wanted}")
    if in_model_order and tuple(numbers) in possible:
        return list(numbers)
    if len(possible) > 1:
        names = ", ".join(item.name for item in expected)
        raise DatasetError(
            f"the outputs {names} cannot be told apart by the size of their files; use the results of "
            "graphopt's runner, or a model whose sidecar names its outputs in order"
        )
    return list(possible[0])


def _fits(path: Path, item: _Expected) -> bool:
    if path.suffix.lower() == ".bin":
        return path.stat().st_size in {item.size * dtype.itemsize for dtype in item.dtypes()}
    return _is_value_of(_load_text_or_npy(path), path, item)


def _is_value_of(value: Array, path: Path, item: _Expected) -> bool:
    npy = path.suffix.lower() == ".npy"
    if npy and (value.dtype not in item.dtypes() or not _same_shape(value.shape, item.shape)):
        return False
    return value.size == item.size


def _same_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return found == wanted or found == (1, *wanted)


def _load(path: Path, item: _Expected, stored: np.dtype[Any]) -> Array:
    if path.suffix.lower() == ".bin":
        value: Array | None = None
        if _fits(path, item) and item.stored_as(path) == stored:
            value = np.fromfile(path, stored)
    else:
        value = _load_text_or_npy(path)
        value = value if _is_value_of(value, path, item) else None
    if value is None:
        raise DatasetError(
            f"{path} ({path.stat().st_size} bytes) is not {item.dtype.name} {list(item.shape)} of output "
            f"{item.name}; was the copy cut short?"
        )
    return value.reshape(item.shape).astype(item.dtype)


def _load_text_or_npy(path: Path) -> Array:
    return _load_npy(path) if path.suffix.lower() == ".npy" else _load_txt(path)


def _load_npy(path: Path) -> Array:
    try:
        with path.open("rb") as stream:
            value: Array = np.load(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} is not a .npy file: {error}") from error
    return value


def _load_txt(path: Path) -> Array:
    try:
        text = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # how older numpy complains
            # Much faster than split(): a mask's logits are 328,125 numbers a file.
            return np.fromstring(text, np.float64, sep=" ") if text.strip() else np.empty(0)
    except (UnicodeDecodeError, ValueError, DeprecationWarning) as error:
        raise DatasetError(f"{path} holds something else than numbers: {error}") from error


def _count(some: Sequence[str], of: Sequence[str]) -> str:
    return f"{len(some)} of {len(of)}"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
