"""What a recipe makes of an image, as plain numbers: where the image lies and how levels become values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Order = tuple[int, int, int]
Triple = tuple[float, float, float]


@dataclass(frozen=True, order=True)
class Placement:
    """Where a scaled image lies in a network's input; what is outside of it is cut off.

    Attributes:
        height: of the scaled image, in pixels.
        width: of the scaled image, in pixels.
        top: row of the input that its first row becomes; negative where rows are cut off.
        left: likewise for columns.
    """

    height: int
    width: int
    top: int
    left: int

    def inside(self, canvas: tuple[int, int]) -> tuple[slice, slice]:
        """Return rows and columns of the canvas (height, width) that the image covers; maybe none."""
        rows = slice(max(0, self.top), max(0, min(canvas[0], self.top + self.height)))
        columns = slice(max(0, self.left), max(0, min(canvas[1], self.left + self.width)))
        return rows, columns

    def own(self, canvas: tuple[int, int]) -> tuple[slice, slice]:
        """Return rows and columns of the scaled image that lie inside the canvas."""
        rows, columns = self.inside(canvas)
        return (
            slice(rows.start - self.top, rows.stop - self.top),
            slice(columns.start - self.left, columns.stop - self.left),
        )


@dataclass(frozen=True)
class ChannelMap:
    """How levels 0..255 become values: ``value[c] = scale[c] * level[order[c]] + offset[c]``.

    Attributes:
        order: of each channel of the input, which one of R, G, B (0, 1, 2) it is.
        scale: value per level.
        offset: value of black.
    """

    order: Order
    scale: Triple
    offset: Triple

    @property
    def mean(self) -> Triple:
        """The level that becomes 0, per channel."""
        return _triple(-np.array(self.offset) / np.array(self.scale))

    @property
    def std(self) -> Triple:
        """Levels per unit, per channel."""
        return _triple(1 / np.array(self.scale))

    @classmethod
    def normalizing(cls, order: Order, mean: Triple, std: Triple) -> "ChannelMap":
        """Return ``(level - mean) / std``; both in levels."""
        scale = 1 / np.array(std)
        return cls(order, _triple(scale), _triple(-np.array(mean) * scale))

    def values_of(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values [..., C] of levels [..., RGB]."""
        mapped = levels[..., list(self.order)] * np.array(self.scale, np.float32)
        mapped += np.array(self.offset, np.float32)
        return mapped

    def levels_of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return levels [..., RGB] of values [..., C]."""
        mapped: NDArray[np.float32] = values - np.array(self.offset, np.float32)
        mapped /= np.array(self.scale, np.float32)
        return mapped[..., list(np.argsort(self.order))]


@dataclass(frozen=True, kw_only=True)
class ExpectedInput:
    """One image and the recipe's input made of it.

    Attributes:
        name: of the image.
        pixels: uint8 [h, w, RGB], decoded as the recipe does.
        values: float32 [H, W, C], the recipe's input.
        placement: of the scaled image in it.
        turned: pixels and placement if its EXIF orientation is treated the other way; None where it has none.
    """

    name: str
    pixels: NDArray[np.uint8]
    values: NDArray[np.float32]
    placement: Placement
    turned: tuple[NDArray[np.uint8], Placement] | None = None

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.values.shape[0], self.values.shape[1]


def _triple(numbers: NDArray[np.float64]) -> Triple:
    first, second, third = (float(number) for number in numbers)
    return first, second, third
