"""Draw boxes with their labels over an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.core.errors import DatasetError
from graphopt.runtime.task import Reading

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_LETTER = 1 / 30
"""Height of the text over that of the image: readable when a report shows it at 380 pixels."""
_LEAST_LETTER = 11
_PAD = 2


def upright_photograph(path: Path) -> "Image.Image":
    """Read an image file as RGB, turned upright as its EXIF data says: boxes are in that frame.

    Raises:
        DatasetError: it cannot be decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"the image {path} cannot be decoded: {error}; replace the file") from error


def draw_boxes(photo: "Image.Image", readings: Sequence[Reading], *, scores: bool = True) -> "Image.Image":
    """Return a copy of the image with a frame and a caption for each reading that has a box.

    Args:
        photo: RGB.
        readings: the surest are drawn last, over the others.
        scores: write the score behind the name.
    """
    from PIL import ImageDraw, ImageFont

    picture = photo.copy()
    pen = ImageDraw.Draw(picture)
    letter = max(_LEAST_LETTER, round(min(photo.size) * _LETTER))
    font = ImageFont.load_default(size=letter)
    line = max(1, round(letter / 7))
    for item in sorted((item for item in readings if item.box is not None), key=lambda item: item.value):
        assert item.box is not None
        x, y, width, height = item.box
        colour = item.colour or (255, 255, 255)
        corner = (max(0.0, x), max(0.0, y))
        end = (min(photo.width - 1.0, x + width), min(photo.height - 1.0, y + height))
        if end[0] < corner[0] or end[1] < corner[1] or not width * height:
            continue  # wholly outside the image, or cut to nothing there
        pen.rectangle((*corner, *end), outline=colour, width=line)
        text = f"{item.label} {item.value:.2f}" if scores else item.label
        _caption(pen, font, text, corner, colour, photo.size)
    return picture


def _caption(
    pen: "ImageDraw.ImageDraw",
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
    text: str,
    corner: tuple[float, float],
    colour: tuple[int, int, int],
    size: tuple[int, int],
) -> None:
    """Write a text on its colour above a corner, or below it where the image ends."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * _PAD, bottom - top + 2 * _PAD
    x = max(0.0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (0, 0, 0) if light > 140 else (255, 255, 255)
    pen.text((x + _PAD - left, y + _PAD - top), text, fill=ink, font=font)
