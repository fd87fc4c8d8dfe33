"""See at a glance which image a file holds, and how its axes lie: thumbnails and their correlation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.optional import require
from graphopt.validate.inputs.expected import ExpectedInput, Placement

_LONGEST = 48
"""Of a thumbnail, in pixels: enough to tell images, too small to see an interpolation."""
_PLAIN = 1e-5
"""Contrast over the largest value below which there is only rounding."""
_LEAST_PIXELS = 12
"""That must overlap; fewer correlate by chance."""

Grey = NDArray[np.float32]


ORIENTATIONS = ("", "mirrored", "upside down", "turned by 180 degrees", "EXIF")
"""How the image may have been turned; ``EXIF`` treats its tag otherwise than the recipe does."""


def oriented(image: ExpectedInput, orientation: str) -> tuple[NDArray[np.uint8], Placement]:
    """Return the pixels turned, and where the recipe would put them."""
    if orientation == "EXIF":
        assert image.turned is not None
        return image.turned
    rows, columns = {
        "": (1, 1),
        "mirrored": (1, -1),
        "upside down": (-1, 1),
        "turned by 180 degrees": (-1, -1),
    }[orientation]
    return image.pixels[::rows, ::columns], image.placement


def shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image small enough to be scaled many times."""
    cv2: Any = require("cv2", extra="vision", purpose="comparing inputs")
    scale = 3 * _LONGEST / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small: NDArray[np.uint8] = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    return small


def thumbnail(values: NDArray[np.generic], size: tuple[int, int]) -> Grey:
    """Return [h, w] grey of [H, W, C], each channel counting alike, averaged down to ``size``."""
    cv2: Any = require("cv2", extra="vision", purpose="comparing inputs")
    small = cv2.resize(
        np.ascontiguousarray(values, np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA
    )
    spread = small.std((0, 1))
    plain = spread <= _PLAIN * np.abs(small).max()
    grey: Grey = ((small - small.mean((0, 1))) * np.where(plain, 0, 1 / np.where(plain, 1, spread))).mean(2)
    return grey


def thumbnail_size(canvas: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the thumbnails of a network's input."""
    scale = min(1.0, _LONGEST / max(canvas))
    return max(1, round(canvas[0] * scale)), max(1, round(canvas[1] * scale))


def likeness(
    file: Grey, pixels: NDArray[np.uint8], placements: Sequence[Placement], canvas: tuple[int, int]
) -> float:
    """Return the best correlation between a file's thumbnail and an image at any of the placements.

    Args:
        file: thumbnail of what the file holds.
        pixels: the image, uint8 [h, w, RGB].
        placements: in the canvas.
        canvas: height and width of the network's input.
    """
    return max((abs(_correlation(file, pixels, place, canvas)) for place in placements), default=0.0)


def _correlation(file: Grey, pixels: NDArray[np.uint8], place: Placement, canvas: tuple[int, int]) -> float:
    down, across = file.shape[0] / canvas[0], file.shape[1] / canvas[1]
    small = Placement(
        max(1, round(place.height * down)),
        max(1, round(place.width * across)),
        round(place.top * down),
        round(place.left * across),
    )
    inside, own = small.inside(file.shape), small.own(file.shape)
    there, image = file[inside], thumbnail(pixels, (small.height, small.width))[own]
    if min(there.shape) > 2 * _LEAST_PIXELS // 3:
        there, image = there[1:-1, 1:-1], image[1:-1, 1:-1]  # at its edge, padding is mixed in
    if there.size < _LEAST_PIXELS:
        return 0.0
    return correlation(there, image)


def correlation(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Return the correlation of two arrays of one size; 0 where one of them is constant."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-9 * max(1, a.size) else 0.0
