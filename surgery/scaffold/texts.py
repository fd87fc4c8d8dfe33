"""The text of a new pass, in either style, and of its test."""

from collections.abc import Iterator

from graphopt.surgery.scaffold.pattern import Fixed, Maker, Pattern

_HEAD = '''"""The pass ``{name}``; begun at {seen} of {model}."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

'''

_DOCSTRING = '''    """Rewrite ``{op_type}`` nodes like {seen}: say what becomes of them in one line.

    Why: say why a deployment engineer wants it.
    Before: ``{drawing}``.
    After: draw what it becomes.
    """

    name: ClassVar[str] = "{name}"
'''

_ON_IR = """import onnx_ir as ir

from graphopt.surgery import Declined, GraphPass, Site
from graphopt.surgery.graph_edits import bypass, take_over
from graphopt.surgery.graph_queries import constant_of, input_of, nodes_of, used_elsewhere
from graphopt.surgery.node_builder import NodeBuilder


@dataclass(frozen=True, kw_only=True)
class {class_name}(GraphPass):
{docstring}
    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        # All of this holds at {seen}; leave out what does not matter.
        for node in nodes_of(model, "{op_type}"{domain}):
{steps}
            # Guards: for each thing that must hold but was not looked at yet, yield Declined and go on.
            # Here {seen} is read by {readers}.
            #     if (other := used_elsewhere(node.inputs[0], node)) is not None:
            #         yield Declined(node=node, why=other)
            #         continue
            yield Site(node=node, what="say what changes here")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        node = site.node
        # To take the node out:
        #     bypass(model, node)
        # To put another in its place:
        #     new = NodeBuilder(model, node).op("Relu", node.inputs[0], like=node.outputs[0])
        #     take_over(new, node.outputs[0])
        #     node.graph.remove(node, safe=True)
        raise NotImplementedError("write rewrite() of {name}")


def _maker(node: ir.Node, index: int) -> ir.Node | None:
    value = input_of(node, index)
    return value.producer() if value is not None else None


def _is(node: ir.Node | None, op_type: str, domain: str = "") -> bool:
    return node is not None and (node.op_type, node.domain) == (op_type, domain)
"""

_ON_SURGEON = """import numpy as np
import onnx_graphsurgeon as gs

from graphopt.surgery import GraphSurgeonPass
from graphopt.surgery.graphsurgeon_pass import Found, Refused


@dataclass(frozen=True, kw_only=True)
class {class_name}(GraphSurgeonPass):
{docstring}
    def find(self, graph: gs.Graph) -> Iterator[Found | Refused]:
        # All of this holds at {seen}; leave out what does not matter.
        for node in graph.nodes:
            if node.op != "{op_type}" or not node.outputs:
                continue
{steps}
            # Guards: for each thing that must hold but was not looked at yet, yield Refused and go on.
            # Here {seen} is read by {readers}.
            #     if len(node.inputs[0].outputs) > 1:
            #         yield Refused(node=node, why="its input is also read elsewhere")
            #         continue
            yield Found(node=node, what="say what changes here")

    def edit(self, graph: gs.Graph, node: gs.Node) -> None:
        # Disconnect what goes, append what comes; what is then unused goes by itself.
        # To take the node out:
        #     for reader in list(node.outputs[0].outputs):
        #         reader.inputs[reader.inputs.index(node.outputs[0])] = node.inputs[0]
        #     node.outputs.clear()
        raise NotImplementedError("write edit() of {name}")


def _maker(node: gs.Node, index: int) -> gs.Node | None:
    makers = node.inputs[index].inputs if index < len(node.inputs) else []
    return makers[0] if makers else None


def _is(node: gs.Node | None, op_type: str, domain: str = "") -> bool:
    return node is not None and (node.op, node.domain or "") == (op_type, domain)


def _constant(node: gs.Node, index: int) -> np.ndarray | None:
    tensor = node.inputs[index] if index < len(node.inputs) else None
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    maker = _maker(node, index)
    if maker is None or maker.op != "Constant" or "value" not in maker.attrs:
        return None
    return np.asarray(maker.attrs["value"].values)
"""

