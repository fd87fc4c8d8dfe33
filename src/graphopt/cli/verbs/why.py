"""``graphopt why``: why a pass does, or does not, apply."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphopt.cli.options import json_option
from graphopt.core.words import counted, without_markup

if TYPE_CHECKING:
    import onnx_ir as ir

    from graphopt.surgery import Pass, PassInfo
    from graphopt.surgery.explaining import Explanation

_SHOWN = 50


@click.command("why", short_help="Why a pass does, or does not, apply.")
@click.argument("pass_text", metavar="PASS")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--node", default="", help="Name of the node, NODE:INDEX, or the name of one of its outputs.")
@click.option("--after", default="", metavar="PASSES", help="Look at the model as these passes leave it.")
@json_option
def command(pass_text: str, model: Path, node: str, after: str, as_json: bool) -> int:
    """Say why PASS does, or does not, apply at a node of MODEL, or anywhere in it.

    graphopt why remove_pad deepmar.onnx --node Pad_173

    PASS may have options, as in apply, or be a file NAME.py. Writes nothing. Exits 0 when the pass
    would change the node (without --node: anything), 1 when it would not, 2 for bad input.
    """
    from graphopt.core.errors import UsageError
    from graphopt.surgery import make_pass, parse_steps
    from graphopt.surgery.catalogue import describe_pass
    from graphopt.surgery.engine.plan import State, make_plan
    from graphopt.surgery.explaining import explain

    steps = parse_steps(pass_text)
    if len(steps) != 1:
        raise UsageError("why asks about one pass; give those before it with --after")
    item, info = make_pass(steps[0]), describe_pass(type(make_pass(steps[0])))
    plan = make_plan(parse_steps(after)) if after else ()

    def load() -> "ir.Model":
        return State.of(model, plan).model

    if node:
        try:
            return _one(explain(load, item, node), info, as_json)
        except UsageError as error:
            raise UsageError(f"{error} (after {after})" if after else str(error)) from error
    return _all(load, item, info, as_json)


def _one(answer: "Explanation", info: "PassInfo", as_json: bool) -> int:
    from graphopt.cli.render import print_json, print_line, print_table

    code = 0 if answer.applies else 1
    if as_json:
        looks_for = {"before": info.before, "after": info.after}
        print_json("why", {"ok": answer.applies, "pass": info.name, **looks_for, **answer.to_json()})
        return code
    facts = answer.facts
    detail = f": {answer.reason}" if answer.reason else ""
    print_line(f"{info.name} at {facts.op_type} {facts.name}: {answer.why.value}{detail}")
    if not answer.applies:
        print_line(f"  it looks for: {_before(info)}")
    if answer.nearest is not None:
        near, verdict = answer.nearest, "applies" if answer.nearest.applies else "declined"
        away = "not connected with it" if answer.distance is None else f"{answer.distance} away"
        print_line(f"  nearest candidate: {near.op_type} {near.node}, {away}; {verdict}: {near.reason}")
    elif not answer.reason:
        print_line("  nothing in this model is what it looks for")
    print_line("")
    if facts.attributes:
        print_table("", ["attribute", "value"], facts.attributes.items())
    rows = [[port.side, port.tensor, port.dtype, port.shape, port.other] for port in facts.ports]
    print_table("", ["at the node", "tensor", "dtype", "shape", "from or to"], rows)
    return code


def _all(load: "Callable[[], ir.Model]", item: "Pass", info: "PassInfo", as_json: bool) -> int:
    from graphopt.cli.render import print_json, print_line, print_table
    from graphopt.surgery.explaining import candidates_of

    places = candidates_of(load, item)
    count = sum(place.applies for place in places)
    if as_json:
        content = [vars(place) for place in places]
        print_json("why", {"ok": count > 0, "pass": info.name, "before": info.before, "candidates": content})
        return 0 if count else 1
    print_line(f"{info.name} looks for: {_before(info)}")
    print_line(f"it applies at {count} of {counted(len(places), 'candidate')}\n")
    rows = [[p.op_type, p.node, "applies" if p.applies else "declined", p.reason] for p in places[:_SHOWN]]
    if rows:
        print_table("", ["operator", "node", "verdict", "reason"], rows)
    if len(places) > _SHOWN:
        print_line(f"... and {len(places) - _SHOWN} more; --json lists all")
    return 0 if count else 1


def _before(info: "PassInfo") -> str:
    return without_markup(info.before or info.summary).rstrip(".")
