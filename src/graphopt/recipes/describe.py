"""A recipe as plain data, for lists and ``--json``."""

import dataclasses
from typing import Any

from graphopt.recipes.catalogue import recipe_plugin
from graphopt.recipes.recipe import Recipe


def describe(recipe: Recipe) -> dict[str, Any]:
    """Return everything of a recipe that a person or a program may want to read."""
    return {
        "name": recipe.name,
        "title": recipe.title,
        "plugin": str(plugin.path) if (plugin := recipe_plugin(recipe)) else "",
        "opset": recipe.opset,
        "inputs": [_spec(spec) for spec in recipe.inputs],
        "outputs": [_spec(spec) for spec in recipe.outputs],
        "preprocessing": [
            [type(step).__name__, ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(step).items())]
            for step in recipe.preprocessing
        ],
        "passes": [
            [step.name, ", ".join(f"{k}={v}" for k, v in step.options.items()), _expect(step.expect)]
            for step in recipe.passes
        ],
        "metric": recipe.task.headline if recipe.task else "",
        "lacks": [
            name
            for name in ("build", "load", "make_demo", "preprocessing", "task")
            if not getattr(recipe, name)
        ],
        "batch_sizes": list(recipe.batch_sizes),
        "published": [dataclasses.asdict(item) for item in recipe.published],
    }


def _spec(spec: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(spec), "shape": spec.shape_text}


def _expect(expect: Any) -> str:
    if expect is None:
        return ""
    if isinstance(expect, int):
        return str(expect)
    return "; ".join(f"{item.count} from {item.producer}" for item in expect)
