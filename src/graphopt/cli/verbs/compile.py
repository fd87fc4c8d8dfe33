"""``graphopt compile``: an ONNX file to what a target runs."""

from pathlib import Path

import click

from graphopt.cli.options import (
    IntList,
    Progress,
    beside,
    force_option,
    json_option,
    output_option,
    recipe_option,
    roles_option,
)


@click.command("compile", short_help="ONNX to what a target runs.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="atc, openvino or onnxruntime.")
@click.option("--soc", default="", help="For atc: the chip, 310P3 or Ascend310P3, or auto to ask npu-smi.")
@click.option("--cann", default="", help="For atc: its release, e.g. 6.0.1, for the check before it runs.")
@click.option(
    "--batch",
    "batches",
    type=IntList(),
    default=None,
    help="One verified model per size: 1,4,8. Default: as is.",
)
@output_option("Folder of the results; default: MODEL.TARGET beside the input.")
@force_option
@click.option("--dry-run", is_flag=True, help="Print what would be done; write and start nothing.")
@click.option("--script-only", is_flag=True, help="For atc: write the script for another machine.")
@click.option(
    "--allow-unsupported", is_flag=True, help="For atc: compile also what 'support' says that it refuses."
)
@click.option(
    "--option",
    "extra",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any option of the target, e.g. precision_mode=allow_mix_precision; repeatable.",
)
@click.option(
    "--out-nodes",
    default="",
    metavar="A;B",
    help="For atc: outputs of the .om as node:index, tensor names or roles. Default: the graph's own.",
)
@roles_option
@recipe_option
@json_option
def command(
    model: Path,
    target: str,
    soc: str,
    cann: str,
    batches: tuple[int, ...] | None,
    output: Path | None,
    force: bool,
    dry_run: bool,
    script_only: bool,
    allow_unsupported: bool,
    extra: tuple[str, ...],
    out_nodes: str,
    roles_text: str,
    recipe_name: str,
    as_json: bool,
) -> int:
    """Compile MODEL for a target.

    graphopt compile deepmar.opt.onnx --target atc --soc 310P3 --batch 1,4,8

    Without atc on the PATH the script for the other machine is written, and the exit code is 3;
    --script-only asks for just that. What ATC is known to refuse is not compiled: exit code 1; see
    graphopt support.
    """
    from graphopt.cli.render import print_json, print_line
    from graphopt.core.errors import MissingBackendError, UsageError
    from graphopt.core.roles import parse_roles
    from graphopt.recipes.compilation import CompileOptions, compile_into, plan_for

    options = {}
    for item in extra:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--option takes NAME=VALUE, not {item!r}")
        options[name.lstrip("-").replace("-", "_")] = value
    if out_nodes:
        if target != "atc":
            raise UsageError(f"--out-nodes is for --target atc; for {target} choose them with pin_outputs")
        options["out_nodes"] = out_nodes
    request = CompileOptions(
        target=target,
        soc=soc,
        batches=batches or (),
        script_only=script_only,
        cann=cann,
        allow_unsupported=allow_unsupported,
        options=options,
        roles=parse_roles(roles_text) if roles_text else None,
    )
    if dry_run:
        plans = [plan.to_json() for plan in plan_for(model, request, recipe_name=recipe_name)]
        if as_json:
            print_json("compile", {"ok": True, "dry_run": True, "plans": plans})
        else:
            for plan in plans:
                print_line("\n".join([*plan["steps"], *(f"note: {note}" for note in plan["notes"])]))
                print_line(plan["script"] or "")
        return 0
    folder = output or beside(model, target)
    progress = Progress()
    try:
        progress.say(f"compiling for {target}")
        result = compile_into(folder, model, request, recipe_name=recipe_name, force=force)
    finally:
        progress.clear()
    content = {"ok": not result.missing, "folder": folder, **result.to_json()}
    if as_json:
        print_json("compile", content)
    else:
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            print_line(str(path))
        for note in dict.fromkeys(note for plan in content["plans"] for note in plan["notes"]):
            print_line(f"note: {note}")
    if not result.missing:
        return 0
    # Not raised: with --json, stdout already holds the one document, which says it too.
    click.echo(f"graphopt: {result.missing}", err=True)
    return MissingBackendError.exit_code
