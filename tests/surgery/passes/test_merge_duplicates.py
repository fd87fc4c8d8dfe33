from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.file_tensors import FileTensor
from graphopt.core.onnx_files import load_model
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes import merge_duplicates
from graphopt.surgery.passes.merge_duplicates import MergeDuplicates
from graphopt.surgery.values.tensor_content import equal_tensors, tensor_key

SUITABLE = "a = Exp ({x}) b = Exp ({x}) c = Neg (a) d = Neg (b) y = Mul (c, d)"

Rewrite = Callable[..., Any]
HEAD = '<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x) => ({outputs}) '
ONE = HEAD.format(outputs="float[2,3] y")


def test_equal_chains_become_one_in_one_go(rewrite: Rewrite) -> None:
    result = rewrite(
        ONE + "{ a = Exp (x) b = Exp (x) c = Neg (a) d = Neg (b) y = Mul (c, d) }", MergeDuplicates()
    )
    assert result.ops == ["Exp", "Neg", "Mul"]
    assert result.applied == ("it makes the same as Exp a", "it makes the same as Neg c")
    result.assert_same()


@pytest.mark.parametrize(
    "body",
    [
        "{ a = Exp (x) b = Neg (x) y = Mul (a, b) }",
        "{ a = Sub (x, b) b = Exp (x) c = Sub (b, x) y = Mul (a, c) }",
        "{ a = Softmax <axis = 0> (x) b = Softmax <axis = 1> (x) y = Mul (a, b) }",
        "{ a = RandomNormalLike (x) b = RandomNormalLike (x) c = Sub (a, b) d = Sub (c, c) y = Add (x, d) }",
        """<float[3] v = {1,2,3}, float[1,3] w = {1,2,3}, int32[3] i = {1,2,3}>
        { j = Cast <to = 1> (i) a = Add (x, v) b = Mul (a, w) y = Sub (b, j) }""",
    ],
)
def test_what_differs_stays(rewrite: Rewrite, body: str) -> None:
    body = body.replace("a = Sub (x, b) b = Exp (x)", "b = Exp (x) a = Sub (x, b)")
    result = rewrite(ONE + body, MergeDuplicates(), compare="Random" not in body)
    assert not result.applied
    assert not result.declined
    result.assert_same()


def test_equal_initializers_and_constants_become_one(rewrite: Rewrite) -> None:
    body = """<float[3] v = {1,2,3}, float[3] w = {1,2,3}> {
        k = Constant <value = float {2}> () l = Constant <value = float {2}> ()
        a = Add (x, v) b = Mul (a, k) c = Sub (b, w) y = Div (c, l) }"""
    result = rewrite(ONE + body, MergeDuplicates())
    assert list(result.model.graph.initializers) == ["v"]
    assert result.ops.count("Constant") == 1
    result.assert_same()


def test_numbers_that_are_equal_but_not_the_same_stay(rewrite: Rewrite) -> None:
    body = "<float[1] v = {0.0}, float[1] w = {-0.0}> { a = Div (x, v) b = Div (x, w) y = Sub (a, b) }"
    assert not rewrite(ONE + body, MergeDuplicates(), compare=False).applied


def test_a_graph_output_is_the_one_that_stays(rewrite: Rewrite) -> None:
    text = HEAD.format(outputs="float[2,3] y, float[2,3] z") + (
        "{ a = Exp (x) y = Neg (a) b = Sin (x) z = Exp (x) }"
    )
    result = rewrite(text, MergeDuplicates())
    assert result.ops == ["Exp", "Neg", "Sin"]
    assert result.model.graph.outputs[0].producer().inputs[0].name == "z"
    result.assert_same()


def test_two_equal_graph_outputs_are_declined(rewrite: Rewrite) -> None:
    text = HEAD.format(outputs="float[2,3] y, float[2,3] z") + "{ y = Exp (x) z = Exp (x) }"
    result = rewrite(text, MergeDuplicates())
    assert not result.applied
    assert result.declined == ("z and what Exp y makes are both graph outputs",)


NESTED = """<ir_version: 8, opset_import: ["" : 13]>
    g (bool flag, float[2,3] x) => (float[2,3] y) <float[3] w = {1,2,3}> {
        h = Exp (x) i = Add (h, w)
        k = If (flag) <
            then_branch = t () => (float[2,3] p) <float[3] v = {1,2,3}> { a = Exp (x) b = Sin (a) c = Sub (i, v) p = Mul (b, c) },
            else_branch = e () => (float[2,3] q) { d = Sin (h) q = Exp (x) }
        >
        l = Sin (h) y = Mul (k, l)
    }"""  # noqa: E501


