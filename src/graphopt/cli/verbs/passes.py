"""``graphopt passes``: list the pass library, or what would match in a model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import json_option
from graphopt.core.words import without_markup

if TYPE_CHECKING:
    import onnx_ir as ir


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
            rows = [
                [info.name, info.effect, without_markup(info.summary), info.plugin] for info in known.values()
            ]
            own = any(info.plugin for info in known.values())
            heads = ["pass", "numbers", "what it does", *(["from"] if own else [])]
            print_table("", heads, [row[: len(heads)] for row in rows])
        return
    info = known[name]
    if as_json:
        print_json("passes", {"ok": True, "pass": info.to_json()})
        return
    print_line(f"{info.name} ({info.effect}): {without_markup(info.summary)}")
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
            print_line(f"  {word}: {without_markup(text)}")
    if info.options:
        options = [
            [option.name, option.type, option.default, without_markup(option.doc)] for option in info.options
        ]
        print_table("", ["option", "type", "default", "what"], options)


def _would_apply(path: Path, names: list[str], as_json: bool) -> None:
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.core.errors import MissingBackendError, PreconditionError, UsageError
    from graphopt.core.onnx_files import load_model
    from graphopt.core.plugins import blame

    model = load_model(path)
    rows: list[tuple[str, int | None, int | None, str]] = []
    for name in names:
        try:
            rows.append((name, *_what_applies(name, path, model)))
        except (MissingBackendError, PreconditionError, UsageError) as error:
            rows.append((name, None, None, str(error)))
        except Exception as error:
            if (complaint := blame(error)) is None:
                raise
            rows.append((name, None, None, complaint.splitlines()[-1].strip()))
    if as_json:
        keys = ("pass", "sites", "declined", "first")
        content = [dict(zip(keys, row, strict=True)) for row in rows]
        print_json("passes", {"ok": True, "model": path, "would_apply": content})
        return
    idle = [row[0] for row in rows if row[1:3] == (0, 0)] if len(rows) > 1 else []
    shown = sorted((row for row in rows if row[0] not in idle), key=lambda row: not row[1])
    if shown:
        heads = ["pass", ">sites", ">declined", "first site, or first reason to decline"]
        print_table(str(path), heads, shown)
    if idle:
        print_line(f"nothing here for: {', '.join(idle)}")


def _what_applies(name: str, path: Path, model: "ir.Model") -> tuple[int, int, str]:
    """Return sites, declined places, and a word about the first, of one pass alone."""
    from graphopt.surgery import GraphPass, PassStep, Verify, make_pass, rewrite_file
    from graphopt.surgery.catalogue import plugin_sha256
    from graphopt.surgery.explaining import candidates_of

    item = make_pass(PassStep(name))
    if isinstance(item, GraphPass) and not plugin_sha256(type(item)):
        places = candidates_of(lambda: model, item)  # sites() changes nothing: one copy serves all
        sites = [place.reason for place in places if place.applies]
        declined = [place.reason for place in places if not place.applies]
    else:  # a user's pass is run, so that what is unfinished in it shows
        report = rewrite_file(path, None, [PassStep(name)], verify=Verify.OFF, samples=None).passes[0]
        sites, declined = [item.what for item in report.applied], [item.why for item in report.declined]
    return len(sites), len(declined), next(iter((*sites, *declined)), "")
