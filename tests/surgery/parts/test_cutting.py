from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.onnx_files import load_model, save_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.engine.structure import faults
from graphopt.surgery.lookup import find_node
from graphopt.surgery.parts.cutting import extract_model, neighbourhood

TEXT = """<ir_version: 8, opset_import: ["" : 13, "local" : 1], metadata_props: ["graphopt.recipe" : "small"]>
whole (float[N,3,5] image, bool flag) => (float[N,3,5] y, float[N,15] z)
<float w = {2}, float shift = {1}, int64[1] minus = {-1}, float unused = {9}> {
    [conv] a = Mul (image, w)
    [second] b = local.Twice (a)
    [third] c = Add (b, shift)
    [branch] y = If (flag) <
        then_branch = t () => (float[N,3,5] p) { p = local.Twice (c) },
        else_branch = e () => (float[N,3,5] q) { q = Sub (c, a) }
    >
    [shape] s = Shape (c)
    [zero] k = Constant <value_ints = [0]> ()
    [gather] n = Gather (s, k)
    [sizes] r = Concat <axis = 0> (n, minus)
    [flat] f = Reshape (c, r)
    [last] z = Neg (f)
}
<domain: "local", opset_import: ["" : 13, "local" : 1]> Twice (m) => (o) { o = local.Sum (m, m) }
<domain: "local", opset_import: ["" : 13]> Sum (m, n) => (o) { o = Add (m, n) }
<domain: "local", opset_import: ["" : 13]> Unused (m) => (o) { o = Neg (m) }
"""


def model_of(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(text))


