"""Compare what two stages answered to the same samples: detections as sets, the rest number by number."""

from collections.abc import Mapping, Sequence

import numpy as np

from graphopt.core.comparison import TensorComparison, compare_rows
from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import detections_of_roles
from graphopt.core.tensors import Array, TensorSpec
from graphopt.recipes.named_outputs import recipe_names
from graphopt.recipes.recipe import Recipe


def compare_predictions(
    reference: Mapping[str, Array], candidate: Mapping[str, Array], recipe: Recipe
) -> tuple[TensorComparison, ...]:
    """Compare the outputs of two stages.

    Args:
        reference: by name; axis 0 is the sample.
        candidate: as ``reference``; of detections, the number of rows per sample may differ.
        recipe: tolerance, and the roles of the outputs.
    """
    what = detections_of_roles(recipe.outputs)
    names = [] if what is None else [name for name in (what.dets, what.labels) if name]
    if names:
        reference, candidate = (_named(side, recipe) for side in (reference, candidate))
    if what is None or any(name not in side for name in names for side in (reference, candidate)):
        return compare_rows(reference, candidate, recipe.tolerance)
    mine, its = (
        (side[what.dets], side[what.labels] if what.labels else None) for side in (reference, candidate)
    )
    others = [
        {name: rows for name, rows in side.items() if name not in names} for side in (reference, candidate)
    ]
    whole = compare_detections(mine, its, what).as_tensor()
    return (whole, *compare_rows(others[0], others[1], recipe.tolerance))


def _named(side: Mapping[str, Array], recipe: Recipe) -> dict[str, Array]:
    specs = [TensorSpec(name=name, shape=rows.shape, dtype=str(rows.dtype)) for name, rows in side.items()]
    names = recipe_names(specs, recipe)
    return {names[name]: rows for name, rows in side.items()}


def stack_samples(arrays: Sequence[Array]) -> Array:
    """Join samples along axis 0; those with fewer detections on axis 1 are filled up with zeros."""
    longest = max(array.shape[1] if array.ndim > 1 else 0 for array in arrays)
    if all(array.ndim < 2 or array.shape[1] == longest for array in arrays):
        return np.concatenate(arrays)
    return np.concatenate(
        [
            np.pad(array, [(0, 0), (0, longest - array.shape[1]), *([(0, 0)] * (array.ndim - 2))])
            for array in arrays
        ]
    )
