"""``graphopt bundle``: a folder for the device box."""

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
    recipe_option,
    workers_option,
)


@click.command("bundle", short_help="Folder for the device box.")
@click.argument("what")
@data_option("Data set folder whose inputs go into the bundle, preprocessed.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Batch size on the device."
)
@click.option(
    "--soc", default="310P3", show_default=True, help="Chip for the ATC script, when none is built yet."
)
@output_option("Folder of the bundle; default: ./RECIPE-device.")
@annotations_option
@limit_option
@workers_option
@force_option
@recipe_option
@json_option
def command(
    what: str,
    data: Path | None,
    batch: int,
    soc: str,
    output: Path | None,
    annotations: Path | None,
    limit: int | None,
    workers: int | None,
    force: bool,
    recipe_name: str,
    as_json: bool,
) -> None:
    """Make a folder that builds, checks and runs a model on the device box.

    WHAT is a pipeline's run folder, or an ONNX file. The bundle holds the model, the ATC script (and
    the .om when it was built), golden inputs and outputs, and a runner that needs only Python >= 3.7
    and numpy, with acl or onnxruntime.

    graphopt bundle out/deepmar --data peta -o deepmar-device
    """
    from graphopt.cli.render import print_json, print_line
    from graphopt.recipes.device_bundle import make_bundle

    progress = Progress()
    try:
        bundle = make_bundle(
            what,
            output,
            data=data,
            batch=batch,
            soc=soc,
            annotations=annotations,
            limit=limit,
            workers=workers,
            force=force,
            recipe_name=recipe_name,
            on_progress=progress.count("image"),
        )
    finally:
        progress.clear()
    if as_json:
        print_json("bundle", {"ok": True, **bundle.to_json()})
        return
    print_line(f"{bundle.folder}: {', '.join(bundle.files)}")
    print_line("on the box: " + " && ".join(bundle.commands))
