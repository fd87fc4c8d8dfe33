"""Which output of a model is which of the recipe's: by name, by role, else by what it holds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from graphopt.core.session import Session
from graphopt.core.tensors import Array, TensorSpec
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.predictions import Predictions, Progress, Sample, Samples, predict

_ROWS = ("dets", "labels")
"""Roles of outputs that hold a row per detection: as many as there are, or filled up with zeros."""


def recipe_names(
    outputs: Sequence[TensorSpec], recipe: Recipe, known: Sequence[TensorSpec] = ()
) -> dict[str, str]:
    """Return the recipe's name of each output; exporters number theirs.

    Without a name or a role, kind of number and last size must leave no doubt.

    Args:
        outputs: of the model; sizes may be open.
        recipe: whose outputs they are.
        known: what else is known of them, such as the sidecar's outputs with roles.
    """
    names = {spec.name: spec.name for spec in outputs}
    wanted = {spec.name for spec in recipe.outputs}
    roles = {spec.role: spec.name for spec in known if spec.role and spec.name in names}
    for spec in recipe.outputs:
        if spec.name in names:
            continue
        free = [item for item in outputs if names[item.name] not in wanted]
        fitting = [item.name for item in free if item.name == roles.get(spec.role)]
        fitting = fitting or [item.name for item in free if _fits(item, spec)]
        if len(fitting) == 1:
            names[fitting[0]] = spec.name
    return names


def row_shapes(
    outputs: Sequence[TensorSpec], recipe: Recipe, names: Mapping[str, str]
) -> dict[str, tuple[int, ...]]:
    """Return the shape that a sample's detections are filled up to, where their number varies.

    Args:
        outputs: of the model.
        recipe: says how many rows there are at most.
        names: as ``recipe_names`` returns them.
    """
    shapes = {}
    by_name = {spec.name: spec for spec in recipe.outputs if spec.role in _ROWS}
    for item in outputs:
        spec = by_name.get(names[item.name])
        if spec is None or all(isinstance(dim, int) for dim in item.shape):
            continue
        rank = 2 if spec.role == "dets" else 1
        sizes = tuple(dim for dim in spec.shape[-rank:] if isinstance(dim, int))
        if len(sizes) == rank:
            shapes[item.name] = sizes
    return shapes


def predict_named(
    session: Session,
    samples: Samples,
    recipe: Recipe,
    *,
    known: Sequence[TensorSpec] = (),
    on_progress: Progress | None = None,
    store: Path | None = None,
    model_sha256: str = "",
    data_digest: str = "",
    workers: int | None = None,
    prepare: Callable[[Sample], Array] | None = None,
) -> Predictions:
    """Run every sample with the recipe's preprocessing; outputs get the recipe's names.

    Arguments are those of ``runtime.predictions.predict`` and of ``recipe_names``; ``store`` keeps the
    model's own names.
    """
    names = recipe_names(session.outputs, recipe, known)
    predictions = predict(
        session,
        samples,
        recipe.needed_steps("running images"),
        on_progress=on_progress,
        store=store,
        model_sha256=model_sha256,
        data_digest=data_digest,
        rows=row_shapes(session.outputs, recipe, names),
        workers=workers,
        prepare=prepare,
    )
    return _renamed(predictions, names)


def named(predictions: Predictions, recipe: Recipe) -> Predictions:
    """Return stored predictions under the recipe's names, told by what the arrays hold."""
    specs = [
        TensorSpec(name=name, shape=rows.shape, dtype=str(rows.dtype))
        for name, rows in predictions.outputs.items()
    ]
    return _renamed(predictions, recipe_names(specs, recipe))


def _renamed(predictions: Predictions, names: Mapping[str, str]) -> Predictions:
    if all(name == new for name, new in names.items()):
        return predictions
    return Predictions(
        names=predictions.names,
        outputs={names.get(name, name): rows for name, rows in predictions.outputs.items()},
        model_sha256=predictions.model_sha256,
        data_digest=predictions.data_digest,
        steps=predictions.steps,
    )


def _fits(found: TensorSpec, wanted: TensorSpec) -> bool:
    last = wanted.role == "labels" or found.shape[-1:] == wanted.shape[-1:]
    return last and found.dtype.rstrip("0123456789") == wanted.dtype.rstrip("0123456789")
