"""PASCAL VOC segmentation: ``VOCdevkit/VOC2012`` with images, indexed masks and lists of image ids.

Masks are read when they are asked for. Indexed ones hold class indices; coloured ones are mapped
back by VOC's palette.
"""

import functools
import hashlib
import json
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.voc import VOC_CLASSES, VOC_IGNORE, voc_palette

_SHOWN = 5
_LAYOUT = "VOCdevkit/VOC2012 holds JPEGImages, SegmentationClass and ImageSets/Segmentation"


@dataclass(frozen=True, kw_only=True)
class VocSample:
    """One image and the place of its mask.

    Attributes:
        name: of the image file, e.g. ``"2007_000033.jpg"``.
        path: the image file.
        mask_path: the mask file.
    """

    name: str
    path: Path
    mask_path: Path

    def mask(self) -> NDArray[np.uint8]:
        """Read the mask.

        Returns:
            uint8 [H, W]: class indices, 255 where void.

        Raises:
            DatasetError: it is missing, damaged, of another kind, or of another size than the
                image (where that is here).
        """
        mask = read_voc_mask(self.mask_path)
        if self.path.is_file():
            size = _image_size(self.path)
            if size != (mask.shape[1], mask.shape[0]):
                raise DatasetError(
                    f"{self.mask_path} is {mask.shape[1]} x {mask.shape[0]}, its image {size[0]} x {size[1]}"
                )
        return mask


class VocSegmentation(Sequence[VocSample]):
    """The images of one list of VOC's segmentation task, checked when opened.

    Args:
        root: ``VOC2012``, ``VOCdevkit``, or the folder that holds ``VOCdevkit``.
        split: name of the list in ``ImageSets/Segmentation``.
        limit: keep only the first images of the list.
        labels_only: do not look for images; enough to score results made elsewhere.

    Raises:
        DatasetError: a file is missing; the message lists the first names and counts.
        UsageError: ``limit`` is below 1.
    """

    def __init__(
        self, root: Path, *, split: str = "val", limit: int | None = None, labels_only: bool = False
    ) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"a limit of {limit} images leaves nothing; use 1 or more")
        self.root = _find_root(root)
        ids = _read_list(self.root / "ImageSets" / "Segmentation" / f"{split}.txt")[:limit]
        self.names = tuple(f"{name}.jpg" for name in ids)
        self._paths = tuple(self.root / "JPEGImages" / name for name in self.names)
        self._masks = tuple(self.root / "SegmentationClass" / f"{name}.png" for name in ids)
        _check_there(self._masks, "masks")
        if not labels_only:
            _check_there(self._paths, "images")

    @functools.cached_property
    def digest(self) -> str:
        """Hex sha256 over names, mask files and image files (where the images are here)."""
        digest = hashlib.sha256(json.dumps(self.names).encode())
        for path in (*self._masks, *self._paths):
            if path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[VocSample]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> VocSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[VocSample]: ...
    def __getitem__(self, index: int | slice) -> VocSample | list[VocSample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return VocSample(name=self.names[index], path=self._paths[index], mask_path=self._masks[index])


def read_voc_mask(path: Path) -> NDArray[np.uint8]:
    """Read a mask file as class indices.

    Indexed and grey files hold the indices themselves, unless an indexed file's palette has VOC's
    colours in another order; coloured files are mapped by VOC's palette.

    Returns:
        uint8 [H, W], values below 21 or 255.

    Raises:
        DatasetError: missing, damaged, another kind of file, or a colour or index that VOC has not.
    """
    mode, values, palette = _decode(path)
    if mode == "RGB":
        mask = _by_colour(path, values)
    else:
        mask = values
        used = np.unique(mask)
        if palette is not None and _is_reordered(palette, used):
            mask = _by_colour(path, palette[mask])
    strange = sorted(set(np.unique(mask).tolist()) - {*range(len(VOC_CLASSES)), VOC_IGNORE})
    if strange:
        raise DatasetError(
            f"{path} holds the labels {_first([str(value) for value in strange])}; VOC's are 0 to "
            f"{len(VOC_CLASSES) - 1} and {VOC_IGNORE}"
        )
    return mask


def _decode(path: Path) -> tuple[str, NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return the mode (``L``, ``P`` or ``RGB``), pixels, and the palette [256, 3] of an indexed file."""
    from PIL import Image  # here: help pages must not pay for it

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB") if opened.mode == "RGBA" else opened
            if picture.mode not in ("P", "L", "RGB"):
                raise DatasetError(
                    f"the mask {path} has pixels of kind {picture.mode}; expected an indexed, grey or RGB PNG"
                )
            pixels = np.array(picture)
            palette = None
            if picture.mode == "P":
                colours = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
                palette = np.zeros((256, 3), np.uint8)
                palette[: len(colours)] = colours
            return picture.mode, pixels, palette
    except FileNotFoundError as error:
        raise DatasetError(f"the mask {path} does not exist") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DatasetError(f"the mask {path} cannot be decoded: {error}; copy it again") from error


def _is_reordered(palette: NDArray[np.uint8], used: NDArray[np.uint8]) -> bool:
    """Whether the used colours are VOC's, but not at VOC's indices."""
    colours = [tuple(row) for row in palette[used].tolist()]
    here = [_COLOURS[index] for index in used.tolist()]
    return colours != here and all(colour in _INDEX_OF for colour in colours)


_COLOURS = voc_palette()
_INDEX_OF = {_COLOURS[index]: index for index in (*range(len(VOC_CLASSES)), VOC_IGNORE)}


def _by_colour(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    codes = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, inverse = np.unique(codes, return_inverse=True)
    indices = []
    for code in found.tolist():
        colour = (code >> 16, code >> 8 & 255, code & 255)
        if colour not in _INDEX_OF:
            raise DatasetError(
                f"the mask {path} holds the colour {colour}, which is not in VOC's palette; "
                "was it saved as JPEG or smoothed?"
            )
        indices.append(_INDEX_OF[colour])
    return np.array(indices, np.uint8)[inverse].reshape(codes.shape)


def _image_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise DatasetError(f"the image {path} cannot be read: {error}; replace the file") from error


def _find_root(root: Path) -> Path:
    if not root.is_dir():
        raise DatasetError(f"the data set folder {root} does not exist; {_LAYOUT}")
    for place in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (place / "ImageSets").is_dir():
            return place
    raise DatasetError(f"{root} is not in VOC's layout: {_LAYOUT}")


def _read_list(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        lists = ", ".join(sorted(other.stem for other in path.parent.glob("*.txt")))
        raise DatasetError(f"{path} does not exist; lists that are there: {lists or 'none'}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a list of image ids: {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise DatasetError(f"{path} lists no images")
    strange = [name for name in names if "/" in name or "\\" in name or len(name.split()) != 1]
    if strange:
        raise DatasetError(f"{path} holds lines that are no image ids: {_first(strange)}")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DatasetError(f"{path} lists {len(repeated)} images twice: {_first(repeated)}")
    return names


def _check_there(paths: Sequence[Path], what: str) -> None:
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{paths[0].parent}: {len(missing)} of {len(paths)} {what} are missing: {_first(missing)}"
        )


def _first(names: Sequence[Any]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
