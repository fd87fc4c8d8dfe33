"""``graphopt passes``: list the pass library, or what would match in a model."""

from pathlib import Path

import click

from graphopt.cli.options import json_option


@click.command("passes", short_help="List the passes, or what would apply.")
@click.argument("name", required=False)
@click.option(
    "--would-apply",
    "model",
    type=click.Path(path_type=Path),
    default=None,
    help="Show for each pass how often it would match in this model, each taken alone.",
)
@click.option("--markdown", is_flag=True, help="Print the whole catalogue as a Markdown page.")
@json_option
def command(name: str | None, model: Path | None, markdown: bool, as_json: bool) -> None:
    """List the passes, show the one called NAME (or in NAME.py), or what would apply to a model."""
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.core.errors import UsageError
    from graphopt.surgery import catalogue_page, describe_passes, find_pass

    if markdown:
        if name is not None or model is not None or as_json:
            raise UsageError("--markdown prints the whole catalogue: give neither a name nor another option")
        shipped = [info for info in describe_passes() if not info.plugin]
        print_line(catalogue_page(shipped).rstrip("\n"))
        return
    if name is not None:
        name = find_pass(name).name  # a file is loaded, an unknown name refused
    known = {info.name: info for info in describe_passes()}
    if model is not None:
        _would_apply(model, [name] if name is not None else sorted(known), as_json)
        return
    if name is None:
        if as_json:
            print_json("passes", {"ok": True, "passes": [info.to_json() for info in known.values()]})
        else:
            rows = [[info.name, info.effect, info.summary, info.plugin] for info in known.values()]
            own = any(info.plugin for info in known.values())
            heads = ["pass", "numbers", "what it does", *(["from"] if own else [])]
            print_table("", heads, [row[: len(heads)] for row in rows])
        return
    info = known[name]
    if as_json:
        print_json("passes", {"ok": True, "pass": info.to_json()})
        return
    print_line(f"{info.name} ({info.effect}): {info.summary}")
    if info.plugin:
        print_line(f"  From: {info.plugin}")
    for word, text in (
        ("Why", info.why),
        ("Before", info.before),
        ("After", info.after),
        ("Bound", info.bound),
        ("Seen in", ", ".join(info.seen_in)),
        ("Known as", info.known_as),
    ):
        if text:
            print_line(f"  {word}: {text}")
    if info.options:
        options = [[option.name, option.type, option.default, option.doc] for option in info.options]
        print_table("", ["option", "type", "default", "what"], options)


def _would_apply(model: Path, names: list[str], as_json: bool) -> None:
    from graphopt.cli.render import print_json, print_table
    from graphopt.core.errors import MissingBackendError, PreconditionError, UsageError
    from graphopt.core.plugins import blame
    from graphopt.surgery import PassStep, Verify, rewrite_file

    rows: list[tuple[object, ...]] = []
    for name in names:
        try:
            report = rewrite_file(model, None, [PassStep(name)], verify=Verify.OFF, samples=None)
            applied, declined = report.passes[0].applied, report.passes[0].declined
            first = applied[0].what if applied else declined[0].why if declined else ""
            rows.append((name, len(applied), len(declined), first))
        except (MissingBackendError, PreconditionError, UsageError) as error:
            rows.append((name, None, None, str(error)))
        except Exception as error:
            if (complaint := blame(error)) is None:
                raise
            rows.append((name, None, None, complaint.splitlines()[-1].strip()))
    if as_json:
        keys = ("pass", "sites", "declined", "first")
        content = [dict(zip(keys, row, strict=True)) for row in rows]
        print_json("passes", {"ok": True, "model": model, "would_apply": content})
    else:
        print_table(str(model), ["pass", ">sites", ">declined", "first"], rows)
