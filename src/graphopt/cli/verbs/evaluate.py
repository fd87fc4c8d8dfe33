"""``graphopt evaluate``: the metric of a stage, or of what the device tools wrote."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from graphopt.core.words import counted

if TYPE_CHECKING:
    from graphopt.recipes.evaluation import Evaluation

_WORST = 5
"""Images named below the tables."""
_LONG = 40
"""Rows from which on a table leaves out those without a figure."""


@click.command("evaluate", short_help="Metric of a model or of device results.")
@click.argument("what")
@data_option("Data set folder; for device results its labels are enough.", required=True)
@annotations_option
@limit_option
@recipe_option
@click.option(
    "--against",
    default="",
    metavar="STAGE",
    help="A stage whose answers stand for the labels; a folder of images is then enough. torch: the recipe's "
    "network with the checkpoint of the run that WHAT is of.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    default=None,
    help="Weights for --against torch, where WHAT is not of a run.",
)
@click.option(
    "--box-mapping",
    type=click.Choice(("real", "published")),
    default=None,
    help="Boxes back to the image by its real transform, or by the original scripts' formula.",
)
@output_option(
    "Write the figures in the original scripts' form; of detections the results: NAME.json as COCO has "
    "them, or a folder of text files."
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for drawings of the worst images.",
)
@force_option
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=None,
    help="Keep predictions here (.npz): an interrupted evaluation goes on.",
)
@workers_option
@json_option
def command(
    what: str,
    data: Path,
    output: Path | None,
    pictures: Path | None,
    force: bool,
    box_mapping: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Score WHAT on a data set.

    WHAT is a model or another stage, the folder that ais_bench, benchmark or a bundle's runner wrote, or
    detections as a COCO result file: graphopt evaluate result/dumpOutput_device0 --recipe fcos --data coco
    """
    from graphopt.cli.render import print_json, print_line
    from graphopt.core.files import check_output
    from graphopt.recipes.evaluation import draw_worst, evaluate
    from graphopt.recipes.half_estimate import estimate_note

    if output is not None:
        check_output(output, force=force)
    progress = Progress()
    try:
        result = evaluate(
            what,
            data,
            box_mapping=box_mapping or "",
            pictures=pictures is not None,
            on_progress=progress.count("image"),
            **options,
        )
    finally:
        progress.clear()
    if output is not None:
        result.task.write_original(result.dataset, result.predictions, output)
    drawn = draw_worst(result, pictures, force=force) if pictures is not None else ()
    if as_json:
        worst = [
            {"name": sample.name, "error": result.score.errors[sample.name]}
            for sample in result.worst(_WORST)
        ]
        content = {"what": what, "data": data, "against": options["against"], **result.score.to_json()}
        content["estimate"] = bool(estimate_note(what))
        print_json("evaluate", {"ok": True, **content, "worst": worst, "pictures": drawn})
        return
    _show(result, what, data, options["against"])
    if note := estimate_note(what):
        print_line(f"note: {note}")
    if output is not None:
        print_line(str(output))
    if pictures is not None:
        print_line(f"{counted(len(drawn), 'picture')} in {pictures}")


def _show(result: "Evaluation", what: str, data: Path, against: str) -> None:
    from graphopt.cli.render import print_line, print_table

    task, score = result.task, result.score
    rows = [[name, f"{value:.6f}"] for name, value in score.figures.items()]
    beside = f", answers of {against} as labels" if against else ""
    images = counted(score.samples, "image")
    print_table(f"{what} on {images} of {data.name}{beside}", ["figure", ">value"], rows)
    details = score.details.get("rows", [])
    if details:
        heads = list(details[0])
        # What the labels do not show has no figure: of 80 classes it need not fill the screen.
        known = [row for row in details if row[heads[-1]] is not None or len(details) <= _LONG] or details
        print_table(f"per {task.detail_kind}", heads, [[row[key] for key in heads] for row in known])
        if len(known) < len(details):
            print_line(f"not in the labels: {len(details) - len(known)} of {len(details)}")
    worst = ", ".join(f"{sample.name} ({score.errors[sample.name]:.3g})" for sample in result.worst(_WORST))
    if worst:
        print_line(f"worst images: {worst}")
