"""Learn what a recipe's preprocessing does by running it on plain images, whatever its steps are."""

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from graphopt.core.errors import PreconditionError
from graphopt.core.preprocessing import DecodePil, Step
from graphopt.runtime.preprocess import preprocess
from graphopt.validate.inputs.expected import ChannelMap, ExpectedInput, Placement, Triple

_SIDE = 16
"""Of the plain images, in pixels."""
_ORIENTATION = 0x0112
"""EXIF tag; 1 is upright."""


class Probe:
    """A recipe's steps, run on images and on plain colours of the same size.

    Args:
        steps: the recipe's preprocessing.
        recipe: its name, for messages.

    Raises:
        PreconditionError: the steps do more than scaling every channel on its own.
    """

    def __init__(self, steps: Sequence[Step], recipe: str) -> None:
        self._steps = tuple(steps)
        self._recipe = recipe
        self.channels = self._channels()
        self._around = functools.cache(self._find)

    def expected(self, name: str, path: Path) -> ExpectedInput:
        """Return what the recipe makes of an image.

        Raises:
            DatasetError: the image cannot be decoded.
        """
        values = np.ascontiguousarray(preprocess(path, self._steps).transpose(1, 2, 0))
        pixels, turned = self._decode(path)
        return ExpectedInput(
            name=name,
            pixels=pixels,
            values=values,
            placement=self._around(pixels.shape[1], pixels.shape[0])[0],
            turned=None if turned is None else (turned, self._around(turned.shape[1], turned.shape[0])[0]),
        )

    def padding(self, width: int, height: int) -> Triple | None:
        """Return the value per channel around an image of this size; None where there is nothing."""
        return self._around(width, height)[1]

    def _decode(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Return the pixels as the recipe decodes them, and turned the other way where that differs."""
        with Image.open(path) as picture:
            turned = picture.getexif().get(_ORIENTATION, 1) != 1
            stored = np.asarray(picture.convert("RGB"))
            upright = np.asarray(ImageOps.exif_transpose(picture).convert("RGB")) if turned else stored
        first, second = (stored, upright) if isinstance(self._steps[0], DecodePil) else (upright, stored)
        return first, second if turned else None

    def _channels(self) -> ChannelMap:
        """Derive order, scale and offset from one-coloured images."""
        black = self._middle((0, 0, 0))
        gains = np.stack([self._middle(colour) - black for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))])
        order = np.abs(gains).argmax(0)
        single = (np.abs(gains) > 1e-6 * np.abs(gains).max()).sum() == 3
        if not single or sorted(order) != [0, 1, 2]:
            raise PreconditionError(
                f"inputs of {self._recipe} cannot be compared: its preprocessing mixes colours, or drops one"
            )
        scale = gains.max(0) + gains.min(0)
        first, second, third = order.tolist()
        return ChannelMap(
            (first, second, third),
            (float(scale[0] / 255), float(scale[1] / 255), float(scale[2] / 255)),
            (float(black[0]), float(black[1]), float(black[2])),
        )

    def _middle(self, colour: tuple[int, int, int]) -> NDArray[np.float64]:
        values = self._plain(colour, _SIDE, _SIDE)
        middle: NDArray[np.float64] = values[values.shape[0] // 2, values.shape[1] // 2].astype(np.float64)
        return middle

    def _find(self, width: int, height: int) -> tuple[Placement, Triple | None]:
        """Return where an image of this size goes (where black and white differ), and what is around it."""
        black, white = (self._plain(colour, width, height) for colour in ((0, 0, 0), (255, 255, 255)))
        inside = (black != white).any(2)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        place = Placement(
            int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1), int(rows[0]), int(columns[0])
        )
        if inside.all():
            return place, None
        first, second, third = (float(value) for value in black[~inside][0])
        return place, (first, second, third)

    def _plain(self, colour: tuple[int, int, int], width: int, height: int) -> NDArray[np.float32]:
        return on_image(
            Image.new("RGB", (width, height), colour),
            lambda path: preprocess(path, self._steps).transpose(1, 2, 0),
        )


def on_image(image: Image.Image, use: Callable[[Path], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Call ``use`` with a file that holds the image."""
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        path = Path(folder) / "plain.bmp"
        image.save(path)
        return use(path)
