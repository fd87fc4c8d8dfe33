from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.file_tensors import FileTensor
from graphopt.core.onnx_files import load_model, save_model
from graphopt.surgery.engine.structure import faults
from graphopt.surgery.parts.connections import Part
from graphopt.surgery.parts.joining import Joined, join_models

FIRST = """<ir_version: 7, opset_import: ["" : 13]>
first (float[N,3] image, bool flag) => (float[N,5] features, float[N,3] scaled)
<float[3,5] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6}, float two = {2}> {
    [scale] scaled = Mul (image, two)
    [choose] m = If (flag) <
        then_branch = t () => (float[N,3] p) { p = Relu (scaled) },
        else_branch = e () => (float[N,3] p2) { p2 = Neg (scaled) }>
    [dense] features = MatMul (m, w)
}"""
SECOND = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
second (float[2,5] features, float[5] image) => (float[2,5] result)
<float[5] w = {1,2,3,4,5}> {
    [scale] m = Add (features, w)
    n = local.Half (m)
    [last] result = Mul (n, image)
}
<domain: "local", opset_import: ["" : 13]> Half (m) => (o) {
    c = Constant <value = float {0.5}> ()  o = Mul (m, c) }"""


def part(name: str, text: str) -> Part:
    return Part(name, ir.from_proto(onnx.parser.parse_model(text)))


def join(*texts: str, connect: Mapping[str, str] | None = None) -> Joined:
    names = "abc"
    return join_models([part(names[i], text) for i, text in enumerate(texts)], connect or {})


def interface(model: ir.Model) -> tuple[list[str | None], list[str | None]]:
    return [v.name for v in model.graph.inputs], [v.name for v in model.graph.outputs]


def single(body: str, *, opset: int = 13, name: str = "g") -> str:
    return f'<ir_version: 8, opset_import: ["" : {opset}]> {name} {body}'


def test_outputs_feed_inputs_of_their_name() -> None:
    joined = join(FIRST, SECOND)
    assert joined.links == {(1, "features"): (0, "features")}
    assert interface(joined.model) == (["image", "flag", "b_image"], ["scaled", "result"])
    assert joined.inputs["b_image"] == (1, "image")
    assert faults(joined.model) == ()


def test_names_that_clash_get_a_prefix_and_the_weights_stay_apart() -> None:
    joined = join(FIRST, SECOND)
    graph = joined.model.graph
    assert joined.renamed == ({}, {"image": "b_image", "m": "b_m", "w": "b_w"})
    assert [node.name for node in graph][3:4] == ["b_scale"]
    np.testing.assert_array_equal(np.asarray(graph.initializers["b_w"].const_value), [1, 2, 3, 4, 5])
    names = [tensor.name for tensor in ir.to_proto(joined.model).graph.initializer]
    assert sorted(names) == ["b_w", "two", "w"]


def test_versions_functions_and_metadata_are_merged() -> None:
    model = join(FIRST, SECOND).model
    assert model.ir_version == 8
    assert [key[1] for key in model.functions] == ["Half"]
    assert model.opset_imports == {"": 13, "local": 1}


def test_an_input_can_be_connected_by_hand_also_to_an_earlier_input() -> None:
    other = single("(float[N,3] x, float[N,3] y) => (float[N,3] z) { z = Sub (x, y) }")
    joined = join(FIRST, other, connect={"x": "scaled", "y": "image"})
    assert interface(joined.model) == (["image", "flag"], ["features", "z"])
    assert joined.links == {(1, "x"): (0, "scaled"), (1, "y"): (0, "image")}


def test_one_output_and_one_input_belong_together() -> None:
    a, b = (
        single("(float[2] x) => (float[2] y) { y = Exp (x) }"),
        single("(float[2] u) => (float[2] v) { v = Neg (u) }"),
    )
    assert [node.op_type for node in join(a, b, a).model.graph] == ["Exp", "Neg", "Exp"]


def test_the_same_model_twice() -> None:
    text = single("(float[2] x) => (float[2] y) <float[2] w = {1,2}> { m = Mul (x, w)  y = Exp (m) }")
    joined = join(text, text)
    assert interface(joined.model) == (["x"], ["y"])
    assert joined.renamed[0] == {"y": "a_y"}
    assert set(joined.renamed[1]) == {"m", "w"}
    assert faults(joined.model) == ()


def test_a_tensor_that_two_models_read() -> None:
    a = single("(float[2] x) => (float[2] f) { f = Exp (x) }")
    b = single("(float[2] f) => (float[2] g) { g = Neg (f) }")
    c = single("(float[2] f, float[2] g) => (float[2] h) { h = Add (f, g) }")
    joined = join(a, b, c)
    assert joined.links[2, "f"] == (0, "f")
    assert interface(joined.model) == (["x"], ["h"])


def test_an_output_that_is_just_an_input() -> None:
    a = single("(float[2] x) => (float[2] y) { y = Exp (x) }")
    b = single("(float[2] y) => (float[2] z) { z = Identity (y) }")
    through = join(a, b)
    assert interface(through.model) == (["x"], ["z"])


def test_an_input_that_a_subgraph_captures_is_connected() -> None:
    a = single("(bool f, float[2] x) => (float[2] y) { y = Exp (x) }")
    b = single("""(bool f, float[2] y) => (float[2] z) { z = If (f) <
        then_branch = t () => (float[2] p) { p = Neg (y) },
        else_branch = e () => (float[2] q) { q = Abs (y) }> }""")
    joined = join(a, b, connect={"f": "f"})
    assert faults(joined.model) == ()
    branch = joined.model.graph[1].attributes["then_branch"].as_graph()
    assert branch[0].inputs[0] is joined.model.graph[0].outputs[0]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("(float[2,4] features) => (float[2,4] z) { z = Neg (features) }", r"\[N, 5\].*\[2, 4\].*do not fit"),
        ("(float[5] features) => (float[5] z) { z = Neg (features) }", "do not fit"),
        ("(int64[N,5] features) => (int64[N,5] z) { z = Neg (features) }", "insert a Cast"),
    ],
)
def test_types_and_shapes_are_checked(second: str, message: str) -> None:
    with pytest.raises(PreconditionError, match=message):
        join(FIRST, single(second))


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        ({"imgae": "features"}, "b has no input 'imgae'; did you mean image"),
        ({"image": "feature"}, "no model before b has an output or input 'feature'; did you mean features"),
    ],
)
def test_connections_are_checked(connect: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        join(FIRST, SECOND, connect=connect)


def test_models_that_share_no_name_are_not_joined_by_chance() -> None:
    with pytest.raises(UsageError, match="b reads u, v, a makes features, scaled: no name fits"):
        join(FIRST, single("(float[2] u, float[2] v) => (float[2] z) { z = Add (u, v) }"))


def test_different_functions_of_one_name_are_refused() -> None:
    with pytest.raises(PreconditionError, match="different functions local::Half"):
        join(SECOND, SECOND.replace("0.5", "0.25"), connect={"features": "result"})
    assert join(SECOND, SECOND, connect={"features": "result"}).model.functions


def test_an_older_opset_is_raised_where_nothing_changes() -> None:
    a = single("(float[2] x) => (float[2] y) { y = Exp (x) }", opset=11)
    b = single("(float[2] y) => (float[2] z) { z = Relu (y) }", opset=17)
    joined = join(a, b)
    assert joined.model.opset_imports[""] == 17
    assert joined.raised == ("a: opset ai.onnx 11 -> 17",)


@pytest.mark.parametrize(
    "node", ["Softmax <axis = 1> (x)", "Squeeze <axes = [0]> (x)", "Split <axis = 0, split = [1]> (x)"]
)
def test_an_operator_with_a_new_meaning_stops_that(node: str) -> None:
    a = single(f"(float[1,2] x) => (float y) {{ [odd] y = {node} }}", opset=11)
    b = single("(float y) => (float z) { z = Relu (y) }", opset=17)
    with pytest.raises(PreconditionError, match=r"odd \(changed between opset 11 and 1.*lower_opset:to=11"):
        join(a, b)


def test_names_with_slashes_and_missing_node_names() -> None:
    text = single("(float[2] x) => (float[2] y) { m = Exp (x)  y = Neg (m) }")
    parts = [part("a/b.c", text), part("d", text)]
    for item in parts:
        item.model.graph[0].outputs[0].name = "/net/m"
    joined = join_models(parts, {})
    assert joined.renamed[1]["/net/m"] == "d_/net/m"
    assert joined.renamed[0]["y"] == "a_b_c_y"
    assert faults(joined.model) == ()


def test_weights_of_both_stay_in_their_files(tmp_path: Path) -> None:
    texts = (FIRST, SECOND)
    parts = []
    for name, text in zip("ab", texts, strict=True):
        proto = onnx.parser.parse_model(text)
        weight = np.ones((3, 5) if name == "a" else 5, np.float32)
        proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
        onnx.save(
            proto,
            tmp_path / f"{name}.onnx",
            save_as_external_data=True,
            location=f"{name}.bin",
            size_threshold=0,
        )
        parts.append(Part(name, load_model(tmp_path / f"{name}.onnx")))
    model = join_models(parts, {}).model
    kept = [value.const_value for value in model.graph.initializers.values()]
    assert {tensor.source.path.name for tensor in kept if isinstance(tensor, FileTensor)} == {
        "a.bin",
        "b.bin",
    }
    save_model(model, tmp_path / "out.onnx", force=False)
    assert not [t for t in onnx.load(tmp_path / "out.onnx").graph.initializer if t.external_data]
