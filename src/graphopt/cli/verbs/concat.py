"""``graphopt concat``: join models end to end."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import data_option, force_option, json_option
from graphopt.core.words import counted

if TYPE_CHECKING:
    from graphopt.surgery.parts.concatenation import Concatenation

_RENAMED_SHOWN = 10


@click.command("concat", short_help="Join models end to end.")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A B [C...]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The joined model, an ONNX file."
)
@click.option(
    "--connect",
    multiple=True,
    metavar="OUT=IN,...",
    help="Which output (or input) of an earlier model an input reads; default: the one of its name.",
)
@data_option("Inputs to prove it with: .npz with one array per input; default: seeded ones.")
@click.option("--allow-unproven", is_flag=True, help="Write a model that cannot be run here for comparison.")
@force_option
@json_option
def command(
    models: tuple[Path, ...],
    output: Path,
    connect: tuple[str, ...],
    data: Path | None,
    allow_unproven: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Write one model that runs A, then B on what A computes, and prove that it answers the same.

    graphopt concat backbone.onnx head.onnx -o whole.onnx --connect features=input
    """
    from graphopt.cli.render import print_json
    from graphopt.recipes.concatenation import concatenate

    pairs = [pair.strip() for text in connect for pair in text.split(",") if pair.strip()]
    made = concatenate(models, output, connect=pairs, data=data, force=force, allow_unproven=allow_unproven)
    if as_json:
        print_json("concat", {"ok": made.verification.status.value == "proven", **made.to_json()})
    else:
        _show(made)
    return 0


def _show(made: "Concatenation") -> None:
    from graphopt.cli.render import print_line, print_table, size_text

    artefact, verdict = made.artefact, made.verification
    size = size_text(artefact.path.stat().st_size)
    print_line(f"{artefact.path}: {counted(made.nodes, 'node')}, {size}, sha256 {artefact.sha256[:12]}")
    rows = [
        [side, spec.name, spec.shape_text, spec.dtype, spec.role]
        for side, specs in (("input", artefact.inputs), ("output", artefact.outputs))
        for spec in specs
    ]
    print_table("", ["", "tensor", "shape", "dtype", "role"], rows)
    print_table("connected", ["tensor", "feeds"], made.links)
    for line in made.raised:
        print_line(line)
    for model, names in made.renamed.items():
        shown = ", ".join(f"{old} -> {new}" for old, new in list(names.items())[:_RENAMED_SHOWN])
        print_line(f"renamed in {model}: {shown}{', ...' if len(names) > _RENAMED_SHOWN else ''}")
    how = f"on {counted(verdict.samples, 'input')} ({verdict.kind})" if verdict.samples else verdict.reason
    print_line(f"the whole against its parts: {verdict.status.value}, {how}")
