"""``graphopt inspect``: look at a model file."""

from pathlib import Path

import click

from graphopt.cli.options import json_option


@click.command("inspect", short_help="Look at a model file.")
@click.argument("model", type=click.Path(path_type=Path))
@json_option
def command(model: Path, as_json: bool) -> None:
    """Show the inputs, outputs, operators, size and history of MODEL."""
    from graphopt.cli.render import print_json, print_line, print_table, size_text
    from graphopt.core.words import counted
    from graphopt.recipes.inspection import inspect_model

    content = inspect_model(model)
    if as_json:
        print_json("inspect", {"ok": True, **content})
        return
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in content["opsets"].items())
    nodes, size = counted(content["nodes"], "node"), size_text(content["bytes"])
    print_line(f"{model}: {nodes}, {size}, sha256 {content['sha256'][:12]}")
    print_line(
        f"producer {content['producer'] or 'unknown'}, opset {opsets}, IR version {content['ir_version']}"
    )
    for key in ("inputs", "outputs"):
        rows = [[item["name"], item["shape"], item["dtype"]] for item in content[key]]
        print_table(key, ["name", "shape", "dtype"], rows)
    print_table("operators", ["operator", ">count"], content["operators"].items())
    if content["lineage"]:
        rows = [
            [item["pass"], ", ".join(f"{k}={v}" for k, v in item["options"].items()), item["plugin"][:12]]
            for item in content["lineage"]
        ]
        heads = ["pass", "options", *(["plugin's sha256"] if any(row[2] for row in rows) else [])]
        recipe = f", recipe {content['recipe']}" if content["recipe"] else ""
        print_table(f"made by graphopt{recipe}", heads, [row[: len(heads)] for row in rows])
