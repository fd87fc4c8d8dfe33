"""Pictures with objects for a detector that comes without data: on noise it finds nothing to compare."""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np

from graphopt.core.words import counted
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.samples import Feeds

_SIZES = ((640, 480), (427, 640), (500, 375))
"""Width and height, as COCO's images have them."""
_SEED = 20
_NEEDED = ("cv2", "PIL")


def drawn_feeds(recipe: Recipe, count: int) -> Feeds | None:
    """Return drawn scenes as the recipe's preprocessing makes inputs of them.

    Returns:
        ``count`` inputs of one image each; None for what is no detector of pictures, and without the
        packages to draw and prepare them.
    """
    is_detector = any(spec.role == "dets" for spec in recipe.outputs) and len(recipe.inputs) == 1
    if not is_detector or not recipe.preprocessing or not all(map(importlib.util.find_spec, _NEEDED)):
        return None
    from graphopt.runtime.datasets.synthetic_coco import synthetic_crowd
    from graphopt.runtime.preprocess import preprocess

    samples = []
    with tempfile.TemporaryDirectory(prefix="graphopt-scenes-") as name:
        for number in range(count):
            width, height = _SIZES[number % len(_SIZES)]
            photo, _ = synthetic_crowd(number, seed=_SEED, width=width, height=height)
            path = Path(name) / f"{number}.png"
            photo.save(path)
            image = preprocess(path, recipe.preprocessing)
            samples.append({recipe.inputs[0].name: image[np.newaxis]})
    return Feeds(samples=tuple(samples), kind=counted(count, "drawn scene"))
