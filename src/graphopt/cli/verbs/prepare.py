"""``graphopt prepare``: a data set's inputs as files for the device tools."""

import shlex
from pathlib import Path

import click

from graphopt.cli.options import (
    Progress,
    annotations_option,
    data_option,
    force_option,
    json_option,
    limit_option,
    output_option,
    workers_option,
)
from graphopt.core.words import counted


@click.command("prepare", short_help="Inputs as files for the device tools.")
@click.argument("recipe_name", metavar="RECIPE")
@data_option("Data set folder.", required=True)
@output_option("Folder of the inputs; default: ./RECIPE-inputs.")
@annotations_option
@limit_option
@workers_option
@force_option
@json_option
def command(
    recipe_name: str,
    data: Path,
    output: Path | None,
    annotations: Path | None,
    limit: int | None,
    workers: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write preprocessed inputs (.bin) and their list (.info) as ais_bench and benchmark want them.

    graphopt prepare deepmar --data peta -o deepmar-inputs
    """
    from graphopt.cli.render import print_json, print_line
    from graphopt.recipes.catalogue import find_recipe
    from graphopt.recipes.device_bundle import prepare_inputs

    recipe = find_recipe(recipe_name)
    folder = output or Path(f"{recipe.stem}-inputs")
    progress = Progress()
    try:
        prepared = prepare_inputs(
            recipe,
            data,
            folder,
            limit=limit,
            annotations=annotations,
            workers=workers,
            force=force,
            on_progress=progress.count("image"),
        )
    finally:
        progress.clear()
    if as_json:
        print_json("prepare", {"ok": True, **prepared.to_json()})
        return
    print_line(f"{counted(prepared.samples, 'input')} in {prepared.inputs}")
    print_line(f"list for benchmark: {prepared.info}")
    inputs = shlex.quote(str(prepared.inputs))
    print_line(f"on the device: python3 -m ais_bench --model MODEL.om --input {inputs} --output results")
    print_line(f"its paths are relative: start benchmark inside {prepared.folder}")
