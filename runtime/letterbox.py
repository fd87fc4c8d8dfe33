"""Where an image lies inside a network's input: scaled with its aspect kept, centred, padded."""

from dataclasses import dataclass
from typing import Literal, Self

from graphopt.core.preprocessing import ResizeEdgesCv2


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """The transform of one image; all sizes are in pixels.

    Attributes:
        source_width: of the image file.
        source_height: of the image file.
        width: of the scaled image.
        height: of the scaled image.
        left: columns of padding before it; the odd one comes after it.
        top: rows of padding above it; the odd one comes below it.
        canvas_width: of the network's input.
        canvas_height: of the network's input.
    """

    source_width: int
    source_height: int
    width: int
    height: int
    left: int
    top: int
    canvas_width: int
    canvas_height: int

    @classmethod
    def fitted(cls, width: int, height: int, *, longest: int, canvas: tuple[int, int] | None = None) -> Self:
        """Scale the longest side to ``longest`` and centre the result on ``canvas``.

        Args:
            width: of the image.
            height: of the image.
            longest: side after scaling.
            canvas: height and width of the network's input, both at least ``longest``; None for
                no padding.

        Sides are rounded half to even, as albumentations 1.1.0 does; none becomes 0.
        """
        scale = longest / max(width, height)
        scaled_width, scaled_height = max(1, round(width * scale)), max(1, round(height * scale))
        canvas_height, canvas_width = canvas or (scaled_height, scaled_width)
        return cls(
            source_width=width,
            source_height=height,
            width=scaled_width,
            height=scaled_height,
            left=(canvas_width - scaled_width) // 2,
            top=(canvas_height - scaled_height) // 2,
            canvas_width=canvas_width,
            canvas_height=canvas_height,
        )

    @classmethod
    def within(
        cls,
        width: int,
        height: int,
        *,
        canvas: tuple[int, int],
        rounding: Literal["floor", "half_up"],
    ) -> Self:
        """Scale to the largest size that fits the canvas and centre the result.

        Args:
            width: of the image.
            height: of the image.
            canvas: height and width of the network's input.
            rounding: of the scaled sides; none becomes 0.

        The quotient is taken once and multiplied, in float64, as the published scripts do it: a side
        that should fill the canvas can end a pixel short of it.
        """
        scale = min(canvas[1] / width, canvas[0] / height)
        bias = 0.5 if rounding == "half_up" else 0.0
        scaled_width, scaled_height = (max(1, int(side * scale + bias)) for side in (width, height))
        return cls(
            source_width=width,
            source_height=height,
            width=scaled_width,
            height=scaled_height,
            left=(canvas[1] - scaled_width) // 2,
            top=(canvas[0] - scaled_height) // 2,
            canvas_width=canvas[1],
            canvas_height=canvas[0],
        )

    @classmethod
    def within_edges(cls, width: int, height: int, step: ResizeEdgesCv2) -> Self:
        """Scale as ``ResizeEdgesCv2`` does; nothing is padded. The quotients are mmcv's, in its order."""
        scale = min(step.longest / max(width, height), step.shortest / min(width, height))
        scale = min(scale, step.width / width, step.height / height)
        scaled_width, scaled_height = (max(1, int(side * scale + 0.5)) for side in (width, height))
        return cls(
            source_width=width,
            source_height=height,
            width=scaled_width,
            height=scaled_height,
            left=0,
            top=0,
            canvas_width=scaled_width,
            canvas_height=scaled_height,
        )

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that hold the image."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
