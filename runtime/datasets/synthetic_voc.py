"""A data set of drawn scenes in VOC's own format, for demos and tests without any download."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graphopt.core.files import output_errors, write_text
from graphopt.core.voc import voc_palette
from graphopt.runtime.scenes.objects import OBJECTS
from graphopt.runtime.scenes.scene import draw_scene

_LONGEST = (500, 500, 500, 460, 540)
"""Pixels; most of VOC's images have 500 on their longest side, some have not."""
_SHORTER = (0.6, 1.0)


def write_voc(folder: Path, *, train: int, val: int, seed: int) -> Path:
    """Write ``VOCdevkit/VOC2012`` with JPEG images, indexed masks, and the lists train and val.

    The picture of a number depends on the seed and that number only; ``val`` takes the numbers
    after those of ``train``, so that no image is in both.

    Args:
        folder: created when missing; files of the same names are replaced.
        train: number of images in ``train.txt``, at least 1.
        val: number of images in ``val.txt``, at least 1.
        seed: of everything that is drawn.

    Returns:
        ``folder/VOCdevkit``.

    Raises:
        ValueError: a count is below 1.
        OutputError: the folder cannot be written.
    """
    if train < 1 or val < 1:
        raise ValueError(f"train and val must be at least 1, got {train} and {val}")
    root = folder / "VOCdevkit" / "VOC2012"
    names = [f"2012_{number:06d}" for number in range(1, train + val + 1)]
    palette = [channel for entry in voc_palette() for channel in entry]
    with output_errors(folder):
        for inner in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / inner).mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names, start=1):
            photo, mask = synthetic_scene(number, seed=seed)
            photo.save(root / "JPEGImages" / f"{name}.jpg", quality=92)
            indexed = Image.fromarray(mask)
            indexed.putpalette(palette)  # makes the grey picture an indexed one
            indexed.save(root / "SegmentationClass" / f"{name}.png")
        for split, part in (("train", names[:train]), ("val", names[train:])):
            text = "".join(f"{name}\n" for name in part)
            write_text(root / "ImageSets" / "Segmentation" / f"{split}.txt", text)
    return root.parent


def synthetic_scene(number: int, *, seed: int) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Draw one scene of one to three objects; numbers in a row go through all classes.

    Returns:
        RGB image, longest side 460 to 540 pixels, and its mask: uint8 [H, W], 255 along borders.
    """
    rng = np.random.default_rng([seed, number])
    names = tuple(OBJECTS)
    longest = int(rng.choice(_LONGEST))
    shorter = round(longest * rng.uniform(*_SHORTER))
    width, height = (longest, shorter) if rng.random() < 0.75 else (shorter, longest)
    others = rng.choice(names, int(rng.integers(0, 3))).tolist()
    return draw_scene([names[number % len(names)], *others], rng, width=width, height=height)
