"""COCO's detection task: a folder of images and an annotation file, found in the usual layouts."""

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError
from graphopt.runtime.datasets.coco_annotations import CocoObjects, read_annotations
from graphopt.runtime.datasets.image_files import check_image

_LAYOUT = "coco holds val2017/ with images and annotations/instances_val2017.json"
_PREFIX = "instances_"
_SHOWN = 5
_WORKERS = max(1, min(4, os.cpu_count() or 1))


@dataclass(frozen=True, kw_only=True)
class CocoSample:
    """One image and what is annotated in it.

    Attributes:
        name: of the image file, e.g. ``"000000000139.jpg"``.
        path: the image file.
        image_id: in annotation and result files.
        size: width and height in pixels, upright.
        objects: of this image.
        categories: id -> name, of the annotation file.
    """

    name: str
    path: Path
    image_id: int
    size: tuple[int, int]
    objects: CocoObjects
    categories: Mapping[int, str]


class CocoDetection(Sequence[CocoSample]):
    """The images of one annotation file, checked when opened.

    Args:
        root: the folder of ``val2017`` and ``annotations``, one that holds it as ``coco``, or the image
            folder itself.
        annotations: the annotation file; None to look for it in or beside ``root``.
        limit: keep only the first images of the file.
        labels_only: do not look for images; enough to score results made elsewhere. Sizes are then those
            of the annotations.

    Raises:
        DatasetError: a file is missing or damaged; the message lists the first names and counts.
        UsageError: ``limit`` is below 1.
    """

    def __init__(
        self,
        root: Path,
        *,
        annotations: Path | None = None,
        limit: int | None = None,
        labels_only: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"a limit of {limit} images leaves nothing; use 1 or more")
        self.root = root
        self.annotations = annotations if annotations is not None else _find_annotations(root)
        content = read_annotations(self.annotations, limit=limit)
        self.names = content.file_names
        self.image_ids = content.image_ids
        self.categories: Mapping[int, str] = content.categories
        self.objects = content.objects
        folder = _find_images(root, self.annotations, self.names[0])
        self._paths = tuple((folder or root) / name for name in self.names)
        self.sizes: NDArray[np.int64] = content.sizes
        order = np.argsort(self.objects.image, kind="stable")
        self._rows = np.split(
            order, np.cumsum(np.bincount(self.objects.image, minlength=len(self.names)))[:-1]
        )
        if not labels_only:
            self._check_images(folder)

    @functools.cached_property
    def digest(self) -> str:
        """Hex sha256 over names, labels and image files (where the images are here)."""
        digest = hashlib.sha256(json.dumps([self.names, self.image_ids, [*self.categories.items()]]).encode())
        for column in vars(self.objects).values():
            digest.update(np.ascontiguousarray(column).tobytes())
        digest.update(self.sizes.tobytes())
        for path in self._paths:
            if path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[CocoSample]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> CocoSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[CocoSample]: ...
    def __getitem__(self, index: int | slice) -> CocoSample | list[CocoSample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        width, height = self.sizes[index].tolist()
        return CocoSample(
            name=self.names[index],
            path=self._paths[index],
            image_id=self.image_ids[index],
            size=(width, height),
            objects=self.objects.at(self._rows[index]),
            categories=self.categories,
        )

    def _check_images(self, folder: Path | None) -> None:
        missing = [path.name for path in self._paths if not path.is_file()]
        if missing:
            raise DatasetError(
                f"{folder or self.root}: {len(missing)} of {len(self._paths)} images of {self.annotations} "
                f"are missing: {_first(missing)}; {_LAYOUT}"
            )

        def check(item: tuple[Path, list[int]]) -> tuple[int, int]:
            path, (width, height) = item
            return check_image(path, (width, height))

        with ThreadPoolExecutor(_WORKERS) as pool:
            found = list(pool.map(check, zip(self._paths, self.sizes.tolist(), strict=True)))
        self.sizes = np.array(found, np.int64)


def _find_annotations(root: Path) -> Path:
    """Return the annotation file of a folder; that of val2017 where there are several."""
    if not root.is_dir():
        raise DatasetError(f"the data set folder {root} does not exist; {_LAYOUT}")
    absolute = root.absolute()
    roots = (absolute, absolute / "coco", absolute.parent)
    for place in [folder for base in roots for folder in (base / "annotations", base)]:
        if not place.is_dir():
            continue
        found = sorted(place.glob(f"{_PREFIX}*.json"))
        usual = [path for path in found if path.stem == f"{_PREFIX}val2017"]
        same = [path for path in found if path.stem == f"{_PREFIX}{absolute.name}"]
        chosen = same or usual or found
        if len(chosen) > 1:
            names = ", ".join(path.name for path in found[:_SHOWN])
            raise DatasetError(f"{place} holds several annotation files ({names}); choose with --annotations")
        if chosen:
            # As the user wrote it where that is possible: messages name it.
            inside = chosen[0].is_relative_to(absolute)
            return root / chosen[0].relative_to(absolute) if inside else chosen[0]
    raise DatasetError(f"{root} has no annotation file; {_LAYOUT}, or name the file with --annotations")


def _find_images(root: Path, annotations: Path, first: str) -> Path | None:
    """Return the folder in which the first image is; None when it is in none of the usual ones."""
    split = annotations.stem.removeprefix(_PREFIX)
    for base in (root, root / "coco", annotations.absolute().parent, annotations.absolute().parent.parent):
        for folder in (base / split, base / "images" / split, base / "images", base / "coco" / split, base):
            if (folder / first).is_file():
                return folder
    return None


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
