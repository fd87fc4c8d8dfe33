"""``graphopt extract``: cut a part out of a model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import beside, data_option, force_option, json_option, output_option
from graphopt.core.words import counted

if TYPE_CHECKING:
    from graphopt.surgery.parts.extraction import Extraction


@click.command("extract", short_help="Cut a part out of a model.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--inputs", default="", metavar="A,B", help="Tensors to start from: names, or NODE:INDEX.")
@click.option("--outputs", default="", metavar="C,D", help="Tensors to end with.")
@click.option("--node", default="", help="Cut around this node instead (its name, or an output's).")
@click.option(
    "--radius", type=click.IntRange(min=0), default=1, show_default=True, help="Nodes to go around --node."
)
@click.option(
    "--values", is_flag=True, help="Also run the model: save what enters the part, and compare the part."
)
@data_option("Inputs to run with: .npz with one array per input, or the recipe's data set folder.")
@output_option("Result; default: MODEL.part.onnx beside the input.")
@force_option
@json_option
def command(
    model: Path,
    inputs: str,
    outputs: str,
    node: str,
    radius: int,
    values: bool,
    data: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> int:
    """Write what lies between some tensors of MODEL, or around a node, as a model of its own.

    graphopt extract deepmar.onnx --inputs 376 --outputs attributes -o head.onnx
    """
    from graphopt.cli.render import print_json
    from graphopt.core.errors import UsageError
    from graphopt.recipes.extraction import extract

    if bool(node) == bool(inputs or outputs):
        raise UsageError("say what to cut: --inputs A,B --outputs C,D, or --node NODE with --radius N")
    if not node and not outputs:
        raise UsageError("name the tensors to end with: --outputs C,D")
    if data is not None and not values:
        raise UsageError("--data is only used with --values")
    found = extract(
        model,
        output or beside(model, "part.onnx"),
        _split(inputs),
        _split(outputs),
        node=node,
        radius=radius,
        values=values,
        data=data,
        force=force,
    )
    unproven = found.verification is not None and found.verification.status.value != "proven"
    if as_json:
        print_json("extract", {"ok": not unproven, **found.to_json()})
    else:
        _show(found)
    return 1 if unproven else 0


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _show(found: "Extraction") -> None:
    from graphopt.cli.render import print_line, print_table, size_text

    made = found.artefact
    size = size_text(made.path.stat().st_size)
    print_line(f"{made.path}: {found.nodes} of {found.nodes_before} nodes, {size}, sha256 {made.sha256[:12]}")
    rows = [
        [side, spec.name, spec.shape_text, spec.dtype, spec.role]
        for side, specs in (("input", made.inputs), ("output", made.outputs))
        for spec in specs
    ]
    print_table("", ["", "tensor", "shape", "dtype", "role"], rows)
    if found.verification is not None:
        verdict = found.verification
        print_line(f"{found.values}: what enters the part, for --data")
        how = (
            f"on {counted(verdict.samples, 'sample')} ({verdict.kind})" if verdict.samples else verdict.reason
        )
        print_line(f"part against whole: {verdict.status.value}, {how}")
