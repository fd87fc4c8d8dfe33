"""What a pipeline worked on, kept beside its results, so that later verbs need not be told again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from graphopt.core.errors import UsageError
from graphopt.core.files import write_json
from graphopt.recipes.catalogue import recipe_plugin
from graphopt.recipes.device_note import environment
from graphopt.recipes.recipe import Recipe

SOURCES_VERSION = 1
_NAME = "sources.json"
_PATHS = ("checkpoint", "data", "annotations")


@dataclass(frozen=True, kw_only=True)
class RunSources:
    """Files outside of the stages that a run worked on.

    Attributes:
        checkpoint: trained weights; None when the run began with a graph.
        data: data set folder.
        annotations: the labels' file, when it was named.
        limit: only the first images.
        recipe: version of a user's own recipe or configuration (see ``own_version``); empty for others.
    """

    checkpoint: Path | None = None
    data: Path | None = None
    annotations: Path | None = None
    limit: int | None = None
    recipe: str = ""

    def save(self, run: Path) -> None:
        """Write ``sources.json``; places inside the run move with it.

        Raises:
            OutputError: it cannot be written.
        """
        content: dict[str, object] = {
            "sources_version": SOURCES_VERSION,
            "limit": self.limit,
            "recipe": self.recipe,
        }
        for name in _PATHS:
            place: Path | None = getattr(self, name)
            content[name] = None if place is None else _relative(place, run)
        write_json(run / _NAME, content)

    @classmethod
    def load(cls, run: Path) -> Self:
        """Read what ``save`` wrote; all unknown for a run of an older version.

        Raises:
            UsageError: the file is damaged.
        """
        place = run / _NAME
        if not place.is_file():
            return cls()
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            paths = {name: run / content[name] if content.get(name) else None for name in _PATHS}
            return cls(**paths, limit=content["limit"], recipe=content.get("recipe", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{place} is damaged ({error}); run graphopt pipeline again") from error

    def check_recipe(self, recipe: Recipe, run: Path) -> None:
        """Refuse a recipe that changed since the run: its network is no longer the one that was exported.

        Raises:
            UsageError: it did.
        """
        if self.recipe and self.recipe != own_version(recipe):
            raise UsageError(
                f"the recipe {recipe.name}, or the configuration that it is made of, changed since the run "
                f"{run}, so that comparing with its stages says nothing; run graphopt pipeline again"
            )


def own_version(recipe: Recipe) -> str:
    """Return the sha256 of a user's own recipe or configuration; empty for graphopt's own."""
    plugin = recipe_plugin(recipe)  # any of its functions may have changed
    return plugin.sha256 if plugin else recipe.digest


def run_versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions that a run's stages depend on; a user's own recipe is one of them."""
    version = own_version(recipe)
    return environment() | ({"recipe": version} if version else {})


def _relative(place: Path, run: Path) -> str:
    whole, folder = place.resolve(), run.resolve()
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else str(whole)
