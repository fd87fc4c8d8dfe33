"""Preprocessing as data: typed steps that a recipe lists and ``runtime.preprocess`` executes."""

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, kw_only=True)
class DecodePil:
    """Decode an image file with Pillow to uint8 [H, W, 3]."""

    colour: Literal["RGB"] = "RGB"


@dataclass(frozen=True, kw_only=True)
class ResizePil:
    """Resize uint8 [H, W, 3] with Pillow to exactly ``width`` x ``height``; the aspect is not kept."""

    width: int
    height: int
    interpolation: Literal["bilinear"] = "bilinear"


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
class ToNchw:
    """Turn float32 [H, W, C] into contiguous float32 [C, H, W]; batching adds N."""


Step: TypeAlias = DecodePil | ResizePil | ScaleToUnit | Normalize | ToNchw
