"""A data set of drawn pedestrians in PETA's own format, for demos and tests without any download."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from graphopt.core.files import output_errors
from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.runtime.pedestrians.canvas import Canvas, photograph, street
from graphopt.runtime.pedestrians.figure import draw_person
from graphopt.runtime.pedestrians.person import random_person

_WIDTHS, _HEIGHTS = (44, 100), (110, 220)
"""Pixels; the sizes of most of PETA's crops."""


def write_synthetic_peta(folder: Path, *, count: int, seed: int, start: int = 0) -> None:
    """Write ``images/00001.png`` ..., ``image.txt`` and ``label.json`` into ``folder``.

    The picture of a number depends on the seed and that number only: data sets of the same seed
    are disjoint when their ranges of numbers are.

    Args:
        folder: created when missing; files of the same names are replaced.
        count: number of pictures, at least 1.
        seed: of everything that is drawn.
        start: number of pictures that come before the first one, as in another data set.

    Raises:
        ValueError: ``count`` or ``start`` is out of range.
        OutputError: the folder cannot be written.
    """
    if count < 1 or start < 0:
        raise ValueError(f"count must be at least 1 and start at least 0, got {count} and {start}")
    labels: dict[str, list[int]] = {}
    with output_errors(folder):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for number in range(start + 1, start + count + 1):
            name = f"{number:05d}.png"
            image, labels[name] = synthetic_pedestrian(number, seed=seed)
            image.save(folder / "images" / name)
        (folder / "image.txt").write_text("".join(f"{name}\n" for name in labels), encoding="utf-8")
        (folder / "label.json").write_text(json.dumps(labels), encoding="utf-8")


def synthetic_pedestrian(number: int, *, seed: int) -> tuple[Image.Image, list[int]]:
    """Draw one picture.

    Returns:
        RGB image, 44 to 100 pixels wide and 110 to 220 high, and its 35 labels, each 0 or 1.
    """
    rng = np.random.default_rng([seed, number])
    person = random_person(rng)
    picture = street(rng)
    shift = (rng.uniform(-4, 4), rng.uniform(-8, -1))
    draw_person(Canvas(picture, scale=rng.uniform(0.9, 1.0), shift=shift), person)
    width = int(rng.integers(*_WIDTHS, endpoint=True))
    height = int(np.clip(width * rng.uniform(2.0, 2.5), *_HEIGHTS))
    photo = photograph(picture, rng, width=width, height=height)
    return photo, [int(person.has(name)) for name in PETA_ATTRIBUTES]
