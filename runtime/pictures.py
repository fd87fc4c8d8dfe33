"""Draw what a model said beside the image it said it about."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from graphopt.core.files import atomic_file
from graphopt.runtime.task import Reading

_HEIGHT = 480
_PANEL = 330
_LINE = 22
_MARGIN = 14
_INK, _SOFT, _GOOD, _BAD = (28, 36, 48), (110, 120, 134), (26, 127, 75), (179, 38, 30)


def draw_readings(image: Path, readings: Sequence[Reading], output: Path, *, force: bool) -> None:
    """Write a PNG: the image at 480 px height, its positive readings in a panel on the right.

    With labels, right ones are green and wrong or missed ones red.

    Raises:
        OutputError: the file exists without ``force``, or cannot be written.
    """
    with Image.open(image) as opened:
        picture = opened.convert("RGB")
    width = max(1, round(picture.width * _HEIGHT / picture.height))
    picture = picture.resize((width, _HEIGHT), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (width + _PANEL, _HEIGHT), "white")
    sheet.paste(picture, (0, 0))
    pen = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(size=16), ImageFont.load_default(size=13)
    left, top = width + _MARGIN, _MARGIN
    pen.text((left, top), image.name, fill=_SOFT, font=small)
    shown = sorted((item for item in readings if item.positive or item.truth), key=lambda r: -r.probability)
    for item in shown[: (_HEIGHT - 2 * _MARGIN) // _LINE - 1]:
        top += _LINE
        colour = _INK if item.truth is None else _GOOD if item.truth == item.positive else _BAD
        word = item.label if item.positive else f"({item.label} missed)"
        pen.text((left, top), word, fill=colour, font=font)
        pen.text((width + _PANEL - 50, top + 2), f"{item.probability:.0%}", fill=_SOFT, font=small)
    with atomic_file(output, force=force) as temporary, temporary.open("wb") as stream:
        sheet.save(stream, format="PNG")
