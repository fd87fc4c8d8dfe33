"""``graphopt export module``: any torch module of the user."""

from pathlib import Path

import click

from graphopt.cli.options import Progress, data_option, force_option, json_option, output_option


@click.command("module", short_help="Any torch module of yours.")
@click.argument("what", metavar="FILE:BUILD")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1x3x224x224",
    help="Sizes of an input; one per input, named as in forward.",
)
@click.option("--dtype", "dtypes", multiple=True, metavar="NAME=int64", help="Of an input; default: float32.")
@click.option(
    "--dynamic",
    multiple=True,
    metavar="NAME:0=batch",
    help="An axis of an input whose size stays open, and a name for it.",
)
@click.option("--opset", type=click.IntRange(min=9, max=20), default=11, show_default=True)
@click.option("--checkpoint", type=click.Path(path_type=Path), default=None, help="Trained weights to load.")
@click.option("--key", default="state_dict", show_default=True, help="Where they are in the checkpoint.")
@data_option("Golden inputs, .npz with one array per input; default: two seeded ones.")
@output_option("Folder of the bundle; default: ./BUILD.")
@force_option
@json_option
def command(
    what: str,
    shapes: tuple[str, ...],
    dtypes: tuple[str, ...],
    dynamic: tuple[str, ...],
    opset: int,
    checkpoint: Path | None,
    key: str,
    data: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export the network that BUILD of the Python file FILE makes.

    BUILD is a function without arguments, a subclass of torch.nn.Module, or a module. The file is your
    own code and is run.

    graphopt export module net.py:build --shape image=1x3x224x224 --dynamic image:0=batch -o net
    """
    from graphopt.cli.show_export import show_export
    from graphopt.recipes.module_export import export_user_module
    from graphopt.recipes.module_request import parse_request

    request = parse_request(
        what, shapes=shapes, dtypes=dtypes, dynamic=dynamic, opset=opset, checkpoint=checkpoint, key=key
    )
    progress = Progress()
    try:
        artefact = export_user_module(
            request,
            output or Path(request.build.lower()),
            data=data,
            force=force,
            on_progress=progress.say,
        )
    finally:
        progress.clear()
    show_export(artefact, as_json=as_json)