@pytest.fixture
def whole() -> ir.Model:
    model = model_of(TEXT)
    conv = model.graph[0]
    conv.name, conv.outputs[0].name = "layer/conv", "backbone/a"  # which ONNX text cannot spell
    return model


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def cut(whole: ir.Model, name: str, radius: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return neighbourhood(whole, find_node(whole, name), radius)


def test_keeps_only_what_lies_between(whole: ir.Model) -> None:
    part = extract_model(whole, ["b"], ["c"])
    assert ops(part) == ["Add"]
    assert list(part.graph.initializers) == ["shift"]
    assert [str(value.shape) for value in (*part.graph.inputs, *part.graph.outputs)] == ["[N,3,5]", "[N,3,5]"]
    assert part.graph.inputs[0].dtype is ir.DataType.FLOAT
    assert not part.functions


def test_the_whole_is_left_as_it_was(whole: ir.Model) -> None:
    before = ir.to_proto(whole).SerializeToString(deterministic=True)
    extract_model(whole, ["backbone/a", "flag"], ["y", "f"])
    assert ir.to_proto(whole).SerializeToString(deterministic=True) == before


def test_functions_used_by_functions_and_in_subgraphs_come_along(whole: ir.Model) -> None:
    part = extract_model(whole, ["c", "backbone/a", "flag"], ["y"])
    assert ops(part) == ["If"]
    assert {key[1] for key in part.functions} == {"Twice", "Sum"}
    assert faults(part) == ()


def test_captured_tensors_count_as_read(whole: ir.Model) -> None:
    part = extract_model(whole, ["image", "flag"], ["y"])
    assert ops(part) == ["Mul", "Twice", "Add", "If"]
    with pytest.raises(UsageError, match=r"branch reads flag.*add flag to the inputs"):
        extract_model(whole, ["image"], ["y"])


def test_a_part_computes_what_the_whole_computes(whole: ir.Model, tmp_path: Path) -> None:
    save_model(whole, tmp_path / "whole.onnx", force=False)
    loaded = load_model(tmp_path / "whole.onnx")
    save_model(extract_model(loaded, ["image"], ["c"]), tmp_path / "one.onnx", force=False)
    save_model(extract_model(loaded, ["c"], ["flat:0"]), tmp_path / "two.onnx", force=False)
    image = np.random.default_rng(3).standard_normal((2, 3, 5)).astype(np.float32)
    with OnnxRuntimeSession(tmp_path / "one.onnx") as one, OnnxRuntimeSession(tmp_path / "two.onnx") as two:
        middle = one.run({"image": image})
        np.testing.assert_allclose(
            np.asarray(two.run(middle)["f"], dtype=np.float32), (image * 4 + 1).reshape(2, 15), rtol=1e-6
        )


def test_metadata_of_model_and_nodes_is_kept(whole: ir.Model) -> None:
    find_node(whole, "third").metadata_props["graphopt.pass"] = "some_pass"
    part = extract_model(whole, ["b"], ["c"])
    assert part.metadata_props["graphopt.recipe"] == "small"
    assert part.graph[0].metadata_props["graphopt.pass"] == "some_pass"


def test_a_weight_can_be_an_input(whole: ir.Model) -> None:
    part = extract_model(whole, ["b", "shift"], ["c"])
    assert [value.name for value in part.graph.inputs] == ["b", "shift"]
    assert not part.graph.initializers
    assert part.graph.inputs[1].const_value is None


def test_one_output_of_a_node_is_given_and_another_needed() -> None:
    model = model_of("""<ir_version: 8, opset_import: ["" : 13]>
        g (float[4,3] x) => (float[2,3] y) { a, b = Split <axis = 0> (x)  c = Exp (a)  y = Add (c, b) }""")
    part = extract_model(model, ["x", "a"], ["y"])
    assert [[v.name for v in node.outputs] for node in part.graph] == [["", "b"], ["c"], ["y"]]
    assert part.graph[1].inputs[0] is part.graph.inputs[1]
    assert faults(part) == ()


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["b"], ["d"], "no tensor 'd'"),
        (["backbone/b"], ["c"], "did you mean backbone/a"),
        (["b"], ["q"], "in the subgraph of If branch"),
        (["b"], ["third:1"], "has 1 outputs"),
        (["b", "b"], ["c"], "b is given twice among the inputs"),
        (["b"], [], "at least one output"),
        (["b", "c"], ["c"], "c is given as input and as output"),
        (["c"], ["b"], "output b does not depend on the given inputs"),
        (["b", "image"], ["c"], "reads the input image; leave it out"),
        ([], ["c"], "layer/conv reads image"),
    ],
)
def test_refuses_by_name(whole: ir.Model, inputs: list[str], outputs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        extract_model(whole, inputs, outputs)


def test_refuses_a_tensor_of_unknown_dtype() -> None:
    model = model_of("""<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]>
        g (float[2,3] x) => (float[2,3] y) { a = vendor.Odd (x)  y = Exp (a) }""")
    with pytest.raises(PreconditionError, match="dtype of a"):
        extract_model(model, ["a"], ["y"])


def test_refuses_a_tensor_of_unknown_rank() -> None:
    model = model_of("""<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,3] x, int64[n] sizes) => (float y) { a = Reshape (x, sizes)  y = Exp (a) }""")
    with pytest.raises(PreconditionError, match="number of dimensions of a"):
        extract_model(model, ["a"], ["y"])


def test_a_part_without_inputs_is_made_of_constants() -> None:
    model = model_of("""<ir_version: 8, opset_import: ["" : 13]>
        g (float[2] x) => (float[2] y) <float[2] w = {1,2}> { a = Exp (w)  y = Add (a, x) }""")
    assert ops(extract_model(model, [], ["a"])) == ["Exp"]


def test_the_neighbourhood_of_radius_0_is_the_node(whole: ir.Model) -> None:
    assert cut(whole, "third", 0) == (("b",), ("c",))


def test_the_neighbourhood_grows_by_nodes(whole: ir.Model) -> None:
    assert cut(whole, "second", 1) == (("image",), ("backbone/a", "c"))
    assert cut(whole, "layer/conv", 1) == (("image", "flag", "c"), ("b", "y"))


def test_computations_of_sizes_belong_inside(whole: ir.Model) -> None:
    inputs, outputs = cut(whole, "flat", 0)
    assert (inputs, outputs) == (("c",), ("f",))
    assert ops(extract_model(whole, inputs, outputs)) == ["Shape", "Constant", "Gather", "Concat", "Reshape"]


def test_a_node_in_a_subgraph_stands_for_its_carrier(whole: ir.Model) -> None:
    assert cut(whole, "q", 0) == (("flag", "c", "backbone/a"), ("y",))


def test_every_neighbourhood_can_be_cut_out(whole: ir.Model) -> None:
    for node in whole.graph:
        for radius in range(4):
            if node.op_type != "Constant":
                assert faults(extract_model(whole, *neighbourhood(whole, node, radius))) == ()


def test_neighbourhood_refuses_function_bodies_and_negative_radii(whole: ir.Model) -> None:
    body = next(iter(whole.functions.values())).graph
    with pytest.raises(PreconditionError, match="body of a function"):
        neighbourhood(whole, body[0], 1)
    with pytest.raises(UsageError, match="radius is -1"):
        neighbourhood(whole, whole.graph[0], -1)


def test_find_node_offers_the_nearest_name(whole: ir.Model) -> None:
    with pytest.raises(UsageError, match="did you mean third"):
        find_node(whole, "thirt")


def test_node_names_may_be_missing_or_the_same() -> None:
    model = model_of("""<ir_version: 8, opset_import: ["" : 13]>
        g (float[2] x) => (float[2] y) { [same] a = Exp (x) [same] b = Neg (a)  y = Abs (b) }""")
    assert ops(extract_model(model, ["same:0"], ["b"])) == ["Neg"]  # the first of that name
    assert cut(model, "y", 0) == (("b",), ("y",))
    assert cut(model, "b", 0) == (("a",), ("b",))


@pytest.mark.shared
def test_neighbourhoods_of_a_real_graph_can_be_cut_out(filled_deepmar: Path) -> None:
    model = load_model(filled_deepmar)
    for node in list(model.graph)[::40]:
        part = extract_model(model, *neighbourhood(model, node, 2))
        assert faults(part) == ()
        assert node.op_type in ops(part)
        assert len(part.graph) < 20
