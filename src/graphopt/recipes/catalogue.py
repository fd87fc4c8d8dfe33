"""Find recipes by name, or by the file of a user's own."""

import importlib
from pathlib import Path

from graphopt.core.discovery import did_you_mean, find_constant, names_in
from graphopt.core.errors import MissingBackendError, UsageError
from graphopt.core.plugins import Plugin, load_plugin, loaded_plugins
from graphopt.recipes.recipe import Recipe

MODELS = "graphopt.recipes.models"
FAMILIES = "graphopt.recipes.families"
"""Each makes recipes on the fly, for names ``FAMILY:...``."""


def find_recipe(name: str) -> Recipe:
    """Return the recipe that users call ``name``.

    Args:
        name: of the recipe; or ``FAMILY:...``, for one of a family, e.g. ``mmdet:CONFIG:HxW``; or the file
            ``FILE.py`` of a user's own, which is loaded.

    Raises:
        UsageError: there is none; the message offers the nearest names.
    """
    family, mark, rest = name.partition(":")
    if mark and family in names_in(FAMILIES):
        made = importlib.import_module(f"{FAMILIES}.{family}").recipe_for(rest)
        assert isinstance(made, Recipe)
        return made
    if name.endswith(".py"):
        plugin = load_plugin(Path(name))
        if not hasattr(plugin.module, "RECIPE"):
            raise UsageError(
                f"{name} defines no RECIPE; write one with: graphopt new recipe NAME --from MODEL"
            )
        name = plugin.name
    own = _plugin_recipes()
    if name in own:
        return own[name][1]
    if name not in names_in(MODELS):
        raise UsageError(
            f"unknown recipe {name!r}; {did_you_mean(name, recipe_names())} "
            f"(one of your own: give its file, {name}.py, in place of the name, or with --plugin; a detector "
            "of mmdet: mmdet:CONFIG:HEIGHTxWIDTH)"
        )
    return find_constant(MODELS, name, "RECIPE", Recipe, kind="recipe")


def knows_recipe(name: str) -> bool:
    """Return whether ``find_recipe`` finds it here."""
    if ":" not in name:
        return name in recipe_names()
    try:
        find_recipe(name)
    except (UsageError, MissingBackendError):
        return False
    return True


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes, importing none of graphopt's."""
    return tuple(sorted([*names_in(MODELS), *_plugin_recipes()]))


def recipe_families() -> tuple[str, ...]:
    """Return how to write the names of recipes that are made on the fly, one form for each family."""
    return tuple(importlib.import_module(f"{FAMILIES}.{name}").FORM for name in names_in(FAMILIES))


def recipe_plugin(recipe: Recipe) -> Plugin | None:
    """Return the user's file that defines a recipe; None for one of graphopt."""
    plugin, found = _plugin_recipes().get(recipe.name, (None, None))
    return plugin if found is recipe else None


def word_for(recipe: Recipe) -> str:
    """Return what to type for a recipe: its name, or the file of a user's own."""
    plugin = recipe_plugin(recipe)
    return str(plugin.path) if plugin else recipe.name


def _plugin_recipes() -> dict[str, tuple[Plugin, Recipe]]:
    found: dict[str, tuple[Plugin, Recipe]] = {}
    for plugin in loaded_plugins():
        if not hasattr(plugin.module, "RECIPE"):
            continue
        recipe = plugin.module.RECIPE
        if not isinstance(recipe, Recipe):
            raise UsageError(f"{plugin.path}: RECIPE must be a Recipe of graphopt.recipes.recipe")
        if recipe.name != plugin.name:
            raise UsageError(
                f"{plugin.path}: the name of RECIPE must be that of its file: write "
                f'name="{plugin.name}" instead of {recipe.name!r}'
            )
        if recipe.name in names_in(MODELS):
            raise UsageError(f"{plugin.path}: {recipe.name} is a recipe of graphopt; rename file and RECIPE")
        if recipe.name in found:
            other = found[recipe.name][0].path
            raise UsageError(f"two plugins define the recipe {recipe.name}: {other} and {plugin.path}")
        found[recipe.name] = (plugin, recipe)
    return found
