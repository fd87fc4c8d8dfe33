"""``graphopt evaluate``: the metric of a stage, or of what the device tools wrote."""

from pathlib import Path

import click

from graphopt.cli.options import (
    Progress,
    data_option,
    force_option,
    json_option,
    limit_option,
    output_option,
    recipe_option,
)
from graphopt.core.words import counted


@click.command("evaluate", short_help="Metric of a model or of device results.")
@click.argument("what")
@data_option("Data set folder; for device results its labels are enough.", required=True)
@limit_option
@recipe_option
@output_option("Write the figures in the original scripts' form.")
@force_option
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=None,
    help="Keep predictions here (.npz): an interrupted evaluation goes on.",
)
@json_option
def command(
    what: str,
    data: Path,
    limit: int | None,
    recipe_name: str,
    output: Path | None,
    force: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Score WHAT on a data set.

    WHAT is a model or another stage, or the folder that ais_bench, benchmark or a bundle's runner
    wrote: graphopt evaluate result/dumpOutput_device0 --recipe deepmar --data peta
    """
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.core.files import check_output
    from graphopt.recipes.inference import evaluate

    if output is not None:
        check_output(output, force=force)
    progress = Progress()
    try:
        result = evaluate(
            what,
            data,
            recipe_name=recipe_name,
            limit=limit,
            store=store,
            on_progress=progress.count("image"),
        )
    finally:
        progress.clear()
    task, score = result.task, result.score
    if output is not None:
        task.write_original(result.dataset, result.predictions, output)
    if as_json:
        print_json("evaluate", {"ok": True, "what": what, "data": data, **score.to_json()})
        return
    rows = [[name, f"{value:.6f}"] for name, value in score.figures.items()]
    print_table(f"{what} on {counted(score.samples, 'image')} of {data.name}", ["figure", ">value"], rows)
    details = score.details.get("rows", [])
    if details:
        heads = list(details[0])
        print_table(f"per {task.detail_kind}", heads, [[row[key] for key in heads] for row in details])
    if output is not None:
        print_line(str(output))
