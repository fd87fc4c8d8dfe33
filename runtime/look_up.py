"""The end of a chain of preprocessing steps in one go: each value is looked up and put in its place.

From uint8 pixels a normalisation has 256 answers per channel. They are computed by the steps themselves, on
a picture of all values, so that every bit is the one that the steps would give one after the other.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphopt.core.preprocessing import (
    Normalize,
    NormalizeMmcv,
    NormalizePixels,
    PadBehindTo,
    PadCentredTo,
    ScaleToUnit,
    Step,
    SwapChannels,
    ToFloat32,
    ToNchw,
)

Apply = Callable[[Step, NDArray[Any]], NDArray[Any]]
"""Executes one step."""
Pad: TypeAlias = PadCentredTo | PadBehindTo

_BY_VALUE = (ToFloat32, ScaleToUnit, Normalize, NormalizePixels, NormalizeMmcv)
"""What they make of a pixel depends on its value and its channel alone; the result is float32."""
_VALUES = 256


@dataclass(frozen=True, eq=False)
class LookUp:
    """Steps from uint8 [H, W, 3] to float32 [3, H, W].

    Attributes:
        start: place of the first of these steps in the chain.
        source: channel of the pixels that becomes each channel of the sample.
        tables: float32 [3, 256], by channel of the sample.
        pad: where the pixels are put; None where they fill the sample.
        fill: float32 [3], the padding.
    """

    start: int
    source: tuple[int, ...]
    tables: NDArray[np.float32]
    pad: Pad | None
    fill: NDArray[np.float32]

    def takes(self, pixels: NDArray[Any]) -> bool:
        """Say whether these are pixels that ``sample`` takes; the steps say what is wrong with others."""
        fits = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == len(self.source)
        return fits and (
            self.pad is None or (pixels.shape[0] <= self.pad.height and pixels.shape[1] <= self.pad.width)
        )

    def sample(self, pixels: NDArray[Any], *, opencv: bool) -> NDArray[np.float32]:
        """Return float32 [3, H, W] of uint8 pixels [h, w, 3].

        Args:
            pixels: which ``takes`` takes.
            opencv: whether OpenCV is there; for large pictures it is three times as fast as numpy.
        """
        height, width, channels = pixels.shape
        canvas, inner = framed((height, width), self.pad, self.fill)
        if not opencv:
            for channel, source in enumerate(self.source):
                # Bytes are never out of range: clipping only spares numpy the check and a copy.
                np.take(self.tables[channel], pixels[:, :, source], out=inner[channel], mode="clip")
            return canvas
        import cv2

        planes = np.empty((channels, height, width), np.uint8)
        cv2.split(pixels, list(planes))
        for channel, source in enumerate(self.source):
            cv2.LUT(planes[source], self.tables[channel], inner[channel])
        return canvas


def framed(
    inner: tuple[int, int], pad: Pad | None, colour: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an array [3, H, W] with a border of one colour, and the part of it inside, which is not set.

    Args:
        inner: height and width inside.
        pad: says how large the whole is, and where the border; None for no border.
        colour: [3]; its dtype is the array's.
    """
    whole = (pad.height, pad.width) if pad else inner
    canvas = np.empty((len(colour), *whole), colour.dtype)
    centred = isinstance(pad, PadCentredTo)
    top, left = ((whole[i] - inner[i]) // 2 if centred else 0 for i in range(2))
    rows, columns = slice(top, top + inner[0]), slice(left, left + inner[1])
    border = colour[:, np.newaxis, np.newaxis]
    canvas[:, :top], canvas[:, rows.stop :] = border, border
    canvas[:, rows, :left], canvas[:, rows, columns.stop :] = border, border
    return canvas, canvas[:, rows, columns]


def look_up_of(steps: Sequence[Step], apply: Apply) -> LookUp | None:
    """Return the end of a chain as a look-up; None where its steps must be executed one by one.

    Args:
        steps: the whole chain.
        apply: executes a step.

    Raises:
        UsageError: a step cannot be executed, whatever the picture.
    """
    if not steps or not isinstance(steps[-1], ToNchw):
        return None
    start = len(steps) - 1
    while start > 1 and isinstance(steps[start - 1], (*_BY_VALUE, SwapChannels, Pad)):
        start -= 1
    end = steps[start:-1]
    pads = [step for step in end if isinstance(step, Pad)]
    if len(pads) > 1 or any(isinstance(step, _BY_VALUE) for step in steps[:start]):
        return None  # behind a step of the second kind pixels are floats
    # One column: all values, then the padding.
    column: NDArray[Any] = np.append(np.arange(_VALUES), 0).astype(np.uint8)[:, np.newaxis, np.newaxis]
    column = column.repeat(3, axis=2)
    source = [0, 1, 2]
    for step in end:
        if isinstance(step, Pad):
            around = apply(dataclasses.replace(step, width=1, height=3), column[:1])
            column[_VALUES] = around[2]  # below, whichever padding it is
            continue
        column = apply(step, column)
        if isinstance(step, SwapChannels):
            source.reverse()
    if column.dtype != np.float32:
        return None
    return LookUp(
        start=start,
        source=tuple(source),
        tables=np.ascontiguousarray(column[:_VALUES, 0].T),
        pad=pads[0] if pads else None,
        fill=column[_VALUES, 0],
    )
