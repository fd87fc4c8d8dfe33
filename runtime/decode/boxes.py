"""Boxes of a network's input mapped back to the image that was scaled and padded into it."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphopt.runtime.letterbox import Letterbox

Boxes = NDArray[np.float64]
"""[n, 4], in pixels."""


class BoxMapping(enum.Enum):
    """How boxes are mapped back.

    ``REAL`` undoes what was done to the image: whole pixels of padding, and the scale of each side after
    it was rounded. ``PUBLISHED`` is the formula of the original scripts: one scale before any rounding,
    and the padding that follows from it. They differ by up to a pixel of the network's input.
    """

    REAL = "real"
    PUBLISHED = "published"


@dataclass(frozen=True, kw_only=True)
class FoundObjects:
    """Detections of all images, in pixels of each image.

    Attributes:
        image: int64 [n], the place of its image in the data set.
        label: int64 [n], 0 and up.
        boxes: float64 [n, 4]; x, y of the upper left corner, width, height, as COCO writes them.
        scores: float64 [n].
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    boxes: Boxes
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "FoundObjects":
        """Return some of the detections."""
        return FoundObjects(**{name: column[rows] for name, column in vars(self).items()})


def boxes_on_source(
    boxes: Boxes,
    image: NDArray[np.int64],
    places: Sequence[Letterbox],
    *,
    mapping: BoxMapping = BoxMapping.REAL,
    clip: bool = False,
) -> Boxes:
    """Map boxes of many images from the network's input to the images.

    Args:
        boxes: float64 [n, 4]; x1, y1, x2, y2 in pixels of the input.
        image: int64 [n], which of ``places`` each box belongs to.
        places: the transform of each image.
        mapping: real or published.
        clip: cut boxes off at the image's borders.

    Returns:
        float64 [n, 4]; x, y, width, height in pixels of the images; no side is negative.
    """
    transform = _real if mapping is BoxMapping.REAL else _published
    table = np.array([(*transform(place), place.source_width, place.source_height) for place in places])
    left, top, across, down, width, height = table.reshape(-1, 6)[image].T
    # Divided, not multiplied with the inverse: the published figures come from that rounding.
    mapped = np.stack(
        [
            (boxes[:, 0] - left) / across,
            (boxes[:, 1] - top) / down,
            (boxes[:, 2] - left) / across,
            (boxes[:, 3] - top) / down,
        ],
        axis=1,
    )
    if clip:
        mapped[:, :2] = np.maximum(mapped[:, :2], 0)
        mapped[:, 2] = np.minimum(mapped[:, 2], width)
        mapped[:, 3] = np.minimum(mapped[:, 3], height)
    mapped[:, 2:] = np.maximum(mapped[:, 2:] - mapped[:, :2], 0)
    return mapped


def _real(place: Letterbox) -> tuple[float, float, float, float]:
    return (
        place.left,
        place.top,
        place.width / place.source_width,
        place.height / place.source_height,
    )


def _published(place: Letterbox) -> tuple[float, float, float, float]:
    """As the scripts compute it: the smaller quotient, and the padding by floor division of floats."""
    canvas_width, canvas_height = place.canvas_width, place.canvas_height
    scale = min(canvas_width / place.source_width, canvas_height / place.source_height)
    left = (canvas_width - place.source_width * scale) // 2
    top = (canvas_height - place.source_height * scale) // 2
    return left, top, scale, scale
