"""Boxes of two models, where images lie in the network's input, and which boxes are the same objects."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from graphopt.core._detection_pairs import pair_rows

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class BoxesOfImages:
    """Detections of some images.

    Attributes:
        boxes: float64 [n, 4]; x1, y1, x2, y2 in pixels of the network's input.
        scores: float64 [n].
        labels: int64 [n].
        image: int64 [n], the place of the image.
    """

    boxes: Floats
    scores: Floats
    labels: Indices
    image: Indices

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where images lie in the network's input: float64 [images, 2] of x and y, or [n, 4] of both corners.

    Attributes:
        start: padding before the image, in pixels of the input.
        scale: input over image.
        size: of the scaled image, in pixels of the input.
        canvas: size of the input.
        published_start: as ``start``, by the original scripts' formula.
        published_scale: as ``scale``, by that formula.
    """

    start: Floats
    scale: Floats
    size: Floats
    canvas: Floats
    published_start: Floats
    published_scale: Floats

    def of(self, image: Indices) -> Self:
        """Return the places of both corners of boxes, [n, 4]."""
        return type(self)(**{name: np.tile(values[image], 2) for name, values in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The same objects on both sides.

    Attributes:
        first: rows of the reference.
        second: rows of the candidate.
        agreement: overlap of all boxes: 1 when every box has an equal partner.
    """

    first: Indices
    second: Indices
    agreement: float


def pair_boxes(reference: BoxesOfImages, candidate: BoxesOfImages) -> Pairs:
    """Pair boxes of the same image that overlap, whatever their labels."""
    sides = [(side.boxes, side.scores, side.image) for side in (reference, candidate)]
    found = pair_rows(sides[0], sides[1], box=0.0, score=0.0)
    shared = _overlaps(reference.boxes[found.first], candidate.boxes[found.second])
    most = max(len(reference), len(candidate), 1)
    return Pairs(first=found.first, second=found.second, agreement=float(shared.sum()) / most)


def _overlaps(one: Floats, two: Floats) -> Floats:
    """Return the IoU of each row with its partner."""
    corner, end = np.maximum(one[:, :2], two[:, :2]), np.minimum(one[:, 2:], two[:, 2:])
    shared = np.prod(np.clip(end - corner, 0, None), axis=1)
    union = sum(np.prod(np.clip(side[:, 2:] - side[:, :2], 0, None), axis=1) for side in (one, two)) - shared
    ratio: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio
