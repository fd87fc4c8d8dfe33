"""``graphopt apply``: rewrite a model."""

from pathlib import Path

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

PRESETS = {
    "clean": "static_shapes,fold_constants,remove_identity,merge_duplicates,fuse_batchnorm,remove_pad",
}


@click.command("apply", short_help="Rewrite a model and prove its numbers.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--passes", default="", help="Passes in order, with options: remove_pad,set_batch:size=4")
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default=None, help="A named list of passes.")
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
@data_option("Inputs to verify with: .npz with one array per input, or the recipe's data set folder.")
@click.option("--dry-run", is_flag=True, help="Show what would match and why not; write nothing.")
@click.option(
    "--keep-proven", is_flag=True, help="When a pass changes the numbers, write the model without it."
)
@click.option("--allow-unproven", is_flag=True, help="Write a model that cannot be run here for comparison.")
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
    roles_text: str,
    as_json: bool,
) -> int:
    """Rewrite MODEL with passes and prove that its numbers did not change.

    graphopt apply deepmar.onnx --passes remove_pad
    """
    from graphopt.cli.show_rewrite import show_rewrite
    from graphopt.core.errors import UsageError, VerificationError
    from graphopt.core.roles import parse_roles
    from graphopt.recipes.rewrite import rewrite
    from graphopt.surgery import Verify, parse_steps

    chosen = [bool(passes), preset is not None, bool(recipe_name and not passes and preset is None)]
    if sum(chosen) != 1:
        raise UsageError(
            "--passes and --preset exclude each other"
            if passes and preset
            else "say what to apply with one of --passes, --preset or --recipe; see: graphopt passes"
        )
    steps = parse_steps(passes or PRESETS[preset or ""]) if passes or preset else None
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
