"""``graphopt pipeline``: the whole way of one model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import (
    IntList,
    Progress,
    annotations_option,
    data_option,
    json_option,
    limit_option,
    output_option,
    workers_option,
)

if TYPE_CHECKING:
    from graphopt.recipes.pipeline_report import PipelineReport


@click.command("pipeline", short_help="All of it, with one report.")
@click.argument("recipe_name", metavar="RECIPE")
@click.option("--checkpoint", type=click.Path(path_type=Path), default=None, help="Trained weights.")
@click.option("--onnx", type=click.Path(path_type=Path), default=None, help="A raw graph exported elsewhere.")
@click.option("--demo", is_flag=True, help="Make a seeded checkpoint and a data set, and use them.")
@data_option("Data set folder; without it stages are compared, but not scored.")
@click.option("--results", type=click.Path(path_type=Path), default=None, help="What the device tools wrote.")
@output_option("Folder of the run; default: out/RECIPE.")
@annotations_option
@limit_option
@workers_option
@click.option(
    "--targets", default="onnxruntime,openvino,atc", show_default=True, help="Compile targets, in order."
)
@click.option(
    "--batch",
    "batches",
    type=IntList(),
    default=None,
    help="Sizes to make and compare; default: 1,8, for a recipe that names no sizes 1.",
)
@click.option("--soc", default="310P3", show_default=True, help="Chip for ATC: 310P3, Ascend310P3 or auto.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=0.3,
    show_default=True,
    help="Largest allowed loss of the metric, in points.",
)
@click.option("--no-estimates", is_flag=True, help="Leave out what half precision is estimated to answer.")
@json_option
def command(
    recipe_name: str,
    checkpoint: Path | None,
    onnx: Path | None,
    demo: bool,
    data: Path | None,
    results: Path | None,
    output: Path | None,
    annotations: Path | None,
    limit: int | None,
    workers: int | None,
    targets: str,
    batches: tuple[int, ...] | None,
    soc: str,
    max_drop: float,
    no_estimates: bool,
    as_json: bool,
) -> int:
    """Export, rewrite, compile, run, score and compare the model of RECIPE; write a report.

    Done stages are reused while nothing they depend on has changed. Exits 1 when a stage differs
    from its reference, batch sizes disagree, or the metric drops by more than --max-drop.

    graphopt pipeline deepmar --demo -o out/deepmar
    """
    from graphopt.recipes.catalogue import find_recipe
    from graphopt.recipes.pipeline import PipelineOptions, run_pipeline

    recipe = find_recipe(recipe_name)
    options = PipelineOptions(
        folder=output or Path("out") / recipe.stem,
        checkpoint=checkpoint,
        onnx=onnx,
        demo=demo,
        data=data,
        results=results,
        annotations=annotations,
        limit=limit,
        workers=workers,
        targets=tuple(part.strip() for part in targets.split(",") if part.strip()),
        batches=batches or ((1, 8) if len(recipe.batch_sizes) > 1 else recipe.batch_sizes),
        soc=soc,
        max_drop=max_drop,
        estimates=not no_estimates,
    )
    progress = Progress()
    try:
        report = run_pipeline(recipe, options, progress=progress)
    finally:
        progress.clear()
    _show(report, as_json)
    return 0 if report.ok else 1


def _show(report: "PipelineReport", as_json: bool) -> None:
    from graphopt.cli.render import print_json, print_line, print_table, size_text

    if as_json:
        print_json("pipeline", report.to_json())
        return
    metric = report.metric or "metric"
    compared = [f">against {report.reference}"] if report.has_agreement else []
    rows = [
        [
            row.stage,
            row.verdict,
            row.max_error,
            None if row.metric is None else f"{row.metric:.4f}",
            None if row.change is None else f"{row.change:+.2f}",
            *(None if row.agreement is None else f"{row.agreement:.4f}" for _ in compared),
            size_text(row.bytes) if row.bytes else None,
            None if row.seconds is None else f"{row.seconds:.1f}{' (reused)' if row.reused else ''}",
            None if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}",
            row.sha256[:12] or None,
            row.note,
        ]
        for row in report.stages
    ]
    heads = ["stage", "verdict", ">max error", f">{metric}", ">points", *compared, ">size", ">seconds"]
    heads += [">peak MB", "sha256", "note"]
    print_table(f"{report.title}, on {report.sample_kind}", heads, rows)
    for check in report.batches:
        print_line(check.text)
    for note in report.notes:
        print_line(f"note: {note}")
    for problem in report.problems:
        print_line(f"FAILED: {problem}")
    print_line(f"verdict: {'passed' if report.ok else 'FAILED'} (gate: {report.max_drop} points)")
    page = Path(report.folder) / "report.html"
    print_line(f"report: {page if page.is_file() else page.with_suffix('.json')}")
    print_line(f"\n{report.device_note}")
    for line in report.commands:
        print_line("  " + line.replace("\n", "\n  "))
