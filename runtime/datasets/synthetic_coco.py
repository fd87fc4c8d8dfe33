"""A data set of drawn scenes in COCO's own format, for demos and tests without any download."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graphopt.core.coco import COCO_CATEGORY_IDS, COCO_CLASSES
from graphopt.core.files import output_errors, write_json
from graphopt.runtime.scenes.crowd import DrawnObject, draw_crowd
from graphopt.runtime.scenes.objects import OBJECTS

SIZES = ((640, 480), (640, 427), (480, 640), (500, 375), (640, 360), (427, 640), (640, 640), (375, 500))
"""Width and height, as COCO's images have them."""
_OBJECTS = (32, 48)
"""Drawn per image; some hide others."""


def write_coco(
    folder: Path,
    *,
    train: int,
    val: int,
    seed: int,
    sizes: Sequence[tuple[int, int]] = SIZES,
    objects: tuple[int, int] = _OBJECTS,
) -> Path:
    """Write ``coco`` with ``train2017``, ``val2017`` (JPEG) and ``annotations/instances_*.json``.

    The picture of a number depends on the seed and that number only; ``val`` takes the numbers after
    those of ``train``, so that no image is in both. All 80 categories are listed, seven are drawn.

    Args:
        folder: created when missing; files of the same names are replaced.
        train: number of images, at least 1.
        val: number of images, at least 1.
        seed: of everything that is drawn.
        sizes: width and height of the images, in turn.
        objects: least and most of an image.

    Returns:
        ``folder/coco``.

    Raises:
        ValueError: a count is below 1.
        OutputError: the folder cannot be written.
    """
    if train < 1 or val < 1:
        raise ValueError(f"train and val must be at least 1, got {train} and {val}")
    root = folder / "coco"
    for split, numbers in (
        ("train2017", range(1, train + 1)),
        ("val2017", range(train + 1, train + val + 1)),
    ):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        with output_errors(folder):
            (root / split).mkdir(parents=True, exist_ok=True)
            (root / "annotations").mkdir(exist_ok=True)
        for number in numbers:
            width, height = sizes[number % len(sizes)]
            photo, drawn = synthetic_crowd(number, seed=seed, width=width, height=height, objects=objects)
            name = f"{number:012d}.jpg"
            with output_errors(root / split):
                photo.save(root / split / name, quality=92)
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            annotations += [
                _annotation(item, image=number, number=len(annotations) + i + 1)
                for i, item in enumerate(drawn)
            ]
        content = {
            "info": {"description": "drawn scenes", "version": "1"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": category, "name": name, "supercategory": name}
                for category, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True)
            ],
        }
        write_json(root / "annotations" / f"instances_{split}.json", content)
    return root


def synthetic_crowd(
    number: int, *, seed: int, width: int, height: int, objects: tuple[int, int] = _OBJECTS
) -> tuple[Image.Image, tuple[DrawnObject, ...]]:
    """Draw one scene; numbers in a row begin with each class in turn."""
    rng = np.random.default_rng([seed, number])
    names = tuple(OBJECTS)
    others = rng.choice(names, int(rng.integers(*objects, endpoint=True)) - 1).tolist()
    return draw_crowd([names[number % len(names)], *others], rng, width=width, height=height)


def _annotation(item: DrawnObject, *, image: int, number: int) -> dict[str, Any]:
    x, y, width, height = item.box
    return {
        "id": number,
        "image_id": image,
        "category_id": COCO_CATEGORY_IDS[COCO_CLASSES.index(item.name)],
        "bbox": list(item.box),
        "area": item.area,
        "iscrowd": 0,
        "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
    }
