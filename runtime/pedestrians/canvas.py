"""A Pillow picture in figure units: 100 wide, 220 high, drawn large and scaled down smoothly."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from graphopt.runtime.pedestrians.person import Colour

WIDTH, HEIGHT = 100, 220
"""Size of the canvas in figure units."""
_PIXELS = 4
"""Pixels per unit while drawing."""

Point = tuple[float, float]


class Canvas:
    """Draws shapes on a picture; the figure may be scaled and shifted as a whole.

    Args:
        background: uint8 [880, 400, 3], as ``street`` makes it.
        scale: of the figure about the middle of its feet.
        shift: of the figure, in units, right and down.
    """

    def __init__(self, background: Image.Image, *, scale: float, shift: Point) -> None:
        self._image = background
        self._draw = ImageDraw.Draw(background, "RGBA")
        self._scale = scale
        self._shift = shift

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._place(point) for point in points], fill=fill)

    def rectangle(self, top_left: Point, bottom_right: Point, fill: Colour) -> None:
        """Fill an upright rectangle."""
        self._draw.rectangle((*self._place(top_left), *self._place(bottom_right)), fill=fill)

    def ellipse(self, centre: Point, radii: Point, fill: Colour) -> None:
        """Fill an ellipse with its axes along the picture's."""
        self._draw.ellipse(self._box(centre, radii), fill=fill)

    def pie(self, centre: Point, radii: Point, angles: Point, fill: Colour) -> None:
        """Fill the sector of an ellipse between two angles, in degrees, clockwise from the right."""
        self._draw.pieslice(self._box(centre, radii), *angles, fill=fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draw a polyline with round ends and joints."""
        pixels = width * _PIXELS * self._scale
        placed = [self._place(point) for point in points]
        self._draw.line(placed, fill=fill, width=max(1, round(pixels)), joint="curve")
        for x, y in (placed[0], placed[-1]):
            self._draw.ellipse((x - pixels / 2, y - pixels / 2, x + pixels / 2, y + pixels / 2), fill=fill)

    def inside(self, points: Sequence[Point], paint: Callable[["Canvas"], None]) -> None:
        """Let ``paint`` draw on a copy and keep of it what lies inside the polygon."""
        layer = self._image.copy()
        paint(Canvas(layer, scale=self._scale, shift=self._shift))
        mask = Image.new("L", self._image.size, 0)
        ImageDraw.Draw(mask).polygon([self._place(point) for point in points], fill=255)
        self._image.paste(layer, mask=mask)

    def _place(self, point: Point) -> Point:
        x = (point[0] - WIDTH / 2) * self._scale + WIDTH / 2 + self._shift[0]
        y = (point[1] - HEIGHT) * self._scale + HEIGHT + self._shift[1]
        return x * _PIXELS, y * _PIXELS

    def _box(self, centre: Point, radii: Point) -> tuple[float, float, float, float]:
        left, top = self._place((centre[0] - radii[0], centre[1] - radii[1]))
        right, bottom = self._place((centre[0] + radii[0], centre[1] + radii[1]))
        return left, top, right, bottom


def street(rng: np.random.Generator) -> Image.Image:
    """Return a grey wall over a grey pavement with soft light, as large as a canvas draws."""
    tint = rng.uniform(-8, 8, 3)
    wall, ground = rng.uniform(120, 200), rng.uniform(90, 160)
    horizon = int(HEIGHT * rng.uniform(0.55, 0.8))
    rows = np.full(HEIGHT, wall)
    rows[horizon:] = ground
    rows += np.linspace(rng.uniform(-20, 20), rng.uniform(-20, 20), HEIGHT)
    columns = np.linspace(rng.uniform(-15, 15), rng.uniform(-15, 15), WIDTH)
    picture = rows[:, None, None] + columns[None, :, None] + tint
    small = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return small.resize((WIDTH * _PIXELS, HEIGHT * _PIXELS), Image.Resampling.NEAREST)


def photograph(image: Image.Image, rng: np.random.Generator, *, width: int, height: int) -> Image.Image:
    """Scale a drawing down to ``width`` x ``height`` pixels, with another exposure and sensor noise."""
    small = np.asarray(image.resize((width, height), Image.Resampling.BOX), dtype=np.float32)
    noisy = small * rng.uniform(0.92, 1.06) + rng.normal(0, 3, small.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
