"""``graphopt operators``: what is known of operators that are not ONNX's own."""

from pathlib import Path

import click

from graphopt.cli.options import json_option
from graphopt.core.words import without_markup


@click.command("operators", short_help="Operators beyond ONNX: known ones, or a model's.")
@click.argument("name", required=False)
@click.option(
    "--in",
    "model",
    type=click.Path(path_type=Path),
    default=None,
    metavar="MODEL",
    help="Show which of them a model calls, and which it calls that nobody knows.",
)
@click.option("--markdown", is_flag=True, help="Print the whole list as a Markdown page.")
@json_option
def command(name: str | None, model: Path | None, markdown: bool, as_json: bool) -> int:
    """List the operators beyond ONNX that graphopt knows, show the one called NAME, or those in a model.

    Exits 1 when a model calls an operator that nobody knows.
    """
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.core.errors import UsageError
    from graphopt.core.operator_catalogue import describe_operators, find_operator, operators_page

    if sum((name is not None, model is not None, markdown)) > 1:
        raise UsageError("give one of NAME, --in MODEL and --markdown")
    if markdown:
        if as_json:
            raise UsageError("--markdown prints the whole list: without another option")
        print_line(operators_page(info for info in describe_operators() if not info.plugin).rstrip("\n"))
        return 0
    if model is not None:
        return _in_model(model, as_json)
    if name is None:
        known = describe_operators()
        if as_json:
            print_json("operators", {"ok": True, "operators": [info.to_json() for info in known]})
            return 0
        own = any(info.plugin for info in known)
        heads = ["operator", "known to", "domains", "body", "what it is", *(["from"] if own else [])]
        rows = [
            [info.name, info.known_to, info.written, info.has_body, info.note, info.plugin] for info in known
        ]
        print_table("", heads, [row[: len(heads)] for row in rows])
        return 0
    info = find_operator(name)
    if as_json:
        print_json("operators", {"ok": True, "operator": info.to_json()})
        return 0
    print_line(f"{info.name}: {info.note}")
    for word, text in (
        ("From", info.plugin),
        ("Known to", info.known_to),
        ("Domains", info.written),
        ("Body", "standard operators; it runs here" if info.has_body else "none: it does not run here"),
        ("Inputs", info.inputs),
        ("Outputs", info.outputs),
        ("Limits", info.limits),
    ):
        if text:
            print_line(f"  {word}: {without_markup(text)}")
    if info.attributes:
        print_table("", ["attribute", "type"], info.attributes.items())
    return 0


def _in_model(path: Path, as_json: bool) -> int:
    import re
    import shlex
    from collections import Counter

    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.core.lineage import node_label
    from graphopt.core.onnx_files import load_model
    from graphopt.core.operator_catalogue import find_operator, strangers
    from graphopt.core.operators import at_home

    model = load_model(path)
    known = Counter(item.op_type for node in model.graph.all_nodes() if (item := at_home(node)) is not None)
    unknown = strangers(model)
    infos = {name: find_operator(name) for name in known}
    first = {(node.domain, node.op_type): node_label(node) for node in reversed(unknown)}
    counts = Counter((node.domain, node.op_type) for node in unknown)
    if as_json:
        content = {
            "model": path,
            "known": [{"count": count, **infos[name].to_json()} for name, count in known.items()],
            "unknown": [
                {"domain": key[0], "name": key[1], "count": count, "node": first[key]}
                for key, count in counts.items()
            ],
        }
        print_json("operators", {"ok": not unknown, **content})
        return 1 if unknown else 0
    rows = [
        [name, count, infos[name].known_to, "yes" if infos[name].has_body else "no"]
        for name, count in known.items()
    ]
    rows += [[f"{d}::{name}" if d else name, count, "nobody", "no"] for (d, name), count in counts.items()]
    if not rows:
        print_line(f"{path} has none but standard operators")
        return 0
    print_table(str(path), ["operator", ">calls", "known to", "body"], rows)
    for (_, name), node in first.items():
        word = re.sub(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
        print_line(f"describe it: graphopt new operator {word} --from {shlex.quote(str(path))} --node {node}")
    return 1 if unknown else 0
