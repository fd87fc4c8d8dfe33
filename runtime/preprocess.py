"""Turn an image file into one input sample by executing the recipe's typed steps.

Arithmetic is float32 throughout and bit-equal to the chains that published accuracies were measured
with: Pillow decode and resize, then divide by 255, subtract the mean, divide by the deviation; or
OpenCV's decode and resize, padding, and albumentations' or mmcv's normalisation.
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
from graphopt.core.optional import require
from graphopt.core.preprocessing import (
    DecodeCv2,
    DecodePil,
    Normalize,
    NormalizeMmcv,
    NormalizePixels,
    PadBehindTo,
    PadCentredTo,
    ResizeCv2,
    ResizeEdgesCv2,
    ResizeLongestCv2,
    ResizePil,
    ResizeToFitCv2,
    ScaleToUnit,
    Step,
    SwapChannels,
    ToFloat32,
    ToNchw,
)
from graphopt.runtime.letterbox import Letterbox
from graphopt.runtime.look_up import framed, look_up_of

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
    if not steps or not isinstance(steps[0], (DecodePil, DecodeCv2)):
        found = _name(steps[0]) if steps else "nothing"
        raise UsageError(f"preprocessing starts with {found}, not DecodePil or DecodeCv2")
    opencv = isinstance(steps[0], DecodeCv2)
    pixels = _decode_cv2(image) if opencv else _decode_pil(image)
    try:
        look_up = look_up_of(steps, _apply)
        for number, step in enumerate(steps[1:], start=1):
            if look_up is not None and number == look_up.start and look_up.takes(pixels):
                return look_up.sample(pixels, opencv=opencv)
            pixels = _apply(step, pixels)
    except UsageError as error:
        raise UsageError(f"preprocessing {image}: {error}") from error
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


def _decode_cv2(image: Path) -> Pixels:
    cv2: Any = require("cv2", extra="vision", purpose="preprocessing")
    try:
        content = np.frombuffer(image.read_bytes(), np.uint8)
        pixels: Pixels | None = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except FileNotFoundError as error:
        raise DatasetError(f"the image {image} does not exist; check the image folder") from error
    except (OSError, cv2.error) as error:
        raise DatasetError(
            f"the image {image} cannot be decoded: {error}; replace the file or take it off the image list"
        ) from error
    if pixels is None:
        raise DatasetError(
            f"the image {image} cannot be decoded: OpenCV knows no such format; replace the file or take it "
            "off the image list"
        )
    return pixels


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
def _(step: ToFloat32, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8)
    return pixels.astype(np.float32)


@_apply.register
def _(step: ResizeLongestCv2, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8, np.float32)
    if step.size < 1:
        raise UsageError(f"ResizeLongestCv2 to {step.size} pixels leaves nothing")
    place = Letterbox.fitted(pixels.shape[1], pixels.shape[0], longest=step.size)
    if (place.width, place.height) == (place.source_width, place.source_height):
        return pixels
    cv2: Any = require("cv2", extra="vision", purpose="preprocessing")
    resized: Pixels = cv2.resize(pixels, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
    return resized


@_apply.register
def _(step: ResizeToFitCv2, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8)
    if step.width < 1 or step.height < 1:
        raise UsageError(f"ResizeToFitCv2 to {step.width} x {step.height} pixels leaves nothing")
    place = Letterbox.within(
        pixels.shape[1], pixels.shape[0], canvas=(step.height, step.width), rounding=step.rounding
    )
    cv2: Any = require("cv2", extra="vision", purpose="preprocessing")
    resized: Pixels = cv2.resize(pixels, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
    return resized


@_apply.register
def _(step: ResizeCv2, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8, np.float32)
    if step.width < 1 or step.height < 1:
        raise UsageError(f"ResizeCv2 to {step.width} x {step.height} pixels leaves nothing")
    cv2: Any = require("cv2", extra="vision", purpose="preprocessing")
    resized: Pixels = cv2.resize(pixels, (step.width, step.height), interpolation=cv2.INTER_LINEAR)
    return resized


@_apply.register
def _(step: ResizeEdgesCv2, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8, np.float32)
    if min(step.longest, step.shortest, step.width, step.height) < 1:
        raise UsageError(f"{step} leaves nothing of an image")
    place = Letterbox.within_edges(pixels.shape[1], pixels.shape[0], step)
    cv2: Any = require("cv2", extra="vision", purpose="preprocessing")
    resized: Pixels = cv2.resize(pixels, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
    return resized


@_apply.register
def _(step: SwapChannels, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8, np.float32)
    return np.ascontiguousarray(pixels[:, :, ::-1])


@_apply.register
def _(step: PadCentredTo, pixels: Pixels) -> Pixels:
    return _padded(step, pixels)


@_apply.register
def _(step: PadBehindTo, pixels: Pixels) -> Pixels:
    return _padded(step, pixels)


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
def _(step: NormalizePixels, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8, np.float32)
    peak = np.float32(step.peak)
    mean, std = np.array(step.mean, np.float32) * peak, np.array(step.std, np.float32) * peak
    if not std.all():
        raise UsageError(f"NormalizePixels divides by zero: std is {step.std}, peak {step.peak}")
    normal = pixels.astype(np.float32, copy=False) - mean
    normal *= np.reciprocal(std)
    return normal


@_apply.register
def _(step: NormalizeMmcv, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8, np.float32)
    if not all(step.std):
        raise UsageError(f"NormalizeMmcv divides by zero: std is {step.std}")
    centred = pixels.astype(np.float32, copy=False) - np.array(step.mean, np.float32)
    return (centred * (1 / np.array(step.std, np.float32).astype(np.float64))).astype(np.float32)


@_apply.register
def _(step: ToNchw, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _padded(step: PadCentredTo | PadBehindTo, pixels: Pixels) -> Pixels:
    _expect(step, pixels, np.uint8, np.float32)
    height, width = pixels.shape[:2]
    if height > step.height or width > step.width:
        raise UsageError(
            f"{_name(step)} {step.width} x {step.height} (width x height) gets an image of "
            f"{width} x {height}: resize before"
        )
    value = np.array(step.value)
    colour = np.rint(value).clip(0, 255) if pixels.dtype == np.uint8 else value
    # Channel by channel in memory: what follows works on whole planes, and ToNchw need not copy.
    canvas, inner = framed((height, width), step, colour.astype(pixels.dtype))
    inner[:] = pixels.transpose(2, 0, 1)
    return canvas.transpose(1, 2, 0)


def _expect(step: Step, pixels: Pixels, *dtypes: type[np.generic]) -> None:
    if pixels.dtype not in dtypes or pixels.ndim != 3 or pixels.shape[2] != 3:
        wanted = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
        raise UsageError(
            f"{_name(step)} needs {wanted} [H, W, 3], the step before gives "
            f"{pixels.dtype} {list(pixels.shape)}; reorder the steps"
        )
