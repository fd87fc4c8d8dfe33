"""Turn an image file into one input sample by executing the recipe's typed steps.

Arithmetic is float32 throughout and bit-equal to the chain the published accuracy was measured
with (Pillow decode and resize, then divide by 255, subtract the mean, divide by the deviation).
"""

import dataclasses
import functools
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.preprocessing import DecodePil, Normalize, ResizePil, ScaleToUnit, Step, ToNchw

Pixels = NDArray[np.generic]
"""What travels between steps: uint8 or float32, [H, W, 3] until ``ToNchw``."""


def preprocess(image: Path, steps: Sequence[Step]) -> NDArray[np.float32]:
    """Return one input sample, without the batch axis.

    Args:
        image: file that the first step decodes.
        steps: as the recipe lists them; the first decodes, the last makes channels first.

    Returns:
        float32 [C, H, W], contiguous.

    Raises:
        DatasetError: the file is missing or is not a readable image.
        UsageError: the steps do not fit each other, or do not end in float32 [C, H, W].
    """
    if not steps or not isinstance(steps[0], DecodePil):
        raise UsageError(
            f"preprocessing starts with {_name(steps[0]) if steps else 'nothing'}, not DecodePil"
        )
    pixels = _decode_pil(image)
    for step in steps[1:]:
        pixels = _apply(step, pixels)
    if pixels.dtype != np.float32 or not isinstance(steps[-1], ToNchw):
        raise UsageError(
            f"preprocessing ends with {_name(steps[-1])} in {pixels.dtype} {list(pixels.shape)}; "
            "a sample must be float32 [C, H, W], so end with ToNchw"
        )
    return pixels.astype(np.float32, copy=False)


def steps_to_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the steps as plain data for manifests: ``{"step": "ResizePil", "width": 224, ...}``."""
    return [{"step": _name(step), **dataclasses.asdict(step)} for step in steps]


def _name(step: Step) -> str:
    return type(step).__name__


def _decode_pil(image: Path) -> Pixels:
    from PIL import Image  # here: help pages and label-only evaluation must not pay for it

    try:
        with Image.open(image) as picture:
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise DatasetError(f"the image {image} does not exist; check the image folder") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"the image {image} cannot be decoded: {error}; replace the file or take it off the image list"
        ) from error


@functools.singledispatch
def _apply(step: Step, pixels: Pixels) -> Pixels:  # noqa: ARG001  the registered functions use it
    raise UsageError(f"{_name(step)} cannot follow another step, or is not a preprocessing step")


@_apply.register
def _(step: ResizePil, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8)
    from PIL import Image

    resized = Image.fromarray(pixels).resize((step.width, step.height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


@_apply.register
def _(step: ScaleToUnit, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8)
    return pixels.astype(np.float32) / np.float32(255)


@_apply.register
def _(step: Normalize, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.float32)
    mean = np.array(step.mean, np.float32)
    std = np.array(step.std, np.float32)
    if not std.all():
        raise UsageError(f"Normalize divides by zero: std is {step.std}")
    return (pixels.astype(np.float32, copy=False) - mean) / std


@_apply.register
def _(step: ToNchw, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _expect(step: Step, pixels: Pixels, dtype: type[np.generic]) -> None:
    if pixels.dtype != dtype or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UsageError(
            f"{_name(step)} needs {np.dtype(dtype)} [H, W, 3], the step before gives "
            f"{pixels.dtype} {list(pixels.shape)}; reorder the steps"
        )
