"""The objects of a drawn scene: each class has a shape, a family of colours and a texture."""

import colorsys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

Colour: TypeAlias = tuple[int, int, int]


class Pen:
    """Draws in the unit square of a transparent layer: x and y from 0 to 1, y downwards.

    Args:
        width: of the layer, in pixels.
        height: of the layer, in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
        self._draw: Any = ImageDraw.Draw(self.layer)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, round_: float = 0.0) -> None:
        """Fill a rectangle; ``round_`` is the radius of its corners."""
        width, height = self.layer.size
        self._draw.rounded_rectangle(
            (*self._at(x0, y0), *self._at(x1, y1)), radius=round_ * min(width, height), fill=(*colour, 255)
        )

    def disc(self, x: float, y: float, radius: float, colour: Colour, *, tall: float = 1.0) -> None:
        """Fill an ellipse around a point; ``radius`` is in widths, ``tall`` its height over its width."""
        width, height = self.layer.size
        rows = radius * width * tall / height
        self._draw.ellipse(
            (*self._at(x - radius, y - rows), *self._at(x + radius, y + rows)), fill=(*colour, 255)
        )

    def shape(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._at(x, y) for x, y in points], fill=(*colour, 255))

    def _at(self, x: float, y: float) -> tuple[float, float]:
        width, height = self.layer.size
        return x * (width - 1), y * (height - 1)


def colour(
    rng: np.random.Generator,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> Colour:
    """Return a colour of a family: hue in degrees, saturation and value from 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(
        rng.uniform(*hue) % 360 / 360, rng.uniform(*saturation), rng.uniform(*value)
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def shade(base: Colour, factor: float) -> Colour:
    """Return a lighter (above 1) or darker colour."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in base)
    return red, green, blue


def _bus(pen: Pen, rng: np.random.Generator) -> None:
    body = colour(rng, (36, 52), (0.75, 0.95), (0.8, 1.0))
    pen.box(0, 0.02, 1, 0.88, body, 0.08)
    pen.box(0, 0.6, 1, 0.7, shade(body, 0.55))
    for i in range(count := int(rng.integers(4, 8))):
        pen.box((i + 0.18) / count, 0.14, (i + 0.86) / count, 0.5, (52, 60, 70), 0.02)
    for x in (0.2, 0.8):
        pen.disc(x, 0.86, 0.07, (34, 32, 30))
        pen.disc(x, 0.86, 0.03, (150, 150, 150))


def _car(pen: Pen, rng: np.random.Generator) -> None:
    body = colour(rng, (205, 235), (0.7, 0.95), (0.55, 0.9))
    pen.shape([(0.16, 0.45), (0.3, 0.05), (0.68, 0.05), (0.86, 0.45)], body)
    pen.shape([(0.26, 0.42), (0.34, 0.14), (0.48, 0.14), (0.48, 0.42)], (190, 205, 220))
    pen.shape([(0.52, 0.42), (0.52, 0.14), (0.65, 0.14), (0.76, 0.42)], (190, 205, 220))
    pen.box(0, 0.42, 1, 0.84, body, 0.12)
    pen.box(0, 0.62, 1, 0.66, shade(body, 0.6))
    for x in (0.22, 0.78):
        pen.disc(x, 0.82, 0.1, (30, 30, 34))
        pen.disc(x, 0.82, 0.045, (170, 170, 175))


def _boat(pen: Pen, rng: np.random.Generator) -> None:
    hull = colour(rng, (350, 368), (0.75, 0.95), (0.6, 0.9))
    sail = shade(hull, 1.25)
    pen.box(0.47, 0, 0.52, 0.75, (110, 70, 40))
    for i in range(6):
        low, high = 0.05 + 0.11 * i, 0.05 + 0.11 * (i + 1)
        stripe = sail if i % 2 else (250, 205, 200)
        pen.shape([(0.53, low), (0.53, high), (0.53 + 0.42 * high, high), (0.53 + 0.42 * low, low)], stripe)
        pen.shape([(0.46, low), (0.46, high), (0.46 - 0.34 * high, high), (0.46 - 0.34 * low, low)], stripe)
    pen.shape([(0, 0.74), (1, 0.74), (0.84, 1), (0.16, 1)], hull)
    pen.box(0.05, 0.8, 0.95, 0.84, shade(hull, 0.5))


def _person(pen: Pen, rng: np.random.Generator) -> None:
    coat = colour(rng, (282, 318), (0.6, 0.9), (0.5, 0.85))
    skin = colour(rng, (18, 30), (0.35, 0.6), (0.6, 0.95))
    for x in (0.24, 0.56):
        pen.box(x, 0.6, x + 0.2, 1, shade(coat, 0.6), 0.05)
    pen.shape(
        [(0.2, 0.24), (0.8, 0.24), (1, 0.6), (0.84, 0.64), (0.78, 0.7), (0.22, 0.7), (0.16, 0.64), (0, 0.6)],
        coat,
    )
    for y in np.arange(0.3, 0.68, 0.08).tolist():
        pen.box(0.24, y, 0.76, y + 0.03, shade(coat, 1.3))
    pen.disc(0.5, 0.12, 0.24, skin, tall=1.1)
    pen.shape([(0.27, 0.1), (0.36, 0), (0.64, 0), (0.73, 0.1)], shade(skin, 0.35))


def _plant(pen: Pen, rng: np.random.Generator) -> None:
    leaf = colour(rng, (118, 145), (0.7, 0.95), (0.35, 0.65))
    for _ in range(90):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) ** 0.5
        x, y = 0.5 + 0.42 * far * np.cos(angle), 0.36 + 0.31 * far * np.sin(angle)
        pen.disc(
            x, y, rng.uniform(0.05, 0.09), shade(leaf, rng.uniform(0.6, 1.5)), tall=rng.uniform(0.6, 1.5)
        )
    pot = colour(rng, (12, 22), (0.6, 0.8), (0.5, 0.75))
    pen.shape([(0.2, 0.66), (0.8, 0.66), (0.7, 1), (0.3, 1)], pot)
    pen.box(0.16, 0.64, 0.84, 0.73, shade(pot, 1.2))


def _sheep(pen: Pen, rng: np.random.Generator) -> None:
    wool = colour(rng, (35, 60), (0.03, 0.14), (0.88, 1.0))
    for x in (0.28, 0.4, 0.62, 0.74):
        pen.box(x, 0.7, x + 0.06, 1, (50, 44, 42))
    for _ in range(130):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) ** 0.5
        x, y = 0.54 + 0.36 * far * np.cos(angle), 0.46 + 0.34 * far * np.sin(angle)
        pen.disc(x, y, 0.062, shade(wool, 0.62))
        pen.disc(x - 0.008, y - 0.012, 0.046, shade(wool, rng.uniform(0.88, 1.05)))
    pen.disc(0.14, 0.34, 0.13, (54, 48, 46), tall=1.2)
    pen.disc(0.1, 0.3, 0.02, (240, 240, 235))


def _monitor(pen: Pen, rng: np.random.Generator) -> None:
    pen.box(0.42, 0.74, 0.58, 0.96, (40, 40, 44))
    pen.box(0.24, 0.92, 0.76, 1, (40, 40, 44), 0.02)
    pen.box(0, 0, 1, 0.8, (22, 22, 26), 0.04)
    screen = colour(rng, (168, 190), (0.7, 0.95), (0.75, 1.0))
    pen.box(0.06, 0.06, 0.94, 0.74, screen)
    for y in np.arange(0.08, 0.72, 0.075).tolist():
        pen.box(0.06, y, 0.94, y + 0.03, shade(screen, 0.5))


Drawer: TypeAlias = Callable[[Pen, np.random.Generator], None]
OBJECTS: Mapping[str, tuple[Drawer, float]] = {
    "boat": (_boat, 1.0),
    "bus": (_bus, 2.1),
    "car": (_car, 2.0),
    "person": (_person, 0.42),
    "pottedplant": (_plant, 0.75),
    "sheep": (_sheep, 1.35),
    "tvmonitor": (_monitor, 1.2),
}
"""By VOC class: how it is drawn, and its width over its height."""
