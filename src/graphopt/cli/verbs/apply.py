"""``graphopt apply``: rewrite a model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import (
    Progress,
    beside,
    data_option,
    force_option,
    json_option,
    output_option,
    roles_option,
)
from graphopt.surgery.presets import PRESETS

if TYPE_CHECKING:
    from graphopt.surgery import PassStep


@click.command("apply", short_help="Rewrite a model and prove its numbers.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--passes", default="", help="Passes in order, with options: remove_pad,set_batch:size=4")
@click.option(
    "--preset",
    metavar=f"[{'|'.join(sorted(PRESETS))}]",
    default=None,
    help="A named list of passes: clean for any model, detector for Ascend.",
)
@click.option("--recipe", "recipe_name", default="", help="The passes of a recipe, verified on its samples.")
@output_option("Result; default: MODEL.opt.onnx beside the input.")
@force_option
@click.option(
    "--verify",
    type=click.Choice(["final", "each", "off"]),
    default="final",
    show_default=True,
    help="Compare the model before and after, once, after every pass, or not at all.",
)
@data_option("Inputs to verify with: .npz, .npy of the only input, or the recipe's data set folder.")
@click.option("--dry-run", is_flag=True, help="Show what would match and why not; write nothing.")
@click.option(
    "--keep-proven", is_flag=True, help="When a pass changes the numbers, write the model without it."
)
@click.option("--allow-unproven", is_flag=True, help="Write a model that cannot be run here for comparison.")
@click.option(
    "--require-static", is_flag=True, help="Fail when static_shapes leaves a size open, naming the nodes."
)
@roles_option
@json_option
def command(
    model: Path,
    passes: str,
    preset: str | None,
    recipe_name: str,
    output: Path | None,
    force: bool,
    verify: str,
    data: Path | None,
    dry_run: bool,
    keep_proven: bool,
    allow_unproven: bool,
    require_static: bool,
    roles_text: str,
    as_json: bool,
) -> int:
    """Rewrite MODEL with passes and prove that its numbers did not change.

    graphopt apply deepmar.onnx --passes remove_pad
    """
    from graphopt.cli.show_rewrite import show_rewrite
    from graphopt.core.errors import UsageError, VerificationError
    from graphopt.core.roles import parse_roles
    from graphopt.recipes.catalogue import find_recipe
    from graphopt.recipes.rewrite import rewrite
    from graphopt.surgery import Verify, parse_steps

    chosen = [bool(passes), preset is not None, bool(recipe_name and not passes and preset is None)]
    if sum(chosen) != 1:
        raise UsageError(
            "--passes and --preset exclude each other"
            if passes and preset
            else "say what to apply with one of --passes, --preset or --recipe; see: graphopt passes"
        )
    steps = parse_steps(passes or _preset(preset or "")) if passes or preset is not None else None
    if require_static:
        steps = _requiring_static(find_recipe(recipe_name).passes if steps is None else steps)
    progress = Progress()
    try:
        report = rewrite(
            model,
            None if dry_run else output or beside(model, "opt.onnx"),
            steps,
            recipe_name=recipe_name,
            verify=Verify(verify),
            data=data,
            force=force,
            keep_proven=keep_proven,
            allow_unproven=allow_unproven,
            roles=parse_roles(roles_text) if roles_text else None,
            on_progress=progress.say,
        )
    except VerificationError as error:
        failed = getattr(error, "report", None)
        if failed is not None and not as_json:
            progress.clear()
            show_rewrite(failed, as_json=False, written=False)
        raise
    finally:
        progress.clear()
    show_rewrite(report, as_json=as_json, written=not dry_run)
    return 1 if report.dropped else 0


def _preset(name: str) -> str:
    from graphopt.core.discovery import did_you_mean
    from graphopt.core.errors import UsageError
    from graphopt.recipes.catalogue import recipe_names

    if name in PRESETS:
        return PRESETS[name]
    if name in recipe_names():
        raise UsageError(f"{name} is a recipe, not a preset: --recipe {name} applies its passes")
    raise UsageError(f"unknown preset {name!r}; {did_you_mean(name, PRESETS)}")


def _requiring_static(steps: "Sequence[PassStep]") -> "tuple[PassStep, ...]":
    from graphopt.core.errors import UsageError

    if not any(step.name == "static_shapes" for step in steps):
        raise UsageError("--require-static is for the pass static_shapes; add it to the passes")
    return tuple(
        replace(step, options={**step.options, "require_static": True})
        if step.name == "static_shapes"
        else step
        for step in steps
    )
