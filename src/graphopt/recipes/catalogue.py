"""Find recipes by name."""

from graphopt.core.discovery import find_constant, names_in
from graphopt.recipes.recipe import Recipe

MODELS = "graphopt.recipes.models"


def find_recipe(name: str) -> Recipe:
    """Return the recipe that users call ``name``.

    Raises:
        UsageError: there is none; the message offers the nearest names.
    """
    return find_constant(MODELS, name, "RECIPE", Recipe, kind="recipe")


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes without importing them."""
    return names_in(MODELS)
