"""What `graphopt diff` finds, and what it must not take for a difference."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.lineage import LineageStep, stamp_model, stamp_node
from graphopt.core.onnx_files import load_model
from graphopt.core.tensors import Array
from graphopt.surgery.differences.describe import diff_facts, grouped
from graphopt.surgery.differences.model_diff import ModelDiff, diff_models
from graphopt.surgery.lookup import find_node

HEAD = '<ir_version: 8, opset_import: ["" : 13, "local" : 1]>'
BASE = """net (float[1,3,8,8] x) => (float[1,5,8,8] y, float[1,3,8,8] z)
<float[5,3,1,1] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6}, float two = {2}> {
    [id] a = Identity (x)
    [conv] b = Conv (a, w)
    [relu] c = Relu (b)
    [scale] y = Mul (c, two)
    [neg] d = Neg (x)
    [sum] z = Add (d, x)
}"""


def model_of(body: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(f"{HEAD} {body}"))


def diff(after: str, before: str = BASE) -> ModelDiff:
    return diff_models(model_of(before), model_of(after))


def ops(result: ModelDiff) -> dict[str, list[str]]:
    regions = [region for graph in result.graphs for region in graph.regions]
    return {
        "removed": sorted(node.op_type for region in regions for node in region.removed),
        "added": sorted(node.op_type for region in regions for node in region.added),
        "changed": sorted(pair.after.op_type for region in regions for pair in region.changed),
    }


def changes(result: ModelDiff) -> list[str]:
    return [text for region in result.main.regions for pair in region.changed for text in pair.changes]


def test_a_model_equals_itself() -> None:
    result = diff(BASE)
    assert result.equal
    assert diff_facts(result)["removed"] == 0
    assert not result.notes
    assert not result.weights


def test_a_removed_node_shows_who_reads_its_input_now() -> None:
    result = diff(BASE.replace("[id] a = Identity (x)", "").replace("Conv (a, w)", "Conv (x, w)"))
    assert ops(result) == {"removed": ["Identity"], "added": [], "changed": []}
    (region,) = result.main.regions
    (reader,) = region.rewired
    assert reader.after.name == "conv"
    assert reader.rewired == ("input 0 reads x, was a of Identity id",)
    assert result.main.same == 5


def test_an_added_node_and_a_replaced_one() -> None:
    added = diff(BASE.replace("[relu] c = Relu (b)", "c0 = Abs (b) [relu] c = Relu (c0)"))
    assert ops(added) == {"removed": [], "added": ["Abs"], "changed": []}
    replaced = diff(BASE.replace("Relu (b)", "Sigmoid (b)"))
    assert ops(replaced) == {"removed": ["Relu"], "added": ["Sigmoid"], "changed": []}
    assert len(replaced.main.regions) == 1


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("Conv (a, w)", "Conv <group = 1> (a, w)", "group 1 (new)"),
        ("two = {2}", "two = {3}", "input 1 two: float32[scalar] 3, was float32[scalar] 2"),
        ("{1,2,3,4,5,6,7,", "{1,2,3,4,5,6,8,", "input 1 w: other values"),
        ("Add (d, x)", "Add (x, d)", "input 0 reads x, was d of Neg neg"),
        ("Add (d, x)", "Add (d, d)", "input 1 reads d of Neg neg, was x"),
    ],
)
def test_a_node_that_changed_in_place(old: str, new: str, text: str) -> None:
    result = diff(BASE.replace(old, new))
    assert text in changes(result)
    assert ops(result)["removed"] == ops(result)["added"] == []
    assert not result.equal


def test_weights_are_compared_by_their_bytes() -> None:
    result = diff(BASE.replace("{1,2,3,4,5,6,7,", "{1,2,3,4,5,6,8,"))
    assert [(item.name, item.kind) for item in result.weights] == [("w", "changed")]
    renamed = diff(BASE.replace("float[5,3,1,1] w", "float[5,3,1,1] v").replace("(a, w)", "(a, v)"))
    assert renamed.equal
    assert [(item.name, item.kind) for item in renamed.weights] == [("v", "renamed")]


def test_other_names_inside_are_no_difference() -> None:
    text = (
        BASE.replace(" a ", " aa ").replace("(a, w)", "(aa, w)").replace(" b ", " bb ").replace("(b)", "(bb)")
    )
    text = (
        text.replace(" d ", " dd ")
        .replace("(d, x)", "(dd, x)")
        .replace(" c ", " cc ")
        .replace("(c, ", "(cc, ")
    )
    result = diff(text)
    assert result.equal
    assert result.notes == ("4 inner tensors have another name",)


def test_numbered_names_that_shift_are_not_believed() -> None:
    def chain(first: int, *ops: str) -> str:
        names = ["x", *(str(first + i) for i in range(len(ops) - 1)), "y"]
        lines = [f'"{new}" = {op} ("{old}")' for op, old, new in zip(ops, names, names[1:], strict=False)]
        return f"net (float[3] x) => (float[3] y) {{ {' '.join(lines)} }}"

    body = ("Exp", "Neg", "Abs", "Exp", "Neg", "Abs", "Relu", "Exp", "Neg", "Abs", "Sin")
    result = diff(chain(10, "Cos", *body), chain(10, *body))
    assert ops(result) == {"removed": [], "added": ["Cos"], "changed": []}
    result = diff(chain(10, *body[:5], *body[6:]), chain(10, *body))
    assert ops(result)["removed"] == ["Abs"]
    assert ops(result)["added"] == []


def test_nodes_in_another_order_are_no_difference() -> None:
    moved = BASE.replace("    [neg] d = Neg (x)\n", "").replace("    [id]", "    [neg] d = Neg (x)\n    [id]")
    assert diff(moved).equal


def test_a_constant_node_may_be_an_initializer() -> None:
    text = BASE.replace(", float two = {2}", "").replace(
        "[scale]", "two = Constant <value_float = 2.0> () [scale]"
    )
    result = diff(text)
    assert result.equal
    assert result.notes[0].startswith("1 Constant nodes are initializers")
    assert not diff(text.replace("2.0", "2.5")).equal


def test_inputs_outputs_and_opsets() -> None:
    text = BASE.replace("float[1,3,8,8] x)", "float[N,3,8,8] x, bool q)").replace(", float[1,3,8,8] z)", ")")
    result = diff_models(
        model_of(BASE), ir.from_proto(onnx.parser.parse_model(f"{HEAD.replace('13', '14')} {text}"))
    )
    assert result.interface == (
        "input q bool [] is new",
        "input x is float32 [N, 3, 8, 8], was float32 [1, 3, 8, 8]",
        "output z float32 [1, 3, 8, 8] is gone",
        "opset ai.onnx: 14, was 13",
    )
    assert not result.equal


def test_swapped_outputs_are_a_difference() -> None:
    before = "net (float[3] x) => (float[3] y, float[3] z) { y = Exp (x)  z = Neg (x) }"
    result = diff("net (float[3] x) => (float[3] y, float[3] z) { z = Exp (x)  y = Neg (x) }", before)
    assert not result.equal


SUB = """net (bool f, float[3] x) => (float[3] y) {
    [pick] y = If (f) <
        then_branch = t () => (float[3] p) { p0 = Exp (x)  p = Neg (p0) },
        else_branch = e () => (float[3] q) { q = local.F (x) }>
}
<domain: "local", opset_import: ["" : 13]> F (m) => (o) { a = Abs (m)  o = Sin (a) }"""


def test_subgraphs_and_functions_are_compared() -> None:
    assert diff(SUB, SUB).equal
    inner = diff(SUB.replace("p0 = Exp (x)  p = Neg (p0)", "p = Neg (x)"), SUB)
    assert ops(inner) == {"removed": ["Exp"], "added": [], "changed": []}
    body = diff(SUB.replace("o = Sin (a)", "o = Cos (a)"), SUB)
    assert [graph.name for graph in body.graphs] == ["main graph", "function local::F"]
    assert ops(body) == {"removed": ["Sin"], "added": ["Cos"], "changed": []}
    assert (
        "function local::F is gone" in diff(SUB.split("<domain")[0].replace("local.F", "Abs"), SUB).interface
    )


def test_another_tensor_leaves_a_subgraph() -> None:
    result = diff(SUB.replace("p = Neg (p0)", "p1 = Neg (p0)").replace("(float[3] p)", "(float[3] p0)"), SUB)
    assert not result.equal


def test_new_nodes_name_their_pass_and_what_they_stand_for() -> None:
    before = model_of(BASE)
    after = model_of(BASE.replace("[relu] c = Relu (b)", "").replace("y = Mul (c, two)", "y = Clip (b, two)"))
    stamp_node(find_node(after, "scale"), "fuse_scale", ["relu", "scale"])
    stamp_model(
        after, recipe="", parent_sha256="", steps=[LineageStep(name="fuse_scale", options={}, version="1")]
    )
    result = diff_models(before, after)
    (region,) = result.main.regions
    assert region.passes == ("fuse_scale",)
    assert set(region.makers.values()) == {"fuse_scale"}
    assert [step.name for step in result.steps] == ["fuse_scale"]


def test_sites_tell_two_passes_apart_and_an_unknown_stays_unknown() -> None:
    before = """net (float[3] x) => (float[3] y) {
        [i] a = Identity (x) b = Exp (a) [p] c = Abs (b) d = Sin (c) [q] e = Neg (d) y = Cos (e) }"""
    after = "net (float[3] x) => (float[3] y) { b = Exp (x) d = Sin (b) y = Cos (d) }"
    steps = [LineageStep(name=name, options={}, version="1") for name in ("one", "two")]
    new = model_of(after)
    stamp_model(new, recipe="", parent_sha256="", steps=steps)
    result = diff_models(model_of(before), new, sites={"i": "one", "p": "two"})
    assert [region.passes for region in result.main.regions] == [("one",), ("two",), ()]


def test_regions_that_look_the_same_are_grouped() -> None:
    lines = [f"[e{i}] a{i} = Exp (b{i}) [n{i}] b{i + 1} = Identity (a{i})" for i in range(4)]
    before = f"net (float[3] b0) => (float[3] y) {{ {' '.join(lines)} y = Cos (b4) }}"
    short = [f"[e{i}] a{i} = Exp ({f'a{i - 1}' if i else 'b0'})" for i in range(4)]
    result = diff(f"net (float[3] b0) => (float[3] y) {{ {' '.join(short)} y = Cos (a3) }}", before)
    assert len(result.main.regions) == 4
    (group,) = grouped(result.main)
    assert (len(group.regions), group.size) == (4, 4)


def test_the_facts_are_plain_data() -> None:
    result = diff(BASE.replace("Relu (b)", "LeakyRelu <alpha = 0.1> (b)"))
    facts = json.loads(json.dumps(diff_facts(result)))
    (region,) = facts["graphs"][0]["regions"]
    assert region["added"][0]["attributes"] == {"alpha": "0.1"}
    assert region["removed"][0]["inputs"] == ["b"]


def test_stripped_weights_are_compared_by_type(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(f"{HEAD} {BASE}")
    onnx.save(proto, tmp_path / "whole.onnx")
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
    onnx.save(proto, tmp_path / "stripped.onnx")
    whole = load_model(tmp_path / "whole.onnx")
    stripped = load_model(tmp_path / "stripped.onnx", allow_stripped=True)
    for result in (diff_models(whole, stripped), diff_models(stripped, whole)):
        assert result.equal
        assert result.stripped == 2
        assert "values of 2 weights are not in the files" in result.notes[0]


def test_large_and_external_weights_are_compared_in_their_files(tmp_path: Path) -> None:
    weight = np.random.default_rng(3).standard_normal((700, 900)).astype(np.float32)

    def write(name: str, content: Array, **options: Any) -> ir.Model:
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, [2, 700])],
            [onnx.helper.make_tensor_value_info("y", 1, [2, 900])],
            [onnx.numpy_helper.from_array(content, "w")],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, tmp_path / name, **options)
        return load_model(tmp_path / name)

    inline = write("inline.onnx", weight)
    external = write("external.onnx", weight, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert diff_models(inline, external).equal
    other = weight.copy()
    other[-1, -1] = 7
    assert not diff_models(external, write("other.onnx", other)).equal


def test_a_long_chain_without_a_common_name_is_lined_up_in_linear_time() -> None:
    def chain(prefix: str, count: int) -> ir.Model:
        ops = [("Exp", "Neg", "Abs", "Sin")[i % 4] for i in range(count)]
        names = ["x", *(f"{prefix}{i}" for i in range(count - 1)), "y"]
        nodes = [onnx.helper.make_node(op, [names[i]], [names[i + 1]]) for i, op in enumerate(ops)]
        info = [onnx.helper.make_tensor_value_info(name, 1, [3]) for name in ("x", "y")]
        graph = onnx.helper.make_graph(nodes, "g", info[:1], info[1:])
        return ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)]))

    assert diff_models(chain("a", 4000), chain("b", 4000)).equal


def test_node_names_may_be_missing_or_the_same() -> None:
    text = re.sub(r"\[\w+\] (\w) =", r"[same] \1 =", BASE)
    assert diff(text, re.sub(r"\[\w+\] ", "", BASE)).equal
    result = diff(text.replace("[same] d = Neg (x)", "[same] d = Abs (x)"), text)
    assert ops(result) == {"removed": ["Neg"], "added": ["Abs"], "changed": []}


def test_models_that_share_nothing_are_one_region_each_way() -> None:
    result = diff("net (int64[2] p) => (int64[2] q) { q = Abs (p) }")
    assert ops(result)["added"] == ["Abs"]
    assert len(ops(result)["removed"]) == 6
    assert "input x float32 [1, 3, 8, 8] is gone" in result.interface


def test_changes_all_along_a_renamed_chain_are_told_apart() -> None:
    def chain(prefix: str, *ops: str) -> str:
        names = ["x", *(f"{prefix}{i}" for i in range(len(ops) - 1)), "y"]
        lines = [f"{new} = {op} ({old})" for op, old, new in zip(ops, names, names[1:], strict=False)]
        return f"net (float[3] x) => (float[3] y) {{ {' '.join(lines)} }}"

    body = ("Exp", "Neg", "Abs") * 6
    removed = [op for i in range(0, 18, 3) for op in ("Identity", *body[i : i + 3])]
    result = diff(chain("b", *body), chain("a", *removed))
    assert ops(result) == {"removed": ["Identity"] * 6, "added": [], "changed": []}
    assert len(result.main.regions) == 6
    result = diff(chain("a", *removed), chain("b", *body))
    assert ops(result) == {"removed": [], "added": ["Identity"] * 6, "changed": []}


@pytest.mark.shared
def test_a_raw_graph_equals_its_refilled_self(shared_dir: Path, filled_deepmar: Path) -> None:
    raw = load_model(shared_dir / "raw" / "deepmar_bs1.onnx", allow_stripped=True)
    assert diff_models(raw, load_model(filled_deepmar)).equal
