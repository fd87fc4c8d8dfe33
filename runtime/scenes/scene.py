"""A drawn photograph: sky and ground with clutter, and objects in front of each other."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from graphopt.core.voc import VOC_CLASSES, VOC_IGNORE
from graphopt.runtime.scenes.objects import OBJECTS, Pen, colour

_BORDER = 5
"""Window, in pixels, in which a change of class makes a pixel void: VOC draws about as wide."""
_SEEN = 200
"""Opacity from which a pixel belongs to the object."""


def draw_scene(
    classes: Sequence[str], rng: np.random.Generator, *, width: int, height: int
) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Draw objects of these classes, the first one the largest and farthest away.

    Args:
        classes: names in ``OBJECTS``; may repeat.
        rng: of everything that varies.
        width: in pixels.
        height: in pixels.

    Returns:
        RGB image, and its mask: uint8 [height, width] with VOC's indices, 255 along borders.
    """
    photo, horizon = background(rng, width, height)
    mask = np.zeros((height, width), np.uint8)
    for place, name in enumerate(classes):
        layer, left, top = _object(name, rng, width, height, horizon, slot=place, slots=len(classes))
        photo.paste(layer, (left, top), layer)
        _stamp(mask, np.asarray(layer)[..., 3] >= _SEEN, left, top, VOC_CLASSES.index(name))
    return photographed(photo, rng), _with_border(mask)


def _object(
    name: str, rng: np.random.Generator, width: int, height: int, horizon: int, *, slot: int, slots: int
) -> tuple[Image.Image, int, int]:
    """Draw one object at twice its size, and return it scaled with the place of its corner."""
    draw, aspect = OBJECTS[name]
    area = width * height * rng.uniform(0.11, 0.2) * (1.5 if slot == 0 else 1.0) / slots**0.5
    tall = min(math.sqrt(area / aspect), 0.9 * height, 0.9 * width / aspect)
    size = max(24, round(tall * aspect)), max(24, round(tall))
    pen = Pen(2 * size[0], 2 * size[1])
    draw(pen, rng)
    layer = pen.layer
    if rng.random() < 0.5:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    layer = layer.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC, expand=True)
    layer = layer.resize((layer.width // 2, layer.height // 2), Image.Resampling.LANCZOS)
    middle = width * (slot + rng.uniform(0.3, 0.7)) / slots
    left = int(np.clip(middle - layer.width / 2, 0, max(0, width - layer.width)))
    foot = rng.uniform(max(horizon, 0.55 * height), height)
    top = int(np.clip(foot - layer.height, 0, max(0, height - layer.height)))
    return layer, left, top


def _stamp(mask: NDArray[np.uint8], seen: NDArray[np.bool_], left: int, top: int, index: int) -> None:
    part = mask[top : top + seen.shape[0], left : left + seen.shape[1]]
    part[seen[: part.shape[0], : part.shape[1]]] = index


def background(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, int]:
    """Sky over ground in muted colours, with clouds, bushes and stones; also the row of the horizon."""
    horizon = int(height * rng.uniform(0.3, 0.6))
    rows = np.arange(height)[:, None, None] / height
    sky = np.array(colour(rng, (195, 225), (0.08, 0.28), (0.72, 0.95)), np.float32)
    ground = np.array(colour(rng, (28, 95), (0.1, 0.35), (0.4, 0.68)), np.float32)
    pixels = np.where(rows * height < horizon, sky * (0.86 + 0.3 * rows), ground * (0.75 + 0.4 * rows))
    pixels = np.broadcast_to(pixels, (height, width, 3)) + _grain(rng, width, height)
    photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw: Any = ImageDraw.Draw(photo)
    for _ in range(int(rng.integers(2, 6))):
        _blob(
            draw,
            rng,
            width,
            (0, horizon * 0.8),
            (0.08, 0.2),
            0.35,
            colour(rng, (200, 220), (0, 0.06), (0.85, 0.97)),
        )
    for _ in range(int(rng.integers(2, 6))):
        bush = colour(rng, (60, 110), (0.15, 0.35), (0.3, 0.5))
        _blob(draw, rng, width, (horizon * 0.95, horizon * 1.02), (0.05, 0.14), 0.6, bush)
    for _ in range(int(rng.integers(6, 16))):
        stone = colour(rng, (0, 360), (0.02, 0.14), (0.3, 0.65))
        _blob(draw, rng, width, (horizon * 1.1, height), (0.01, 0.05), 0.5, stone)
    return photo.filter(ImageFilter.GaussianBlur(1.2)), horizon


def _blob(
    draw: Any,
    rng: np.random.Generator,
    width: int,
    rows: tuple[float, float],
    sizes: tuple[float, float],
    flat: float,
    fill: tuple[int, int, int],
) -> None:
    x, y, radius = rng.uniform(0, width), rng.uniform(*rows), rng.uniform(*sizes) * width
    draw.ellipse((x - radius, y - radius * flat, x + radius, y + radius * flat), fill=fill)


def _grain(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """Return soft spots of a few pixels, [height, width, 1]."""
    coarse = rng.normal(0, 14, (height // 6 + 1, width // 6 + 1)).astype(np.float32)
    grown = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(grown)[..., None]


def photographed(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add light from one side, blur and noise."""
    width, height = photo.size
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.linspace(-1, 1, width)[None, :], np.linspace(-1, 1, height)[:, None]
    light = rng.uniform(0.82, 1.1) * (1 + 0.12 * (np.cos(angle) * x + np.sin(angle) * y))
    blurred = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    pixels = np.asarray(blurred, np.float32) * light[..., None] + rng.normal(0, 4, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _with_border(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Image.fromarray(mask)
    largest, smallest = (
        np.asarray(picture.filter(kind(_BORDER))) for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter)
    )
    return np.where(largest != smallest, np.uint8(VOC_IGNORE), mask)
