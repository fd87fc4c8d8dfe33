"""A drawn photograph full of objects: many sizes and aspects, in front of each other, each with its box."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graphopt.runtime.scenes.objects import OBJECTS, Pen
from graphopt.runtime.scenes.scene import background, photographed

COCO_NAMES: Mapping[str, str] = {"pottedplant": "potted plant", "tvmonitor": "tv"}
"""COCO's name of the drawn objects where it is not VOC's."""
_SIDES = (14.0, 0.4)
"""Of an object: pixels at least, and a fraction of the image's shorter side at most."""
_STRETCH = (0.6, 1.7)
"""Of an object's usual width over height."""
_SEEN = 200
"""Opacity from which a pixel belongs to the object."""
_LEAST_VISIBLE = 0.35
"""Share of an object below which nobody would annotate it."""
_LEAST_PIXELS = 40


@dataclass(frozen=True, kw_only=True)
class DrawnObject:
    """An object that can be seen.

    Attributes:
        name: COCO's.
        box: x, y, width, height of its visible pixels.
        area: how many those are.
    """

    name: str
    box: tuple[int, int, int, int]
    area: int


def draw_crowd(
    names: Sequence[str], rng: np.random.Generator, *, width: int, height: int
) -> tuple[Image.Image, tuple[DrawnObject, ...]]:
    """Draw objects, the far ones first; what is hidden behind others is left out of the list.

    Args:
        names: in ``OBJECTS``; may repeat.
        rng: of everything that varies.
        width: in pixels.
        height: in pixels.

    Returns:
        RGB image, and its objects in the order of ``names``.
    """
    photo, _ = background(rng, width, height)
    # The side is drawn evenly in its logarithm: small objects are many, as in COCO.
    low, high = math.log(_SIDES[0]), math.log(max(_SIDES[0] + 1, _SIDES[1] * min(width, height)))
    sides = np.exp(rng.uniform(low, high, len(names)))
    owner = np.full((height, width), -1, np.int32)
    whole = np.zeros(len(names), np.int64)
    for place in np.argsort(sides, kind="stable").tolist():
        layer = _layer(names[place], rng, float(sides[place]))
        left = int(rng.integers(0, max(1, width - layer.width)))
        top = int(rng.integers(0, max(1, height - layer.height)))
        photo.paste(layer, (left, top), layer)
        seen = np.asarray(layer)[..., 3] >= _SEEN
        part = owner[top : top + layer.height, left : left + layer.width]
        seen = seen[: part.shape[0], : part.shape[1]]
        part[seen] = place
        whole[place] = int(seen.sum())
    drawn = (_visible(names[i], owner == i, int(whole[i])) for i in range(len(names)))
    return photographed(photo, rng), tuple(item for item in drawn if item is not None)


def _layer(name: str, rng: np.random.Generator, side: float) -> Image.Image:
    """Draw one object at twice its size and scale it; ``side`` is the root of its area."""
    draw, usual = OBJECTS[name]
    aspect = usual * rng.uniform(*_STRETCH)
    size = max(8, round(side * aspect**0.5)), max(8, round(side / aspect**0.5))
    pen = Pen(2 * size[0], 2 * size[1])
    draw(pen, rng)
    layer = pen.layer
    if rng.random() < 0.5:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return layer.resize(size, Image.Resampling.LANCZOS)


def _visible(name: str, mask: NDArray[np.bool_], whole: int) -> DrawnObject | None:
    area = int(mask.sum())
    if area < max(_LEAST_PIXELS, _LEAST_VISIBLE * whole):
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )
    return DrawnObject(name=COCO_NAMES.get(name, name), box=box, area=area)
