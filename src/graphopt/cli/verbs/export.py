"""``graphopt export``: a checkpoint to a raw ONNX bundle."""

from pathlib import Path

import click

from graphopt.cli.options import Progress, data_option, force_option, json_option, output_option


@click.command("export", short_help="Checkpoint to raw ONNX.")
@click.argument("recipe_name", metavar="RECIPE")
@click.option("--checkpoint", type=click.Path(path_type=Path), default=None, help="Trained weights.")
@click.option("--demo", is_flag=True, help="Make a seeded checkpoint that works, and its data set.")
@data_option("Data set folder to take golden inputs from; default: the demo's, else seeded ones.")
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
    output: Path | None,
    force: bool,
    style: str,
    as_json: bool,
) -> None:
    """Export the network of RECIPE to ONNX with golden inputs and outputs.

    graphopt export deepmar --checkpoint checkpoint.pth.tar -o deepmar
    """
    from graphopt.cli.render import print_json, print_line, print_table, size_text
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
            output or Path(recipe.name),
            checkpoint=checkpoint,
            data=data,
            legacy=style == "torch-1.6",
            force=force,
            on_progress=progress.say,
        )
    finally:
        progress.clear()
    if as_json:
        print_json(
            "export", {"ok": True, "path": artefact.path, "sha256": artefact.sha256, **artefact.settings}
        )
        return
    size = size_text(artefact.path.stat().st_size)
    print_line(f"{artefact.path}: {size}, sha256 {artefact.sha256[:12]}")
    rows = [
        [spec.name, spec.shape_text, spec.dtype, spec.role] for spec in (*artefact.inputs, *artefact.outputs)
    ]
    print_table("", ["tensor", "shape", "dtype", "role"], rows)
