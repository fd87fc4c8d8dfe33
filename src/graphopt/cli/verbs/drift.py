"""``graphopt drift``: where the points of the metric were lost."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import (
    Progress,
    annotations_option,
    data_option,
    force_option,
    json_option,
    limit_option,
)

if TYPE_CHECKING:
    from graphopt.recipes.drift import Drift
    from graphopt.recipes.drift_report import DriftReport

_PATH = click.Path(path_type=Path)


@click.command("drift", short_help="In which stage the metric's points were lost.")
@click.argument("what", metavar="RUN|RECIPE")
@click.option("--run", "run", type=_PATH, default=None, help="Of a RECIPE: its run, made when not there.")
@click.option("--results", type=_PATH, default=None, help="What the device tools or original scripts wrote.")
@click.option(
    "--bins",
    "--inputs",
    "--input",
    "inputs",
    type=_PATH,
    default=None,
    help="The input files that the device was fed.",
)
@data_option("Data set folder, or a folder of images without labels; the run's when it is left out.")
@annotations_option
@click.option("--checkpoint", type=_PATH, default=None, help="Trained weights; the run's when left out.")
@click.option("--onnx", type=_PATH, default=None, help="For a new run: a raw graph exported elsewhere.")
@click.option("--demo", is_flag=True, help="For a new run: a seeded checkpoint and data set.")
@limit_option
@click.option(
    "--against",
    default="",
    metavar="ROW",
    help="A row (torch, raw, ...) whose answers stand for the labels.",
)
@click.option(
    "--worst", type=click.IntRange(min=0), default=10, show_default=True, help="So many images to name."
)
@click.option("--pictures", type=_PATH, default=None, help="Folder for drawings of these, side by side.")
@click.option("--html", type=_PATH, default=None, help="Write all of it as one page, with the pictures.")
@force_option
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=None,
    help="Exit 1 when a row loses more points than this against the first.",
)
@json_option
def command(
    what: str,
    run: Path | None,
    results: Path | None,
    inputs: Path | None,
    data: Path | None,
    annotations: Path | None,
    checkpoint: Path | None,
    onnx: Path | None,
    demo: bool,
    limit: int | None,
    against: str,
    worst: int,
    pictures: Path | None,
    html: Path | None,
    force: bool,
    max_drop: float | None,
    as_json: bool,
) -> int:
    """Score PyTorch, the raw and rewritten model, half precision, what was compiled and what a device wrote.

    Each row says its own loss with a 95 % interval; the last lines, where most of it enters and which images
    disagree most. Predictions that a run stored are used; what is missing is computed.

    graphopt drift out/fcos --results result/dumpOutput_device0
    """
    from graphopt.recipes.drift import DriftOptions, measure_drift
    from graphopt.recipes.drift_page import check_drift_page, write_drift_page
    from graphopt.recipes.drift_run import run_for

    if html is not None:
        check_drift_page(html, force=force)
    progress = Progress()
    try:
        recipe, folder = run_for(
            what,
            run,
            checkpoint=checkpoint,
            onnx=onnx,
            demo=demo,
            data=data,
            annotations=annotations,
            limit=limit,
            progress=progress,
        )
        options = DriftOptions(
            run=folder,
            checkpoint=checkpoint,
            data=data,
            annotations=annotations,
            limit=limit,
            results=results,
            inputs=inputs,
            against=against,
            max_drop=max_drop,
        )
        drift = measure_drift(recipe, options, progress=progress)
    finally:
        progress.clear()
    if html is not None:
        write_drift_page(drift, html, force=force)
    drawn = _draw(drift, pictures, worst, force=force)
    _show(drift.report, worst, drawn, as_json=as_json)
    return 0 if drift.report.ok else 1


def _draw(drift: "Drift", folder: Path | None, count: int, *, force: bool) -> tuple[Path, ...]:
    from graphopt.recipes.evaluation import draw_worst

    if folder is None or drift.pictures is None or not count:
        return ()
    return draw_worst(drift.pictures, folder, count=count, force=force)


def _show(report: "DriftReport", worst: int, drawn: tuple[Path, ...], *, as_json: bool) -> None:
    from graphopt.cli.render import print_json, print_line, print_table

    if as_json:
        print_json("drift", {**report.to_json(), "pictures": [str(path) for path in drawn]})
        return
    if report.inputs:
        print_line(f"inputs: {report.inputs['sentence']}")
    rows = [
        [
            row.stage,
            None if row.metric is None else f"{row.metric:.4f}",
            None if row.loss is None else f"{row.loss.points:.2f}",
            None if row.loss is None else row.loss.text,
            row.against or None,
            _verdict(row.loss.within_noise if row.loss else None, row.loss.points if row.loss else 0.0),
            row.note,
        ]
        for row in report.waterfall.rows
    ]
    metric = report.waterfall.metric
    heads = ["stage", f">{metric}", ">points lost", ">95 %", "against", "verdict", "note"]
    print_table(f"{report.title}, on {report.sample_kind}, truth: {report.truth}", heads, rows)
    for item in report.disagreements[:worst]:
        print_line(f"  {item.name}: {item.text}")
    for cause in report.causes:
        print_line(cause.sentence)
    for note in report.notes:
        print_line(f"note: {note}")
    for problem in report.problems:
        print_line(f"FAILED: {problem}")
    print_line(report.waterfall.sentence)


def _verdict(within_noise: bool | None, points: float) -> str:
    if within_noise is None:
        return ""
    if within_noise:
        return "same" if points == 0 else "within noise"
    return "lost" if points > 0 else "gained"