_TEST = '''"""What the pass ``{name}`` must do; all of it fails until {method}() in {name}.py is written."""

from pathlib import Path
{imports}
from graphopt.api import PassStep, load_plugin
from graphopt.surgery import RewriteReport, {samples_import}Status, rewrite_file

HERE = Path(__file__).resolve().parent
FIXTURE = HERE / "{fixture}"


def run(source: Path, output: Path) -> RewriteReport:
    """Run the pass and compare its result with the source{how}; wrong numbers are an error here."""
    load_plugin(HERE / "{name}.py")
    return rewrite_file(source, output, [PassStep("{name}")]{options})


def test_it_fires_where_it_was_written_for(tmp_path: Path) -> None:
    report = run(FIXTURE, tmp_path / "rewritten.onnx")
    assert len(report.passes[0].applied) >= 1


{numbers}def test_a_second_run_finds_nothing_left(tmp_path: Path) -> None:
    run(FIXTURE, tmp_path / "rewritten.onnx")
    again = run(tmp_path / "rewritten.onnx", tmp_path / "again.onnx")
    assert not again.passes[0].modified


# Next: one test for each reason to decline, on a model in which that reason holds.
'''

_NUMBERS = """def test_the_numbers_stay(tmp_path: Path) -> None:
    report = run(FIXTURE, tmp_path / "rewritten.onnx")
    assert report.verification.status is Status.PROVEN, report.verification.reason


"""


def pass_text(name: str, pattern: Pattern, *, model: str, surgeon: bool) -> str:
    """Return the file of a pass that finds the pattern and does not yet change it.

    Args:
        name: of file and pass.
        pattern: what to find.
        model: file name of the model it was found in.
        surgeon: write it on an onnx-graphsurgeon graph.
    """
    fields = {
        "name": name,
        "class_name": "".join(word.capitalize() for word in name.split("_")),
        "seen": pattern.seen,
        "op_type": pattern.op_type,
        "readers": pattern.readers,
        "drawing": pattern.drawing,
        "model": model,
        "domain": f', domain="{pattern.domain}"' if pattern.domain else "",
    }
    docstring = _DOCSTRING.format(**fields).rstrip("\n") + "\n"
    steps = "\n".join(line for step in pattern.steps for line in _lines(step, surgeon=surgeon))
    body = _ON_SURGEON if surgeon else _ON_IR
    steps = steps or "            # Nothing above it was near enough to look at."
    return _HEAD.format(**fields) + body.format(**fields, docstring=docstring, steps=steps)


def run_text(name: str, *, fixture: str, feeds: str, runs: bool, surgeon: bool) -> str:
    """Return the file of the test.

    Args:
        name: of the pass.
        fixture: file name of its model.
        feeds: file name of the inputs to run it with; empty when made-up ones do.
        runs: whether onnxruntime can run the fixture.
        surgeon: the pass is written on an onnx-graphsurgeon graph.
    """
    options = ""
    if feeds:
        options = f", samples=Samples(feeds=(dict(np.load(HERE / {feeds!r})),), kind='recorded')"
    if not runs:
        options = ", verify=Verify.OFF"
    samples = "Samples, " if feeds and runs else ""
    text = _TEST.format(
        name=name,
        method="edit" if surgeon else "rewrite",
        imports="\nimport numpy as np\n" if feeds and runs else "",
        samples_import=samples,
        fixture=fixture,
        how=" on recorded inputs" if feeds else "",
        options=options.replace("'", '"'),
        numbers=_NUMBERS if runs else "",
    )
    if runs:
        return text
    text = text.replace("Status, rewrite_file", "Verify, rewrite_file")
    return text.replace(
        "; wrong numbers are an error here.", " by structure alone: onnxruntime cannot run it."
    ).replace("Run the pass and compare its result with the source by", "Run the pass; it is checked by")


def _lines(step: Maker | Fixed, *, surgeon: bool) -> Iterator[str]:
    if isinstance(step, Maker):
        domain = f', "{step.domain}"' if step.domain else ""
        yield f"            {step.variable} = _maker({step.of}, {step.index})  # {step.seen}"
        yield f'            if not _is({step.variable}, "{step.op_type}"{domain}):'
        yield "                continue"
        return
    call = (
        f"_constant({step.of}, {step.index})"
        if surgeon
        else f"constant_of(input_of({step.of}, {step.index}))"
    )
    declined = "Refused" if surgeon else "Declined"
    yield f"            {step.variable} = {call}"
    if not step.exact:
        yield f"            # In the model it is {step.seen}."
    yield f"            if {step.variable} is None:"
    what = f"input {step.index} of {step.reader} is"
    yield f'                yield {declined}(node=node, why="{what} computed at run time")'
    yield "                continue"
    if step.exact:
        yield f"            if {step.variable}.tolist() != {step.seen}:"
        yield f'                yield {declined}(node=node, why=f"{what} {{{step.variable}.tolist()}}")'
        yield "                continue"
