"""Nodes know the raw nodes they stand for; models know where they came from."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx_ir as ir
import pytest

import graphopt
from graphopt.core.files import sha256_of
from graphopt.core.lineage import (
    MODEL_LINEAGE,
    MODEL_PARENT,
    NODE_ORIGIN,
    NODE_PASS,
    LineageStep,
    node_label,
    origins_of,
    read_lineage,
    recipe_of,
    stamp_model,
)
from graphopt.core.onnx_files import load_model
from graphopt.surgery import parse_steps, rewrite_file
from graphopt.surgery.engine.fingerprint import fingerprint
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.model_pass import Change, ModelPass, Outcome

Write = Callable[[str, str], Path]


@dataclass(frozen=True, kw_only=True)
class _Fuse(GraphPass):
    """Replace a pair of nodes by one; keeps or loses the output's name."""

    name: ClassVar[str] = "fuse"
    pair: tuple[str, str]
    to: str
    keep_name: bool = True

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            upper = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
            if upper is not None and (upper.op_type, node.op_type) == self.pair:
                yield Site(node=node, what=f"{'+'.join(self.pair)} -> {self.to}")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        lower = site.node
        assert lower.inputs[0] is not None
        upper = lower.inputs[0].producer()
        assert upper is not None
        new = ir.Node("", self.to, inputs=[upper.inputs[0]], num_outputs=1)
        model.graph.insert_before(lower, new)
        name, old = lower.outputs[0].name, lower.outputs[0]
        new.outputs[0].type, new.outputs[0].shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new.outputs[0], replace_graph_outputs=True)
        model.graph.remove([lower, upper], safe=True)
        if self.keep_name:
            new.outputs[0].name = name


CHAIN = """
<ir_version: 8, opset_import: ["" : 13]> g (float[4] x) => (float[4] y) {
    [n1] a = Neg (x)
    [n2] b = Neg (a)
    [exp] c = Exp (b)
    [n3] d = Neg (c)
    [n4] e = Neg (d)
    [end] y = Tanh (e)
}
"""


def _stamps(path: Path) -> dict[str, tuple[str, list[str]]]:
    return {
        node.op_type + (node.name or ""): (
            node.metadata_props[NODE_PASS],
            json.loads(node.metadata_props[NODE_ORIGIN]),
        )
        for node in load_model(path).graph
        if NODE_PASS in node.metadata_props
    }


@pytest.mark.parametrize("keep_name", [True, False])
def test_each_new_node_stands_for_what_lay_between_its_ends(
    write_text: Write, tmp_path: Path, keep_name: bool
) -> None:
    source, output = write_text(CHAIN, "c.onnx"), tmp_path / "o.onnx"
    rewrite_file(source, output, [_Fuse(pair=("Neg", "Neg"), to="Identity", keep_name=keep_name)])
    stamped = [node for node in load_model(output).graph if NODE_PASS in node.metadata_props]
    assert [node.op_type for node in stamped] == ["Identity", "Identity"]
    assert [origins_of(node) for node in stamped] == [("n1", "n2"), ("n3", "n4")]
    assert {node.metadata_props[NODE_PASS] for node in stamped} == {"fuse"}


def test_origins_are_inherited_through_several_passes(write_text: Write, tmp_path: Path) -> None:
    source, output = write_text(CHAIN, "c.onnx"), tmp_path / "o.onnx"
    first = _Fuse(pair=("Neg", "Neg"), to="Identity")
    second = _Fuse(pair=("Identity", "Exp"), to="Exp")
    rewrite_file(source, output, [first, second])
    nodes = list(load_model(output).graph)
    assert nodes[0].op_type == "Exp"
    assert origins_of(nodes[0]) == ("n1", "n2", "exp")
    assert origins_of(nodes[-1]) == ("end",)
    assert NODE_PASS not in nodes[-1].metadata_props


