"""Golden samples: what goes into a network and what the original network answers, as one npz file.

The keys are ``input/NAME/I`` and ``output/NAME/I``, with the tensor's name and the sample's number
from 0; each array has its own batch axis. Reading needs neither torch nor pickles.
"""

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from graphopt.core.errors import InvalidModelError
from graphopt.core.files import atomic_file
from graphopt.core.tensors import Array

GOLDEN_FILE = "golden.npz"

Sample: TypeAlias = tuple[dict[str, Array], dict[str, Array]]
"""Inputs by name and outputs by name."""

_KEY = re.compile(r"(input|output)/(.+)/(\d{1,6})")


def write_golden(
    path: Path, samples: Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]], *, force: bool
) -> None:
    """Write samples of inputs and outputs, atomically.

    Raises:
        OutputError: the file exists without ``force``, or cannot be written.
    """
    arrays = {
        f"{side}/{name}/{number}": array
        for number, (feeds, results) in enumerate(samples)
        for side, tensors in (("input", feeds), ("output", results))
        for name, array in tensors.items()
    }
    with atomic_file(path, force=force) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_golden(folder: Path) -> list[Sample]:
    """Read the samples of a bundle.

    Args:
        folder: the bundle, or the npz file itself.

    Returns:
        Inputs and outputs of each sample, in the order they were written.

    Raises:
        InvalidModelError: the file is missing, damaged, or not complete.
    """
    path = folder / GOLDEN_FILE if folder.is_dir() else folder
    sides: dict[int, Sample] = {}
    try:
        # Opened here: numpy leaves a damaged file that it opened itself open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            for key in archive.files:
                side, name, number = _parsed(key, path)
                feeds, results = sides.setdefault(number, ({}, {}))
                (feeds if side == "input" else results)[name] = archive[key]
    except OSError as error:
        raise InvalidModelError(
            f"cannot read the golden samples {path}: {error.strerror or error}; export the bundle again"
        ) from error
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise InvalidModelError(f"{path} is damaged ({error}); export the bundle again") from error
    return _complete(sides, path)


def _parsed(key: str, path: Path) -> tuple[str, str, int]:
    match = _KEY.fullmatch(key)
    if match is None:
        raise InvalidModelError(f"{path} holds {key!r}, which is no golden tensor; export the bundle again")
    return match[1], match[2], int(match[3])


def _complete(sides: dict[int, Sample], path: Path) -> list[Sample]:
    samples = [sides[number] for number in sorted(sides)]
    if not samples or sorted(sides) != list(range(len(samples))):
        raise InvalidModelError(f"{path} lacks samples: it has {sorted(sides)}; export the bundle again")
    names = {(tuple(sorted(feeds)), tuple(sorted(results))) for feeds, results in samples}
    if len(names) != 1 or any(not feeds or not results for feeds, results in samples):
        raise InvalidModelError(f"{path} has samples with different tensors; export the bundle again")
    return samples
