"""PETA pedestrian attributes: ``label.json``, an optional ``image.txt``, and the images.

``label.json`` maps image names to 35 values of 0 or 1; ``image.txt`` lists the images to use, one
name per line. Names match with or without their extension, so that results named by file stem
find their labels.
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.peta import PETA_ATTRIBUTES

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class PetaSample:
    """One image and its attributes.

    Attributes:
        name: as listed, e.g. ``"13056.png"``.
        path: the image file.
        labels: bool [35], in the order of ``PETA_ATTRIBUTES``.
    """

    name: str
    path: Path
    labels: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class PetaLabels:
    """The content of a ``label.json``.

    Attributes:
        names: in the file's order.
        values: bool [N, 35].
    """

    names: tuple[str, ...]
    values: NDArray[np.bool_]

    def rows_for(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return the labels of these images, matched by name, else by file stem.

        Returns:
            bool [len(names), 35].

        Raises:
            DatasetError: an image has no label, or a stem fits several.
        """
        return self.values[_match(names, self.names, what="label")]


def read_peta_labels(path: Path) -> PetaLabels:
    """Read and check a ``label.json``; no images are needed.

    Raises:
        DatasetError: missing, not JSON, a repeated name, or values that are not 35 of 0 or 1.
    """
    if not path.is_file():
        raise DatasetError(f"{path} does not exist; a PETA folder holds label.json, image.txt and images/")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(
            f"{path} cannot be read as PETA labels: {error}; expected JSON of image name to 35 values"
        ) from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    if not isinstance(content, dict) or not content:
        raise DatasetError(f"{path} holds no labels; expected JSON of image name to 35 values of 0 or 1")
    wrong = [name for name, values in content.items() if not _are_labels(values)]
    if wrong:
        raise DatasetError(
            f"{path}: {len(wrong)} of {len(content)} images lack {len(PETA_ATTRIBUTES)} values of 0 or 1: "
            f"{_first(wrong)}"
        )
    return PetaLabels(names=tuple(content), values=np.array(list(content.values()), dtype=np.bool_))


class PetaDataset(Sequence[PetaSample]):
    """A PETA folder, checked when opened: every listed image exists and has its labels.

    Args:
        root: folder with ``label.json`` and, if not all labelled images are meant, ``image.txt``.
        limit: keep only the first images of the list.
        images: folder of the images; ``root/images`` or else ``root`` when not given.
        labels_only: do not look for images; enough to score results made elsewhere.

    Raises:
        DatasetError: a file is missing or wrong; the message lists the first names and counts.
        UsageError: ``limit`` is below 1.
    """

    def __init__(
        self,
        root: Path,
        *,
        limit: int | None = None,
        images: Path | None = None,
        labels_only: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"a limit of {limit} images leaves nothing; use 1 or more")
        if not root.is_dir():
            raise DatasetError(f"the data set folder {root} does not exist")
        known = read_peta_labels(root / "label.json")
        listed = root / "image.txt"
        names = _read_list(listed) if listed.is_file() else tuple(sorted(known.names))
        labels = known.rows_for(names)
        self.names = names[:limit]
        self._labels = labels[:limit]
        self._labels.flags.writeable = False
        folder = images if images is not None else root / "images" if (root / "images").is_dir() else root
        if labels_only:
            self._paths = tuple(folder / name for name in self.names)
        else:
            self._paths = _find_images(folder, self.names)

    @property
    def attributes(self) -> tuple[str, ...]:
        """The 35 attribute names."""
        return PETA_ATTRIBUTES

    @property
    def labels(self) -> NDArray[np.bool_]:
        """All labels, read-only bool [N, 35]."""
        return self._labels

    @functools.cached_property
    def digest(self) -> str:
        """Hex sha256 over names, labels and image contents (where the images are here)."""
        digest = hashlib.sha256(json.dumps(self.names).encode())
        digest.update(np.packbits(self._labels).tobytes())
        for path in self._paths:
            if path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[PetaSample]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> PetaSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[PetaSample]: ...
    def __getitem__(self, index: int | slice) -> PetaSample | list[PetaSample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return PetaSample(name=self.names[index], path=self._paths[index], labels=self._labels[index])


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise DatasetError(f"{len(repeated)} images are labelled twice: {_first(repeated)}")
    return dict(pairs)


def _are_labels(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) == len(PETA_ATTRIBUTES)
        and all(type(value) is int and value in (0, 1) for value in values)
    )


def _read_list(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a list of image names: {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise DatasetError(f"{path} lists no images; delete it to use every labelled image")
    repeated = [name for name, count in Counter(Path(name).stem for name in names).items() if count > 1]
    if repeated:
        raise DatasetError(f"{path} lists {len(repeated)} images twice: {_first(repeated)}")
    return names


def _match(names: Sequence[str], known: Sequence[str], *, what: str) -> list[int]:
    """Return the index into ``known`` of each name: the same name, else the only one of its stem."""
    exact = {name: index for index, name in enumerate(known)}
    stems: dict[str, list[int]] = {}
    for index, name in enumerate(known):
        stems.setdefault(Path(name).stem, []).append(index)
    found: list[int] = []
    missing: list[str] = []
    several: list[str] = []
    for name in names:
        candidates = [exact[name]] if name in exact else stems.get(Path(name).stem, [])
        if len(candidates) == 1:
            found.append(candidates[0])
        else:
            (several if candidates else missing).append(name)
    if missing:
        raise DatasetError(f"{len(missing)} of {len(names)} images have no {what}: {_first(missing)}")
    if several:
        raise DatasetError(f"{len(several)} names fit more than one {what}: {_first(several)}")
    return found


def _find_images(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise DatasetError(f"the image folder {folder} does not exist")
    if all((folder / name).is_file() for name in names):
        return tuple(folder / name for name in names)
    files = [entry.name for entry in folder.iterdir() if entry.is_file() and _is_image(entry)]
    try:
        return tuple(folder / files[index] for index in _match(names, files, what="image file"))
    except DatasetError as error:
        raise DatasetError(f"{folder}: {error}") from error


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
