"""Image files on disk: which there are, how large they are, whether they are whole."""

import struct
from pathlib import Path

from graphopt.core.errors import DatasetError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))
_ORIENTATION = 0x0112
"""EXIF tag; values from 5 on exchange width and height."""
_TAIL = 4096
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""What stands at the end of a whole file, by Pillow's name of the format."""


def upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of the picture turned upright, as OpenCV decodes it; only the header is read.

    Raises:
        DatasetError: the file is missing or no image.
    """
    return _look(path)[1]


def check_image(path: Path, annotated: tuple[int, int]) -> tuple[int, int]:
    """Check that a file is whole and of the annotated size, and return its size turned upright.

    The end of a JPEG or PNG file is looked for: decoders fill up one that is cut short with grey and go on.

    Args:
        path: the image file.
        annotated: width and height that the labels give.

    Raises:
        DatasetError: the file is missing, no image, cut short, or of another size.
    """
    stored, upright, kind = _look(path)
    if annotated not in (stored, upright):
        raise DatasetError(
            f"the image {path} is {stored[0]} x {stored[1]}, its labels say {annotated[0]} x {annotated[1]}; "
            "are these the right images?"
        )
    end = _ENDS.get(kind)
    if end is not None and not _has(path, end):
        raise DatasetError(f"the image {path} is cut short: a {kind} file ends otherwise; copy it again")
    return upright


def _look(path: Path) -> tuple[tuple[int, int], tuple[int, int], str]:
    """Return the size as stored, the size upright, and the format."""
    from PIL import Image  # here: help pages must not pay for it

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            upright = (height, width) if turned else (width, height)
            return (width, height), upright, picture.format or ""
    except FileNotFoundError as error:
        raise DatasetError(f"the image {path} does not exist; check the image folder") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DatasetError(f"the image {path} cannot be read: {error}; replace the file") from error


def _has(path: Path, end: bytes) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _TAIL))
        if end in stream.read():
            return True
        stream.seek(0)  # something was appended, which some cameras do
        return end in stream.read()
