"""``graphopt new``: begin a pass, an operator or a recipe of one's own."""

from pathlib import Path

import click

from graphopt.cli.options import force_option, json_option
from graphopt.cli.project import plugin_option
from graphopt.core.words import counted


@click.group("new", short_help="Begin a pass, an operator or a recipe of your own.")
def command() -> None:
    """Write the files of a new pass, operator or recipe into your folder.

    All take --json. A graphopt.toml beside the files makes all verbs know them.
    """


_model_option = click.option(
    "--from",
    "model",
    type=click.Path(path_type=Path),
    required=True,
    metavar="MODEL",
    help="The ONNX file to begin from.",
)
_folder_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder of the files; default: the current one.",
)


@command.command("pass", short_help="A pass, a fixture and a failing test around one node.")
@click.argument("name")
@_model_option
@click.option("--node", required=True, help="What to rewrite: a node's name, NODE:INDEX, or its output.")
@click.option(
    "--radius",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="How many nodes around it the pattern and the fixture take in.",
)
@click.option("--after", default="", metavar="PASSES", help="Begin from the model as these passes leave it.")
@click.option(
    "--style",
    type=click.Choice(["ir", "graphsurgeon"]),
    default="ir",
    show_default=True,
    help="What the pass is written with: onnx_ir or onnx_graphsurgeon.",
)
@_folder_option
@force_option
@plugin_option
@json_option
def new_pass_command(
    name: str,
    model: Path,
    node: str,
    radius: int,
    after: str,
    style: str,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write NAME.py, which finds nodes like the one given, a fixture cut out of MODEL, and a failing test.

    graphopt new pass drop_scale --from model.onnx --node Mul_12

    Then write rewrite() in NAME.py until the test passes, and use the pass like any other.
    """
    from graphopt.cli.render import print_json, print_line
    from graphopt.surgery import parse_steps
    from graphopt.surgery.engine.plan import State, make_plan
    from graphopt.surgery.lookup import find_node
    from graphopt.surgery.scaffold.new_pass import new_pass

    plan = make_plan(parse_steps(after)) if after else ()
    loaded = State.of(model, plan).model
    made = new_pass(
        name,
        loaded,
        find_node(loaded, node),
        output,
        source=model,
        radius=radius,
        surgeon=style == "graphsurgeon",
        force=force,
    )
    if as_json:
        content = {"files": list(made.files), "fixture_nodes": made.fixture_nodes}
        print_json("new", {"ok": True, **content, "notes": list(made.notes), "commands": list(made.commands)})
        return
    for path in made.files:
        print_line(str(path))
    print_line(f"the fixture has {counted(made.fixture_nodes, 'node')}")
    for note in made.notes:
        print_line(f"note: {note}")
    method = "edit" if style == "graphsurgeon" else "rewrite"
    print_line(f"\nwrite {method}() in {made.files[0]}, then:")
    for line in made.commands:
        print_line(f"  {line}")


@command.command("operator", short_help="An operator that nobody knows, and a test against PyTorch.")
@click.argument("name")
@_model_option
@click.option("--node", required=True, help="A call of it: a node's name, NODE:INDEX, or its output.")
@_folder_option
@force_option
@plugin_option
@json_option
def new_operator_command(name: str, model: Path, node: str, output: Path, force: bool, as_json: bool) -> None:
    """Write NAME.py, which describes the operator of a node, and a test of its body against PyTorch.

    graphopt new operator scaled_tanh --from model.onnx --node ScaledTanh_7

    Then write _body() in NAME.py and reference() in the test; models that call the operator run then.
    """
    from graphopt.cli.render import print_json, print_line
    from graphopt.core.onnx_files import load_model
    from graphopt.surgery.lookup import find_node
    from graphopt.surgery.scaffold.new_operator import new_operator

    loaded = load_model(model)
    made = new_operator(name, loaded, find_node(loaded, node), output, source=model, force=force)
    if as_json:
        lists = {"files": list(made.files), "notes": list(made.notes), "commands": list(made.commands)}
        print_json("new", {"ok": True, "op_type": made.op_type, "calls": made.calls, **lists})
        return
    for path in made.files:
        print_line(str(path))
    print_line(f"{made.op_type} has {counted(made.calls, 'call')} in {model}")
    for note in made.notes:
        print_line(f"note: {note}")
    print_line(f"\nwrite _body() in {made.files[0]} and reference() in {made.files[1]}, then:")
    for line in made.commands:
        print_line(f"  {line}")


@command.command("recipe", short_help="A recipe for a graph, guesses marked.")
@click.argument("name")
@_model_option
@_folder_option
@force_option
@plugin_option
@json_option
def new_recipe_command(name: str, model: Path, output: Path, force: bool, as_json: bool) -> None:
    """Write NAME.py, a recipe for MODEL: tensors, matching passes, and marked guesses for the rest.

    graphopt new recipe my_model --from model.onnx

    Then: graphopt pipeline ./NAME.py --onnx MODEL
    """
    from graphopt.cli.options import Progress
    from graphopt.cli.render import print_json, print_line
    from graphopt.core.discovery import names_in
    from graphopt.recipes.catalogue import MODELS
    from graphopt.recipes.new_recipe import new_recipe

    progress = Progress()
    try:
        made = new_recipe(name, model, output, taken=names_in(MODELS), force=force, on_progress=progress.say)
    finally:
        progress.clear()
    if as_json:
        lists = {key: list(value) for key, value in vars(made).items()}
        print_json("new", {"ok": True, **lists})
        return
    for path in made.files:
        print_line(str(path))
    print_line(f"passes: {', '.join(made.passes) or 'none match'}")
    for guess in made.guesses:
        print_line(f"guessed: {guess}")
    for note in made.notes:
        print_line(f"note: {note}")
    print_line("\ncorrect the guesses, then:")
    for line in made.commands:
        print_line(f"  {line}")
