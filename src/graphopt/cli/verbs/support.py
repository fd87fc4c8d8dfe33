"""``graphopt support``: will ATC take a model, and what mends it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import Progress, beside, data_option, force_option, json_option, output_option

if TYPE_CHECKING:
    from graphopt.recipes.mending_trial import Mending
    from graphopt.recipes.support import Checked


@click.command("support", short_help="Will ATC take a model, and what mends it.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--soc", required=True, help="The chip, 310P3 or Ascend310P3, or auto to ask npu-smi.")
@click.option("--cann", default="", help="The release, e.g. 6.0.1 or 8.0.RC2. Default: any from 5.1 to 9.2.")
@click.option("--node", default="", help="Tell all of this node.")
@click.option("--all", "every_node", is_flag=True, help="List every node.")
@click.option("--no-trial", is_flag=True, help="Only look up: try no passes to find those that mend.")
@click.option("--fix", is_flag=True, help="Apply the passes that mend, proven as apply does, and write.")
@output_option("With --fix: the result; default: MODEL.opt.onnx beside the input.")
@force_option
@data_option("With --fix: inputs to verify with, as for apply.")
@click.option("--allow-unproven", is_flag=True, help="With --fix: write a model that cannot be run here.")
@click.option(
    "--record", default="", metavar="ok|LOG", help="Keep that it compiles here, or what ATC's LOG says."
)
@click.option("--note", default="", help="With --record: who found it, and how.")
@json_option
def command(
    model: Path,
    soc: str,
    cann: str,
    node: str,
    every_node: bool,
    no_trial: bool,
    fix: bool,
    output: Path | None,
    force: bool,
    data: Path | None,
    allow_unproven: bool,
    record: str,
    note: str,
    as_json: bool,
) -> int:
    """Say for every operator of MODEL whether ATC takes it, why not, and which passes mend that.

    graphopt support faster_rcnn.onnx --soc 310P3 --cann 6.0.1

    Exits 1 when something is unsupported. Records in the nearest graphopt-support.toml go before sources.
    """
    from graphopt.core.errors import UsageError
    from graphopt.recipes.mending_trial import try_mending
    from graphopt.recipes.support import aim_at, check_file

    if sum((fix, bool(record), bool(node))) > 1:
        raise UsageError("--fix, --record and --node exclude each other")
    if not fix and (output or data or allow_unproven or force):
        raise UsageError("--output, --data, --force and --allow-unproven are for --fix")
    progress = Progress()
    try:
        progress.say("checking")
        checked = check_file(model, aim_at(soc, cann))
        if record:
            return _record(checked, record, note, as_json)
        if fix:
            target = output or beside(model, "opt.onnx")
            return _fix(checked, target, force, data, allow_unproven, as_json, progress)
        mending = None if no_trial else try_mending(checked, on_progress=progress.say)
    finally:
        progress.clear()
    return _one(checked, node, mending, as_json) if node else _show(checked, mending, every_node, as_json)


def _show(checked: "Checked", mending: "Mending | None", every_node: bool, as_json: bool) -> int:
    from graphopt.cli.render import print_json
    from graphopt.cli.show_support import show_support
    from graphopt.recipes.support_summary import next_step, to_json

    bad = checked.support.verdict.value == "unsupported"
    following = next_step(checked, mending)
    if as_json:
        print_json("support", {"ok": not bad, **to_json(checked, mending), "next": following[0]})
    else:
        show_support(checked, mending, every_node=every_node, following=following)
    return int(bad)


def _one(checked: "Checked", name: str, mending: "Mending | None", as_json: bool) -> int:
    from graphopt.cli.render import print_json
    from graphopt.cli.show_support import show_node
    from graphopt.recipes.support_summary import node_json
    from graphopt.surgery.lookup import find_node

    wanted = find_node(checked.model, name)
    found = next(item for item in checked.support.nodes if item.node is wanted)
    bad = found.verdict.value == "unsupported"
    entry = node_json(found, mending)
    if as_json:
        print_json("support", {"ok": not bad, **entry})
    else:
        show_node(found, entry)
    return int(bad)


def _fix(
    checked: "Checked",
    output: Path,
    force: bool,
    data: Path | None,
    allow_unproven: bool,
    as_json: bool,
    progress: Progress,
) -> int:
    from graphopt.cli.render import print_json, print_line
    from graphopt.cli.show_support import show_fixed
    from graphopt.recipes.support import options_text
    from graphopt.recipes.support_fix import fix_file
    from graphopt.recipes.support_summary import compile_command

    fixed = fix_file(
        checked, output, force=force, data=data, allow_unproven=allow_unproven, on_progress=progress.say
    )
    progress.clear()
    before = checked.support
    after = fixed.after.support if fixed.after else before
    bad = after.verdict.value == "unsupported"
    if as_json:
        print_json("support", {"ok": not bad, **fixed.to_json()})
    elif fixed.report is None:
        print_line(f"{fixed.reason}; nothing is written")
    else:
        verification = fixed.report.verification
        reason = f" ({verification.reason})" if verification.reason else ""
        steps = ", ".join(str(step) for step in fixed.mending.steps)
        compile_it = compile_command(output, after)
        look = f"graphopt support {output} {options_text(after.aim)}"
        show_fixed(
            before,
            after,
            steps,
            output,
            verification.status.value + reason,
            next_step=look if bad else compile_it,
        )
    return int(bad)


def _record(checked: "Checked", what: str, note: str, as_json: bool) -> int:
    from graphopt.cli.render import print_json, print_line
    from graphopt.core.words import counted
    from graphopt.recipes.support_record import record

    path, new = record(checked.support, checked.path, what, note=note)
    if as_json:
        entries = [{**vars(item), "verdict": item.verdict.value} for item in new]
        print_json("support", {"ok": True, "records": path, "added": entries})
    else:
        print_line(f"{path}: {counted(len(new), 'record')} added" if new else f"{path} says so already")
        for item in new:
            limit = f", {item.limit}" if item.limit else ""
            print_line(f"  {item.operator} at opset {item.opset}{limit}: {item.verdict.value}")
    return 0
