"""``graphopt export``: a checkpoint to a raw ONNX bundle."""

import importlib
from pathlib import Path
from typing import Any

import click

from graphopt.cli.options import (
    Progress,
    annotations_option,
    data_option,
    force_option,
    json_option,
    output_option,
)
from graphopt.core.discovery import did_you_mean, names_in

_EXPORTS = "graphopt.cli.exports"


class _Export(click.Command):
    """``export RECIPE``, or ``export WORD ...`` where ``cli/exports`` has a file of that name."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments of the command that the first word names."""
        words = names_in(_EXPORTS)
        if not args or args[0] not in words:
            if len(args) > 1 and ":" in args[1] and not args[0].startswith("-"):
                raise click.UsageError(f"cannot export {args[0]!r}; {did_you_mean(args[0], words)}", parent)
            return super().make_context(info_name, args, parent, **extra)
        named = importlib.import_module(f"{_EXPORTS}.{args[0]}").command
        assert isinstance(named, click.Command)
        return named.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


@click.command("export", cls=_Export, short_help="Checkpoint to raw ONNX.")
@click.argument("recipe_name", metavar="RECIPE")
@click.option("--checkpoint", type=click.Path(path_type=Path), default=None, help="Trained weights.")
@click.option("--demo", is_flag=True, help="Make a seeded checkpoint that works, and its data set.")
@data_option("Data set folder to take golden inputs from; default: the demo's, else seeded ones.")
@annotations_option
@output_option("Folder of the bundle; default: ./RECIPE.")
@force_option
@click.option(
    "--style",
    type=click.Choice(["plain", "torch-1.6"]),
    default="plain",
    show_default=True,
    help="torch-1.6 adds what that exporter left behind, for demonstration.",
)
@json_option
def command(
    recipe_name: str,
    checkpoint: Path | None,
    demo: bool,
    data: Path | None,
    annotations: Path | None,
    output: Path | None,
    force: bool,
    style: str,
    as_json: bool,
) -> None:
    """Export the network of RECIPE to ONNX with golden inputs and outputs.

    graphopt export deepmar --checkpoint checkpoint.pth.tar -o deepmar

    A network of your own, without a recipe: graphopt export module --help
    """
    from graphopt.cli.show_export import show_export
    from graphopt.core.errors import UsageError
    from graphopt.recipes.catalogue import find_recipe
    from graphopt.recipes.export import export_recipe

    recipe = find_recipe(recipe_name)
    if demo == (checkpoint is not None):
        raise UsageError("give either --checkpoint FILE or --demo")
    progress = Progress()
    try:
        artefact = export_recipe(
            recipe,
            output or Path(recipe.stem),
            checkpoint=checkpoint,
            data=data,
            annotations=annotations,
            legacy=style == "torch-1.6",
            force=force,
            on_progress=progress.say,
        )
    finally:
        progress.clear()
    show_export(artefact, as_json=as_json)
