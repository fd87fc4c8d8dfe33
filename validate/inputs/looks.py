"""One file beside one image: sampled pixels, and whether an explanation holds on all of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.validate.inputs.coarse import oriented
from graphopt.validate.inputs.expected import ChannelMap, ExpectedInput, Placement, Triple
from graphopt.validate.inputs.padding import Padding, constant_value, named_padding
from graphopt.validate.inputs.placements import Scene
from graphopt.validate.inputs.resampling import Kernel, Levels
from graphopt.validate.inputs.value_maps import SLACK, Points, ValueMap

_SAMPLED = 4096
"""Pixels that a hypothesis is tried on first; whether it holds is then seen on all."""
_RAW_ROUNDING = 0.51
"""Levels: a file of whole levels is half a level off at most, but for the last bit."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is known of the recipe.

    Attributes:
        channels: how levels become values.
        padding: the value per channel around images; None where it pads none.
        kernel: how it scales.
    """

    channels: ChannelMap
    padding: Triple | None
    kernel: Kernel


def rounding(dtype: np.dtype[Any], values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return how far rounding to a file's dtype moves these values, in their unit."""
    if dtype == np.uint8:
        return np.full(values.shape, _RAW_ROUNDING, np.float32)
    share = 2.0**-11 if dtype == np.float16 else 2.0**-22
    moved: NDArray[np.float32] = np.abs(values).astype(np.float32)
    moved *= np.float32(share * 1.01)
    moved += np.float32(1e-7)
    return moved


class Look:
    """A file, read in one arrangement of its axes, beside the image it should hold.

    Args:
        values: [H, W, C] as the file has them.
        image: the recipe's input of the image, and the image.
        orientation: how the image was turned before it was scaled, a key of ``coarse.ORIENTATIONS``.
    """

    def __init__(self, values: NDArray[np.generic], image: ExpectedInput, orientation: str = "") -> None:
        self.dtype = values.dtype
        self.raw = values.dtype == np.uint8
        self.values = values.astype(np.float32, copy=False)
        self.pixels, self.own = oriented(image, orientation)
        self._expected = None if orientation else image.values
        self._scaled: dict[tuple[str, int, int], Levels] = {}

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def scene(self) -> Scene:
        """What rules of placement look at."""
        return Scene(image=(self.pixels.shape[0], self.pixels.shape[1]), canvas=self.canvas, own=self.own)

    def allowed(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return how far rounding moves these values, in their unit."""
        return rounding(self.dtype, values)

    def own_levels(self, recipe: Recipe) -> Levels:
        """Return the recipe's scaled image, in levels."""
        if self._expected is None:
            return self.scaled(recipe.kernel, self.own)
        return recipe.channels.levels_of(self._expected[self.own.inside(self.canvas)])

    def scaled(self, kernel: Kernel, place: Placement) -> Levels:
        """Return the image scaled to a placement's size, in levels; kept for the next call."""
        key = (f"{kernel.library} {kernel.title} {kernel.precision}", place.height, place.width)
        if key not in self._scaled:
            if len(self._scaled) > 3:
                self._scaled.clear()
            self._scaled[key] = kernel.scale(self.pixels, place.height, place.width)
        return self._scaled[key]

    def sample(self, levels: Levels, place: Placement) -> tuple[Points, Points]:
        """Return values and levels of some pixels, [n, 3] each; of all where there are few."""
        rows, columns = place.inside(self.canvas)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        count = height * width
        if count > _SAMPLED:
            chosen = np.random.default_rng(count).integers(0, count, _SAMPLED)
        else:
            chosen = np.arange(count)
        down, across = chosen // width, chosen % width
        values = self.values[rows.start + down, columns.start + across]
        own = levels[rows.start - place.top + down, columns.start - place.left + across]
        return values.astype(np.float64), own.astype(np.float64)

    def remaining(self, levels: Levels, place: Placement, way: ValueMap) -> NDArray[np.float32]:
        """Return how far every value of the image is from an explanation beyond rounding, in levels."""
        values = self.values[place.inside(self.canvas)]
        off: NDArray[np.float32] = np.abs(way.channels.values_of(levels[place.own(self.canvas)]) - values)
        off -= self.allowed(values)
        off /= np.abs(np.array(way.channels.scale, np.float32))
        return off

    def padding(self, recipe: Recipe, way: ValueMap, place: Placement, *, moved: bool) -> Padding | None:
        """Return what stands around the image, or None where that is not one colour.

        Args:
            recipe: what it should be.
            way: how levels became values.
            place: of the image.
            moved: the image lost a few rows or columns that were not padding: what came instead is not asked.
        """
        outside = np.ones(self.canvas, bool)
        outside[place.inside(self.canvas)] = False
        if moved:
            outside[_around(place.inside(self.canvas), self.own.inside(self.canvas))] = False
        if not outside.any():
            return Padding(value=(0.0, 0.0, 0.0), causes=())
        around = self.values[outside]
        allowed = float(self.allowed(around).max()) + SLACK * min(map(abs, way.channels.scale))
        value = constant_value(around, allowed)
        if value is None:
            return None
        return named_padding(
            value, way.channels, recipe.channels, recipe.padding, allowed=allowed, raw=self.raw
        )


def _around(one: tuple[slice, slice], other: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return the smallest part of rows and columns that holds both."""
    rows, columns = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, columns
