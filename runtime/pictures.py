"""Draw what a model said beside the image it said it about."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError
from graphopt.core.files import atomic_file
from graphopt.runtime.task import Panel, Reading

if TYPE_CHECKING:
    from PIL import Image  # everywhere else inside functions: recipes are listed without it

_HEIGHT = 480
_LEGEND = 330
_LINE = 22
_MARGIN = 14
_CAPTION = 80
_INK, _SOFT, _GOOD, _BAD = (28, 36, 48), (110, 120, 134), (26, 127, 75), (179, 38, 30)
_VEIL = 0.6
"""Weight of a mask's colour over the image."""


def embedded(picture: "Image.Image", *, side: int) -> str:
    """Return a picture as the text that stands for it in a page, no side longer than ``side`` pixels."""
    image = picture.copy()
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def photograph(path: Path) -> "Image.Image":
    """Read an image file as RGB.

    Raises:
        DatasetError: it cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"the image {path} cannot be decoded: {error}; replace the file") from error


def overlay(
    photo: "Image.Image", mask: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]], *, clear: int = 0
) -> "Image.Image":
    """Lay a mask's colours over a photograph; where the mask is ``clear`` it is only dimmed.

    Args:
        photo: RGB, of the mask's size.
        mask: uint8 [H, W].
        palette: a colour for each value of the mask.
        clear: value that is left without colour, usually the background.
    """
    from PIL import Image

    pixels = np.asarray(photo, np.float32)
    colours: Any = np.asarray(palette, np.float32)[mask]
    mixed = np.where((mask == clear)[..., None], pixels * 0.55, pixels * (1 - _VEIL) + colours * _VEIL)
    edge = np.zeros(mask.shape, np.bool_)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    mixed[edge] = 255
    return Image.fromarray(mixed.astype(np.uint8))


def compose(panels: Sequence[Panel], readings: Sequence[Reading], *, title: str) -> "Image.Image":
    """Put captioned panels side by side at 480 px height, and the positive readings in a legend.

    With labels, right readings are green and wrong or missed ones red.
    """
    from PIL import Image, ImageDraw, ImageFont

    pictures = [_scaled(panel.picture) for panel in panels]
    width = sum(picture.width for picture in pictures)
    sheet = Image.new("RGB", (width + _LEGEND, _HEIGHT), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width
    pen = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(size=16), ImageFont.load_default(size=13)
    left = 0
    for panel, picture in zip(panels, pictures, strict=True):
        if len(panels) > 1:
            pen.rectangle((left, _HEIGHT - _LINE, left + _CAPTION, _HEIGHT), fill="white")
            pen.text((left + 6, _HEIGHT - _LINE + 3), panel.caption, fill=_INK, font=small)
        left += picture.width
    left, top = width + _MARGIN, _MARGIN
    pen.text((left, top), title, fill=_SOFT, font=small)
    shown = sorted((item for item in readings if item.positive or item.truth), key=lambda r: -r.value)
    for item in shown[: (_HEIGHT - 2 * _MARGIN) // _LINE - 1]:
        top += _LINE
        colour = _INK if item.truth is None else _GOOD if item.truth == item.positive else _BAD
        word = item.label if item.positive else f"({item.label} missed)"
        start = left
        if item.colour is not None:
            pen.rectangle((left, top + 3, left + 14, top + 17), fill=item.colour, outline=_SOFT)
            start += 22
        pen.text((start, top), word, fill=colour, font=font)
        pen.text((width + _LEGEND - 60, top + 2), percent(item.value), fill=_SOFT, font=small)
    return sheet


def percent(value: float, *, digits: int = 0) -> str:
    """Write a fraction in percent; one that rounds to 0 but is more says so."""
    least = 10.0**-digits
    return f"<{least:.{digits}f}%" if 0 < 100 * value < least / 2 else f"{value:.{digits}%}"


def draw_prediction(
    panels: Sequence[Panel], readings: Sequence[Reading], output: Path, *, title: str, force: bool
) -> None:
    """Write ``compose`` as a PNG.

    Raises:
        OutputError: the file exists without ``force``, or cannot be written.
    """
    sheet = compose(panels, readings, title=title)
    with atomic_file(output, force=force) as temporary, temporary.open("wb") as stream:
        sheet.save(stream, format="PNG")


def _scaled(picture: "Image.Image") -> "Image.Image":
    from PIL import Image

    width = max(1, round(picture.width * _HEIGHT / picture.height))
    return picture.resize((width, _HEIGHT), Image.Resampling.LANCZOS)
