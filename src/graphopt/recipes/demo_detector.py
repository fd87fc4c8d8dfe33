"""Any detector of mmdet without downloads: drawn scenes and a checkpoint fitted to some of them."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphopt.core.errors import UsageError
from graphopt.core.files import atomic_folder, output_errors
from graphopt.core.optional import require
from graphopt.recipes.recipe import Demo, Recipe
from graphopt.runtime.datasets.coco_detection import CocoDetection
from graphopt.runtime.datasets.synthetic_coco import SIZES, write_coco
from graphopt.runtime.placement import place_of
from graphopt.runtime.preprocess import preprocess

if TYPE_CHECKING:
    from graphopt.exporters.demo_detection import Sample

_LOGGER = logging.getLogger(__name__)

FIT_IMAGES = 16
TEST_IMAGES = 8
_USUAL = 400
"""Shorter side of an input from which images are drawn as large as COCO's."""
_OBJECTS = (32, 48)
_FEWEST = 12
"""Objects of an image that is drawn smaller."""


def with_demo(recipe: Recipe) -> Recipe:
    """Return a detector's recipe with ``make_demo``."""
    return replace(recipe, make_demo=partial(make_detector_demo, recipe))


def make_detector_demo(
    recipe: Recipe,
    folder: Path,
    *,
    fit_images: int = FIT_IMAGES,
    test_images: int = TEST_IMAGES,
    seed: int = 7,
) -> Demo:
    """Write ``folder/data`` in COCO's format and ``folder/checkpoint.pth``.

    The checkpoint comes last: where it is, the demo is complete. Earlier results in the folder are
    replaced. The images to fit are ``train2017``, those to test ``val2017``.

    Args:
        recipe: a detector with ``build``, preprocessing and a detection task.
        folder: created when missing.
        fit_images: at least 10.
        test_images: at least 1.
        seed: of images and weights.

    Raises:
        UsageError: a count is out of range, or the detector has not the classes that are drawn.
        OutputError: the folder cannot be written.
        MissingBackendError: torch, mmdet or OpenCV is not installed.
    """
    if fit_images < 10 or test_images < 1:
        raise UsageError(
            f"{fit_images} images to fit and {test_images} to test: there must be 10 and 1 at least"
        )
    require("torch", extra="mmdet", purpose="making a demo checkpoint")
    from graphopt.exporters.demo_detection import make_detector_checkpoint
    from graphopt.exporters.demo_fit import save_checkpoint

    checkpoint = folder / "checkpoint.pth"
    with output_errors(checkpoint):
        checkpoint.unlink(missing_ok=True)  # an old one beside new pictures would look complete
    module: Any = recipe.needed_build("--demo")()
    sizes, objects = _drawn(recipe)
    with atomic_folder(folder / "data", force=True) as data:
        write_coco(data, train=fit_images, val=test_images, seed=seed, sizes=sizes, objects=objects)
    task: Any = recipe.needed_task("--demo")
    state = make_detector_checkpoint(module.model, _samples(recipe, folder / "data"), seed=seed)
    meta = {"dataset_meta": {"classes": task.classes}, "epoch": 0}
    save_checkpoint(checkpoint, state, meta=meta, demo_seed=seed, demo_images=fit_images)
    _LOGGER.info("the demo checkpoint %s was fitted to %d drawn scenes", checkpoint, fit_images)
    return Demo(checkpoint=checkpoint, data=folder / "data")


def _drawn(recipe: Recipe) -> tuple[tuple[tuple[int, int], ...], tuple[int, int]]:
    """Return sizes and numbers of objects: smaller and fewer for a small input, where they would vanish."""
    *_, height, width = recipe.inputs[0].shape
    assert isinstance(height, int)
    assert isinstance(width, int)
    factor = min(1.0, min(height, width) / _USUAL)
    sizes = tuple((round(w * factor), round(h * factor)) for w, h in SIZES)
    least, most = (max(_FEWEST, round(count * factor)) for count in _OBJECTS)
    return sizes, (least, most)


def _samples(recipe: Recipe, data: Path) -> Iterator["Sample"]:
    """Preprocess the images to fit, with boxes in pixels of the input and the network's class numbers."""
    task: Any = recipe.needed_task("--demo")
    steps = recipe.needed_steps("--demo")
    for sample in CocoDetection(data / "coco" / "train2017"):
        names = [sample.categories[number] for number in sample.objects.category.tolist()]
        if unknown := sorted(set(names) - set(task.classes)):
            raise UsageError(
                f"{recipe.name} has no class {unknown[0]!r}: the demo draws classes of COCO; "
                "give a checkpoint and data"
            )
        place = place_of(steps, *sample.size)
        scale = np.array([place.width / place.source_width, place.height / place.source_height] * 2)
        corners = sample.objects.boxes.copy()
        corners[:, 2:] += corners[:, :2]
        boxes = corners * scale + [place.left, place.top, place.left, place.top]
        classes = np.array([task.classes.index(name) for name in names], np.int64)
        yield preprocess(sample.path, steps), boxes.astype(np.float32), classes