def test_origins_survive_saving_and_a_second_run(write_text: Write, tmp_path: Path) -> None:
    source, middle, output = write_text(CHAIN, "c.onnx"), tmp_path / "m.onnx", tmp_path / "o.onnx"
    rewrite_file(source, middle, [_Fuse(pair=("Neg", "Neg"), to="Identity")], recipe="demo")
    rewrite_file(middle, output, [_Fuse(pair=("Exp", "Identity"), to="Exp")])
    model = load_model(output)
    assert origins_of(model.graph[1]) == ("exp", "n3", "n4")
    assert [step.name for step in read_lineage(model)] == ["fuse", "fuse"]
    assert read_lineage(model)[0] == LineageStep(
        name="fuse",
        options={"pair": ["Neg", "Neg"], "to": "Identity", "keep_name": True},
        version=graphopt.__version__,
    )
    assert model.metadata_props[MODEL_PARENT] == sha256_of(middle)
    assert recipe_of(model) == "demo"


@dataclass(frozen=True, kw_only=True)
class _Insert(GraphPass):
    """Put an Identity behind Exp."""

    name: ClassVar[str] = "insert"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            if node.op_type == "Exp" and "Identity" not in {c.op_type for c in node.outputs[0].consumers()}:
                yield Site(node=node, what="Identity behind it")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        value = site.node.outputs[0]
        uses = list(value.uses())
        new = ir.Node("", "Identity", inputs=[value], num_outputs=1)
        model.graph.insert_after(site.node, new)
        for use in uses:
            use.node.replace_input_with(use.idx, new.outputs[0])


def test_an_inserted_node_belongs_to_its_neighbours(write_text: Write, tmp_path: Path) -> None:
    source, output = write_text(CHAIN, "c.onnx"), tmp_path / "o.onnx"
    rewrite_file(source, output, [_Insert()])
    new = next(node for node in load_model(output).graph if node.op_type == "Identity")
    assert origins_of(new) == ("exp",)


@dataclass(frozen=True, kw_only=True)
class _Rebuild(ModelPass):
    """Rebuild the whole model, one operator changed."""

    name: ClassVar[str] = "rebuild"

    def run(self, model: ir.Model) -> Outcome:
        text = CHAIN.replace("Exp (b)", "Abs (b)").replace("[exp] ", "")
        return Outcome(
            model=ir.from_onnx_text(text), changes=(Change(node="", op_type="Exp", what="now Abs"),)
        )


def test_a_rebuilt_model_keeps_the_lineage_of_nodes_it_did_not_touch(
    write_text: Write, tmp_path: Path
) -> None:
    source, output = write_text(CHAIN, "c.onnx"), tmp_path / "o.onnx"
    from graphopt.surgery import Verify

    rewrite_file(source, output, [_Rebuild()], verify=Verify.OFF, recipe="demo")
    model = load_model(output)
    stamped = [(n.op_type, origins_of(n)) for n in model.graph if NODE_PASS in n.metadata_props]
    assert stamped == [("Abs", ("exp",))]
    assert recipe_of(model) == "demo"


def test_stamps_alone_are_no_change(write_text: Write) -> None:
    model = load_model(write_text(CHAIN, "c.onnx"))
    before = fingerprint(model)
    stamp_model(model, recipe="r", parent_sha256="0", steps=[])
    model.graph[0].metadata_props[NODE_PASS] = "x"
    assert fingerprint(model) == before
    model.graph[0].metadata_props["other"] = "x"
    assert fingerprint(model) != before


def test_a_file_that_was_not_modified_still_says_what_was_tried(chain: Path, tmp_path: Path) -> None:
    rewrite_file(chain, tmp_path / "o.onnx", parse_steps("remove_pad"))
    model = load_model(tmp_path / "o.onnx")
    assert [step.name for step in read_lineage(model)] == ["remove_pad"]
    assert not any(NODE_PASS in node.metadata_props for node in model.graph)


@pytest.mark.parametrize("text", ["{", "[1, 2]", '"x"', '[{"pass": 3}]', "[" * 100_000])
def test_foreign_lineage_is_no_lineage(write_text: Write, text: str) -> None:
    model = load_model(write_text(CHAIN, "c.onnx"))
    model.metadata_props[MODEL_LINEAGE] = text
    model.graph[0].metadata_props[NODE_ORIGIN] = text if text != "[1, 2]" else "{}"
    assert read_lineage(model) == ()
    if not text.startswith("[{"):
        assert origins_of(model.graph[0]) == ("n1",)


def test_a_nameless_node_goes_by_its_output(planted: Any) -> None:
    node = ir.node("Relu", [ir.Value(name="i")], outputs=[ir.Value(name="o")])
    node.name = ""
    assert node_label(node) == "o"
    assert origins_of(node) == ("o",)
