"""``graphopt bench``: latency and throughput."""

from pathlib import Path

import click

from graphopt.cli.options import IntList, Progress, json_option, recipe_option


@click.command("bench", short_help="Latency and throughput.")
@click.argument("what")
@click.option(
    "--batch", "batches", type=IntList(), default=None, help="Batch sizes: 1,4,8. Default: the model's own."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Time per batch size, after a warm-up.",
)
@recipe_option
@json_option
def command(
    what: str, batches: tuple[int, ...] | None, seconds: float, recipe_name: str, as_json: bool
) -> None:
    """Time WHAT (a model or another stage) on this machine, or read a results folder's own timing.

    graphopt bench deepmar.opt.onnx --batch 1,4,8
    """
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.recipes.stages import parse_stage

    if parse_stage(what, recipe_name=recipe_name).kind == "results":
        from graphopt.core.errors import DatasetError
        from graphopt.runtime.performance import read_performance

        found = read_performance(Path(what))
        if not found:
            raise DatasetError(f"{what} holds no timing of ais_bench, benchmark or a bundle's runner")
        if as_json:
            files = [item.to_json() for item in found]
            print_json("bench", {"ok": True, "what": what, "measured_by": "device tools", "files": files})
            return
        rows = [
            [item.source.name, item.tool, item.batch, item.mean_ms, item.p99_ms, item.throughput]
            for item in found
        ]
        heads = ["file", "tool", ">batch", ">mean ms", ">p99 ms", ">samples/s of a device"]
        print_table(f"{what}, as the device tools measured it", heads, rows)
        return
    from graphopt.recipes.inference import bench

    progress = Progress()
    try:
        progress.say(f"timing {what}")
        results = bench(what, batches=batches or (), seconds=seconds, recipe_name=recipe_name)
    finally:
        progress.clear()
    if as_json:
        content = {
            "what": what,
            "measured_by": "this machine",
            "batches": [item.to_json() for item in results],
        }
        print_json("bench", {"ok": True, **content})
        return
    rows = [
        [
            item.batch,
            item.runs,
            item.min_ms,
            item.median_ms,
            item.mean_ms,
            item.p90_ms,
            item.p99_ms,
            item.throughput,
        ]
        for item in results
    ]
    heads = [">batch", ">runs", ">min ms", ">median ms", ">mean ms", ">p90 ms", ">p99 ms", ">samples/s"]
    print_table(what, heads, rows)
    print_line("one run takes a whole batch; this machine's CPU, nothing else is claimed")
