"""The published preprocessing of each recipe as one would write it by hand, in OpenCV or Pillow.

``BARE`` stops at the normalised picture [h, w, 3]; ``whole`` also pads it and puts channels first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from graphopt.runtime.datasets.synthetic_coco import write_coco
from graphopt.runtime.datasets.synthetic_pedestrians import write_synthetic_peta

Picture = Any
"""float32 [h, w, 3]."""

_MEAN, _STD = np.array([[[123.675, 116.28, 103.53]], [[58.395, 57.12, 57.375]]], np.float32).astype(
    np.float64
)
_CAFFE_MEAN, _CAFFE_STD = np.array([[[102.9801, 115.9465, 122.7717]], [[1.0, 1.0, 1.0]]], np.float32).astype(
    np.float64
)
_UNIT_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_UNIT_STD = np.array([0.229, 0.224, 0.225], np.float32)


def _fcos(path: Path) -> Picture:
    pixels: Any = cv2.imread(str(path))
    height, width = pixels.shape[:2]
    scale = min(1333 / width, 800 / height)
    pixels = cv2.resize(pixels, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_LINEAR)
    return _normalised(pixels.astype(np.float32), _CAFFE_MEAN, _CAFFE_STD)


def _square(path: Path, side: int) -> Picture:
    pixels: Any = cv2.imread(str(path))
    height, width = pixels.shape[:2]
    scale = min(side / width, side / height)
    size = (int(width * scale + 0.5), int(height * scale + 0.5))
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return _normalised(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels), _MEAN, _STD)


def _normalised(pixels: Any, mean: Any, std: Any) -> Picture:
    cv2.subtract(pixels, mean, pixels)
    cv2.multiply(pixels, 1 / std, pixels)
    return pixels


def _refinenet(path: Path) -> Picture:
    return (_refinenet_pixels(path) - _UNIT_MEAN * np.float32(255)) * np.reciprocal(
        _UNIT_STD * np.float32(255)
    )


def _refinenet_pixels(path: Path) -> Any:
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB")).astype(np.float32)
    height, width = pixels.shape[:2]
    scale = 500 / max(width, height)
    size = (round(width * scale), round(height * scale))
    return pixels if size == (width, height) else cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)


def _deepmar(path: Path) -> Picture:
    with Image.open(path) as picture:
        resized = picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    return (np.array(resized).astype(np.float32) / np.float32(255) - _UNIT_MEAN) / _UNIT_STD


BARE: dict[str, Callable[[Path], Picture]] = {
    "deepmar": _deepmar,
    "refinenet": _refinenet,
    "fcos": _fcos,
    "nas_fpn": lambda path: _square(path, 640),
    "faster_rcnn_dcn": lambda path: _square(path, 1216),
}


def write_pictures(recipe: str, folder: Path, count: int) -> list[Path]:
    """Draw pictures such as a recipe's data set has: pedestrians cut out, or scenes of about 640 x 480."""
    if recipe == "deepmar":
        write_synthetic_peta(folder / "peta", count=count, seed=3)
        return sorted((folder / "peta" / "images").iterdir())
    return sorted((write_coco(folder, train=1, val=count, seed=3) / "val2017").iterdir())


_SIZES = {"fcos": (800, 1333), "nas_fpn": (640, 640), "faster_rcnn_dcn": (1216, 1216)}


def whole(recipe: str, path: Path) -> Any:
    """Return float32 [3, H, W], contiguous: the sample that the recipe's network gets."""
    if recipe == "refinenet":  # pads before it normalises
        pixels = _refinenet_pixels(path)
        colour = tuple(float(value) for value in np.array([0.485, 0.456, 0.406]) * 255)
        pixels = _padded(pixels, (500, 500), colour)
        picture = (pixels - _UNIT_MEAN * np.float32(255)) * np.reciprocal(_UNIT_STD * np.float32(255))
    else:
        picture = BARE[recipe](path)
        if recipe in _SIZES:
            picture = _padded(picture, _SIZES[recipe], (0.0, 0.0, 0.0))
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def _padded(picture: Any, size: tuple[int, int], colour: tuple[float, ...]) -> Any:
    height, width = picture.shape[:2]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return cv2.copyMakeBorder(
        picture, top, size[0] - height - top, left, size[1] - width - left, cv2.BORDER_CONSTANT, value=colour
    )
