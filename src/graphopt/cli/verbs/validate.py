"""``graphopt validate``: compare stages numerically."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import (
    Progress,
    annotations_option,
    data_option,
    json_option,
    recipe_option,
    roles_option,
    tolerance_options,
)

if TYPE_CHECKING:
    from graphopt.core.comparison import Tolerance


@click.command("validate", short_help="Compare stages numerically.")
@click.argument("stages", nargs=-1, metavar="A B [C...] | RUN | RECIPE")
@data_option("Inputs: .npz by input, .npy of the only one, or the recipe's data set folder.")
@annotations_option
@click.option(
    "--samples", type=click.IntRange(min=1), default=8, show_default=True, help="At most so many inputs."
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    default=None,
    help="With a RECIPE: files that a device was fed, to compare with the recipe's own.",
)
@recipe_option
@tolerance_options
@roles_option
@json_option
def command(
    stages: tuple[str, ...],
    data: Path | None,
    annotations: Path | None,
    samples: int,
    inputs: Path | None,
    recipe_name: str,
    tolerance: "Tolerance | None",
    roles_text: str,
    as_json: bool,
) -> int:
    """Compare stage A, the reference, with the others; of a RUN, all its stages.

    A stage: FILE.onnx, FILE.xml, FILE.om, openvino:FILE.onnx, torch:RECIPE@CHECKPOINT,
    torch:FILE.py:BUILD (your own network, beside its export), RUN#raw, RUN#rewritten,
    RUN#compiled. Exits 1 when one differs.

    With --inputs, say whether .bin files are what a recipe makes of images, and name what differs:
    graphopt validate RECIPE --inputs DIR --data IMAGES
    """
    if inputs is not None:
        from graphopt.cli.show_inputs import compare_fed_files

        names = stages or ((recipe_name,) if recipe_name else ())
        return compare_fed_files(
            names, inputs, data=data, annotations=annotations, limit=samples, as_json=as_json
        )
    if not stages:
        raise click.UsageError("Missing argument 'A B [C...] | RUN'.")
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.core.roles import parse_roles
    from graphopt.recipes.validation import validate_stages

    progress = Progress()
    try:
        report = validate_stages(
            stages,
            data=data,
            annotations=annotations,
            count=samples,
            recipe_name=recipe_name,
            tolerance=tolerance,
            roles=parse_roles(roles_text) if roles_text else None,
            on_progress=progress.count("sample"),
        )
    finally:
        progress.clear()
    if as_json:
        print_json("validate", {"ok": report.passed, **report.to_json()})
        return 0 if report.passed else 1
    numbers = ("max abs", "max rel", "cosine", "margin", "flips")
    heads = [f">{name}" if name in numbers else name for name in report.COLUMNS]
    print_table(f"against {report.reference}, on {report.sample_kind}", heads, report.rows())
    allowed = report.tolerance
    print_line(
        f"allowed: {allowed.atol:g} + {allowed.rtol:g} x |reference| "
        f"+ {allowed.peak:g} x its largest ({allowed.why})"
    )
    for found in report.detections[:1]:
        bounds = found.tolerance
        print_line(f"of detections: box {bounds.box:g} px, score {bounds.score:g} ({bounds.why})")
    if report.are_named_apart:
        print_line("next: outputs are paired by name; tell those of a detector: --as detection:dets,labels")
    print_line(f"verdict: {'equal within tolerance' if report.passed else 'DIFFERENT'}")
    return 0 if report.passed else 1