def test_a_branch_reads_what_the_outer_graph_has_but_not_the_other_way_round(rewrite: Rewrite) -> None:
    result = rewrite(NESTED, MergeDuplicates())
    assert sorted(node.op_type for node in result.model.graph.all_nodes()) == [
        "Add", "Exp", "Exp", "If", "Mul", "Mul", "Sin", "Sin", "Sin", "Sub",
    ]  # fmt: skip
    assert result.declined == ("q is an output of its subgraph",)
    assert [len(graph.initializers) for graph in result.model.graph.subgraphs()] == [1, 0]
    result.assert_same()


def test_large_constants_of_a_branch_are_the_outer_ones(
    rewrite: Rewrite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_duplicates, "SMALL_BYTES", 11)
    result = rewrite(NESTED, MergeDuplicates())
    assert [len(graph.initializers) for graph in result.model.graph.subgraphs()] == [0, 0]
    result.assert_same()


def test_sizes_of_a_branch_stay_where_inference_sees_them(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]>
        g (bool flag, float[1,2,3,4] x) => (float[a,b,c,d] y, float[e,f] z) <float[0] n = {},
        int64[2] r = {6,4}> {
        y = If (flag) <
            then_branch = t () => (float[1,2,6,8] p) <float[0] o = {}, int64[4] s = {1,2,6,8}> {
                p = Resize (x, o, o, s) },
            else_branch = e () => (float[1,2,6,8] q) <float[0] m = {}, int64[4] k = {1,2,6,8}> {
                q = Resize <mode = "linear"> (x, m, m, k) }
        > z = Reshape (x, r) w = Pow (n, n) }"""
    result = rewrite(text, MergeDuplicates())
    assert not result.applied
    result.assert_same()


def test_a_node_of_another_domain_may_have_a_state(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "me" : 1]> g (float[2,3] x) => (float[2,3] y) {
        a = me.counter (x) b = me.counter (x) y = Sub (a, b) }"""
    assert not rewrite(text, MergeDuplicates(), compare=False).applied


def test_outputs_that_are_left_out_count(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,6] x) => (float[2,2] y, int64[2,2] z) {
        k = Constant <value = int64[1] {2}> ()
        y, = TopK (x, k) v, z = TopK (x, k) }"""
    model = onnx.parser.parse_model(text.replace("y, =", "y, w ="))
    model.graph.node[1].output[1] = ""
    assert not run_pass(ir.from_proto(model), MergeDuplicates())[1].modified


def test_weights_in_a_file_are_read_only_when_they_may_be_equal(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(5)
    first = rng.standard_normal((100, 400)).astype(np.float32)
    second = first.copy()
    second[-1, -1] += 1
    other = rng.standard_normal((100, 400)).astype(np.float32)
    weights = [first, first.copy(), second, other]
    nodes = [onnx.helper.make_node("Add", [f"v{i}", f"w{i}"], [f"v{i + 1}"]) for i in range(4)]
    info = [onnx.helper.make_tensor_value_info(name, 1, [100, 400]) for name in ("v0", "v4")]
    graph = onnx.helper.make_graph(nodes, "g", info[:1], info[1:], [
        onnx.numpy_helper.from_array(array, f"w{i}") for i, array in enumerate(weights)
    ])  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path
    )
    model = load_model(path)
    assert all(isinstance(value.const_value, FileTensor) for value in model.graph.initializers.values())
    groups = list(equal_tensors(model.graph.initializers.values()))
    assert [[value.name for value in group] for group in groups] == [["w0", "w1"]]
    model, report = run_pass(model, MergeDuplicates())
    assert [change.what for change in report.applied] == ["w1 holds the same as w0"]
    assert list(model.graph.initializers) == ["w0", "w2", "w3"]


def test_what_is_computed_when_it_is_saved_is_not_computed_for_a_comparison() -> None:
    def compute() -> ir.TensorProtocol:
        raise AssertionError

    shape = ir.Shape([200, 200])
    lazy = [ir.LazyTensor(compute, dtype=ir.DataType.FLOAT, shape=shape) for _ in range(2)]
    assert not list(equal_tensors([ir.Value(name=f"w{i}", const_value=item) for i, item in enumerate(lazy)]))
    assert tensor_key(lazy[0]) != tensor_key(lazy[1])


def test_strings_are_compared_as_text() -> None:
    tensors = [ir.StringTensor(np.array(list(text), dtype=object)) for text in ("ab", "ab", "ba")]
    values = [ir.Value(name=f"s{i}", const_value=item) for i, item in enumerate(tensors)]
    assert [[value.name for value in group] for group in equal_tensors(values)] == [["s0", "s1"]]
