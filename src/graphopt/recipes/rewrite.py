"""Join a model file, its recipe and its data to the surgery engine."""

from collections.abc import Callable, Sequence
from pathlib import Path

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import ExpectedMatchError
from graphopt.core.golden import GOLDEN_FILE
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.core.roles import Roles
from graphopt.recipes.catalogue import find_recipe, knows_recipe
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.roles import needs_roles, outputs_of, resolve
from graphopt.recipes.samples import feeds_for
from graphopt.surgery import PassStep, RewriteReport, Samples, Verify, rewrite_file

_COUNT = 8
_GOLDEN_COUNT = 2


def rewrite(
    source: Path,
    output: Path | None,
    steps: Sequence[PassStep] | None,
    *,
    recipe_name: str = "",
    verify: Verify = Verify.FINAL,
    data: Path | None = None,
    force: bool = False,
    keep_proven: bool = False,
    allow_unproven: bool = False,
    roles: Roles | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> RewriteReport:
    """Rewrite a file with the given steps, or with its recipe's.

    Args:
        source: ONNX file; never modified.
        output: where to write; None for a dry run.
        steps: passes; None takes those of ``recipe_name``.
        recipe_name: recipe of the model; empty takes the sidecar's, if any.
        verify: when to compare.
        data: inputs to verify with; see ``recipes.samples.feeds_for``.
        force: replace an existing output.
        keep_proven: leave a guilty pass out instead of failing.
        allow_unproven: write a model that cannot be compared.
        roles: of the outputs, for the sidecar; see ``recipes.roles.resolve``.
        on_progress: told what is being done.

    Raises:
        GraphoptError: as ``surgery.rewrite_file``.
    """
    artefact = Artefact.load(source)  # once: it hashes the whole file
    recipe = find_recipe(recipe_name) if recipe_name else _recorded_recipe(artefact, needed=steps is None)
    own = steps is None and recipe is not None
    if steps is None:
        assert recipe is not None
        steps = recipe.passes
    known = outputs_of(artefact, recipe)
    if needs_roles(steps, roles):
        steps, known = resolve(load_model(source), steps, known, roles)
    samples = None
    golden = source.with_name(GOLDEN_FILE)
    if verify is not Verify.OFF and (data is not None or golden.is_file()):
        specs = input_specs(load_model(source))
        feeds = feeds_for(
            specs, data=data, recipe=recipe, golden=golden, count=_COUNT if data else _GOLDEN_COUNT
        )
        samples = Samples(feeds=feeds.samples, kind=feeds.kind)
    try:
        return rewrite_file(
            source,
            output,
            steps,
            verify=verify,
            samples=samples,
            force=force,
            keep_proven=keep_proven,
            allow_unproven=allow_unproven,
            recipe=recipe.name if recipe else "",
            known_outputs=known,
            on_progress=on_progress,
        )
    except ExpectedMatchError as error:
        if not own or recipe is None:
            raise
        raise ExpectedMatchError(
            f"{error}; the recipe {recipe.name} promises this of its own model, as exported: is {source} "
            "that? Passes given with --passes or --preset promise nothing"
        ) from error


def _recorded_recipe(artefact: Artefact | None, *, needed: bool) -> Recipe | None:
    """Return the recipe that the sidecar names; one that is not known here is done without if it can be."""
    if artefact is None or not artefact.recipe:
        return None
    if not needed and not knows_recipe(artefact.recipe):
        return None
    return find_recipe(artefact.recipe)
