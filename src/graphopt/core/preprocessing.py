"""Preprocessing as data: typed steps that a recipe lists and ``runtime.preprocess`` executes."""

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, kw_only=True)
class DecodePil:
    """Decode an image file with Pillow to uint8 [H, W, 3]."""

    colour: Literal["RGB"] = "RGB"


@dataclass(frozen=True, kw_only=True)
class DecodeCv2:
    """Decode an image file with OpenCV to uint8 [H, W, 3], turned upright as its EXIF data says."""

    colour: Literal["BGR"] = "BGR"


@dataclass(frozen=True, kw_only=True)
class ResizePil:
    """Resize uint8 [H, W, 3] with Pillow to exactly ``width`` x ``height``; the aspect is not kept."""

    width: int
    height: int
    interpolation: Literal["bilinear"] = "bilinear"


@dataclass(frozen=True, kw_only=True)
class ToFloat32:
    """Turn uint8 0..255 into float32 0..255, so that a resize after it does not round."""


@dataclass(frozen=True, kw_only=True)
class ResizeLongestCv2:
    """Scale [H, W, 3] with OpenCV so that the longest side becomes ``size``; the aspect is kept.

    The other side is rounded half to even; an image whose longest side is right already stays as
    it is. Both are what albumentations' ``LongestMaxSize`` does (1.1.0). uint8 stays uint8 and is
    rounded, float32 is not: OpenCV takes another way for each.

    Attributes:
        size: of the longest side after the step, in pixels.
    """

    size: int
    interpolation: Literal["bilinear"] = "bilinear"


@dataclass(frozen=True, kw_only=True)
class ResizeToFitCv2:
    """Scale uint8 [H, W, 3] with OpenCV to the largest size that fits a box; the aspect is kept.

    Attributes:
        width: of the box, in pixels.
        height: of the box, in pixels.
        rounding: of the new sides: ``floor``, or ``half_up`` as in mmcv's ``imrescale`` (1.2.7).
    """

    width: int
    height: int
    rounding: Literal["floor", "half_up"]
    interpolation: Literal["bilinear"] = "bilinear"


@dataclass(frozen=True, kw_only=True)
class ResizeCv2:
    """Resize [H, W, 3] with OpenCV to exactly ``width`` x ``height``; the aspect is not kept."""

    width: int
    height: int
    interpolation: Literal["bilinear"] = "bilinear"


@dataclass(frozen=True, kw_only=True)
class ResizeEdgesCv2:
    """Scale [H, W, 3] with OpenCV until one of its edges reaches a limit; the aspect is kept.

    With ``longest`` and ``shortest`` this is mmdet's ``Resize(scale=(longest, shortest), keep_ratio=True)``
    (mmcv 2.1.0), which takes an image as it lies, upright or not. The box keeps what that makes of an upright
    image from growing out of an input of fixed sizes. New sides are rounded half up.

    Attributes:
        longest: limit of the longer edge, in pixels.
        shortest: limit of the shorter edge.
        width: of the box.
        height: of the box.
    """

    longest: int
    shortest: int
    width: int
    height: int
    interpolation: Literal["bilinear"] = "bilinear"


@dataclass(frozen=True, kw_only=True)
class SwapChannels:
    """Reverse the order of the channels of [H, W, 3]: BGR becomes RGB."""


@dataclass(frozen=True, kw_only=True)
class PadCentredTo:
    """Pad [H, W, 3] to ``height`` x ``width`` with one colour, the image in the middle.

    An odd pixel of padding goes to the bottom and to the right, as in albumentations'
    ``PadIfNeeded`` (1.1.0).

    Attributes:
        height: after the step, in pixels.
        width: after the step, in pixels.
        value: one per channel, in the unit of the previous step; rounded where that is uint8.
    """

    height: int
    width: int
    value: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class PadBehindTo:
    """Pad [H, W, 3] to ``height`` x ``width`` with one colour, below and to the right of the image.

    Attributes:
        height: after the step, in pixels.
        width: after the step, in pixels.
        value: one per channel, in the unit of the previous step; rounded where that is uint8.
    """

    height: int
    width: int
    value: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ScaleToUnit:
    """Turn uint8 0..255 into float32 0..1 by dividing by 255."""


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """Subtract ``mean`` and divide by ``std``, per channel, in float32.

    Attributes:
        mean: one value per channel, in the unit of the previous step.
        std: as ``mean``.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class NormalizePixels:
    """Subtract ``mean * peak`` from pixels and multiply by ``1 / (std * peak)``, in float32.

    The same numbers as ``ScaleToUnit`` and ``Normalize`` but for the last bits: this is the order
    of roundings of albumentations' ``Normalize`` (1.1.0).

    Attributes:
        mean: one value per channel, of pixels 0..1.
        std: as ``mean``.
        peak: the value that stands for 1.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    peak: float = 255.0


@dataclass(frozen=True, kw_only=True)
class NormalizeMmcv:
    """Subtract ``mean`` from pixels and multiply by ``1 / std``, as mmcv 1.2.7 does through OpenCV.

    The difference is rounded to float32; quotient and product are float64, and rounded once. That
    differs in the last bit from ``NormalizePixels``. Whoever calls mmcv hands it arrays of float32 (mmdet's
    transform, the published scripts), so both numbers are rounded to it first.

    Attributes:
        mean: one value per channel, of pixels 0..255.
        std: as ``mean``.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ToNchw:
    """Turn float32 [H, W, C] into contiguous float32 [C, H, W]; batching adds N."""


Step: TypeAlias = (
    DecodePil
    | DecodeCv2
    | ResizePil
    | ToFloat32
    | ResizeLongestCv2
    | ResizeToFitCv2
    | ResizeCv2
    | ResizeEdgesCv2
    | SwapChannels
    | PadCentredTo
    | PadBehindTo
    | ScaleToUnit
    | Normalize
    | NormalizePixels
    | NormalizeMmcv
    | ToNchw
)
