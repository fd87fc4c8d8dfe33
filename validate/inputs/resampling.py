"""Ways to scale an image, as libraries do them, so that one can be recognised by its result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphopt.core.optional import require

Levels = NDArray[np.float32]
"""float32 [h, w, RGB], 0..255."""
Precision = Literal["whole levels", "float"]
Positions = Callable[[int, int], NDArray[np.floating]]
"""Old and new length of a side to the places, in pixels of the old one, that are sampled."""


_HALF = 0.51
"""Levels: rounding to whole ones, but for the last bit."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One way to scale.

    Attributes:
        library: who does it so.
        method: its name there.
        precision: whether the result is rounded to whole levels.
        positions: where it samples; anything but ``""`` is a shift of half a pixel or so.
        loose: levels by which others who do the same differ: whether they round, and where to.
        scale: pixels uint8 [h, w, RGB], new height, new width -> levels.
    """

    library: Literal["OpenCV", "Pillow", "bilinear"]
    method: str
    precision: Precision
    positions: str = ""
    loose: float = 0.0
    scale: Callable[[NDArray[np.uint8], int, int], Levels]

    @property
    def title(self) -> str:
        """In words, e.g. ``OpenCV's cubic``."""
        if self.positions:
            return f"bilinear, {self.positions}"
        rounded = "" if self.precision == "whole levels" else " in float"
        return f"{self.library}'s {self.method}{rounded}"


def kernels() -> tuple[Kernel, ...]:
    """Return every known way, the most usual first.

    Raises:
        MissingBackendError: OpenCV is not installed.
    """
    cv2: Any = require("cv2", extra="vision", purpose="comparing inputs")
    return (
        *_of_opencv(cv2),
        *_of_pillow(),
        *_with_other_positions(),
    )


def _of_opencv(cv2: Any) -> list[Kernel]:
    rounded = ("linear", "nearest", "cubic", "area", "lanczos4", "nearest_exact", "linear_exact")
    return [
        *(_opencv(cv2, name, "whole levels") for name in rounded),
        *(_opencv(cv2, name, "float") for name in ("linear", "cubic", "area", "lanczos4")),
    ]


def _opencv(cv2: Any, name: str, precision: Precision) -> Kernel:
    flag = getattr(cv2, f"INTER_{name.upper()}")

    def scale(pixels: NDArray[np.uint8], height: int, width: int) -> Levels:
        source = pixels if precision == "whole levels" else pixels.astype(np.float32)
        if source.shape[:2] == (height, width):
            return source.astype(np.float32, copy=False)
        scaled: NDArray[np.generic] = cv2.resize(source, (width, height), interpolation=flag)
        return scaled.astype(np.float32, copy=False)

    return Kernel(library="OpenCV", method=name, precision=precision, scale=scale)


def _of_pillow() -> list[Kernel]:
    rounded = ("bilinear", "nearest", "bicubic", "box", "hamming", "lanczos")
    return [
        *(_pillow(name, "whole levels") for name in rounded),
        *(_pillow(name, "float") for name in ("bilinear", "bicubic")),
    ]


def _pillow(name: str, precision: Precision) -> Kernel:
    def scale(pixels: NDArray[np.uint8], height: int, width: int) -> Levels:
        from PIL import Image

        method = Image.Resampling[name.upper()]
        if precision == "whole levels":
            return np.asarray(Image.fromarray(pixels).resize((width, height), method), np.float32)
        planes = (Image.fromarray(pixels[..., c].astype(np.float32)) for c in range(3))
        return np.stack([np.asarray(plane.resize((width, height), method)) for plane in planes], axis=2)

    return Kernel(library="Pillow", method=name, precision=precision, scale=scale)


def _with_other_positions() -> list[Kernel]:
    ways: tuple[tuple[str, Positions], ...] = (
        ("without the half pixel offset (asymmetric)", lambda n, m: np.arange(m) * (n / m)),
        ("with its corners aligned", lambda n, m: np.arange(m) * ((n - 1) / max(1, m - 1))),
    )
    return [_linear_at(positions, at) for positions, at in ways]


def _linear_at(positions: str, at: Positions) -> Kernel:
    def scale(pixels: NDArray[np.uint8], height: int, width: int) -> Levels:
        rows = _between(pixels.astype(np.float32), at(pixels.shape[0], height), axis=0)
        return _between(rows, at(pixels.shape[1], width), axis=1)

    return _bilinear(positions, scale)


def _bilinear(positions: str, scale: Callable[[NDArray[np.uint8], int, int], Levels]) -> Kernel:
    return Kernel(
        library="bilinear",
        method="bilinear",
        precision="float",
        positions=positions,
        loose=_HALF,
        scale=scale,
    )


def moved_by_halves(own: Kernel) -> tuple[Kernel, ...]:
    """Return ``own`` followed by a move of half a pixel, in each of eight directions."""
    names = {-1: ("up", "left"), 1: ("down", "right")}
    moves = []
    for down in (1, -1, 0):
        for right in (1, -1, 0):
            if down or right:
                words = [names[down][0]] if down else []
                words += [names[right][1]] if right else []
                moves.append((down, right, " and ".join(words)))
    return tuple(_moved(own, down, right, f"moved {words} by half a pixel") for down, right, words in moves)


def _moved(own: Kernel, down: int, right: int, positions: str) -> Kernel:
    def scale(pixels: NDArray[np.uint8], height: int, width: int) -> Levels:
        levels = own.scale(pixels, height, width)
        levels = _between(levels, np.arange(height) - down / 2, axis=0) if down else levels
        return _between(levels, np.arange(width) - right / 2, axis=1) if right else levels

    return _bilinear(positions, scale)


def _between(levels: Levels, places: NDArray[np.floating], *, axis: int) -> Levels:
    """Sample linearly along an axis; places beyond the ends are those of the ends."""
    last = levels.shape[axis] - 1
    places = places.clip(0, last)
    before = np.minimum(places.astype(np.int64), max(0, last - 1))
    share = (places - before).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    low, high = levels.take(before, axis), levels.take(np.minimum(before + 1, last), axis)
    between: Levels = low + (high - low) * share
    return between
