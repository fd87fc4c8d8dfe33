from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.surgery.folding import constant_batch
from graphopt.surgery.passes.fold_constants import FoldConstants

Rewrite = Callable[..., Any]

HEAD = '<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x) => (float[2,3] y)'

SUITABLE = "c = Constant <value_float = 2.0> () d = Exp (c) y = Mul ({x}, d)"


def test_a_chain_is_folded_in_one_go_in_one_batch(rewrite: Rewrite, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    original = constant_batch.ConstantBatch.run

    def counted(self: constant_batch.ConstantBatch, *arguments: Any) -> Any:
        runs.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(constant_batch.ConstantBatch, "run", counted)
    result = rewrite(
        HEAD
        + """<float[3] w = {1,2,3}> {
            a = Exp (w) b = Neg (a) c = Constant <value_float = 2.0> () d = Mul (b, c) e = Identity (d)
            y = Add (x, e)
        }""",
        FoldConstants(),
    )
    assert result.ops == ["Add"]
    assert len(runs) == 1
    assert list(result.model.graph.initializers) == ["e"]
    result.assert_same()


def test_constant_nodes_become_initializers(rewrite: Rewrite) -> None:
    result = rewrite(HEAD + "{ c = Constant <value = float[3] {1,2,3}> () y = Add (x, c) }", FoldConstants())
    assert result.ops == ["Add"]
    assert list(result.model.graph.initializers) == ["c"]
    result.assert_same()


def test_every_output_that_is_read_is_folded(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD
        + """<float[6] w = {1,2,3,4,5,6}> {
            a, b = Split <axis = 0> (w)
            c = Add (x, a)
            y = Mul (c, b)
        }""",
        FoldConstants(),
    )
    assert result.ops == ["Add", "Mul"]
    assert sorted(result.model.graph.initializers) == ["a", "b"]
    result.assert_same()


def test_a_constant_graph_output_stays_an_output_made_by_a_node(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[3] x) => (float[3] y, float[3] z) <float[3] w = {1,2,3}> { z = Exp (w) y = Add (x, z) }"""
    result = rewrite(text, FoldConstants())
    assert sorted(result.ops) == ["Add", "Constant"]
    assert [value.name for value in result.model.graph.outputs] == ["y", "z"]
    result.assert_same()


def test_a_shared_initializer_stays_as_it_is(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD + "<float[3] w = {1,2,3}> { a = Neg (w) b = Add (x, w) y = Mul (b, a) }", FoldConstants()
    )
    assert result.model.graph.initializers["w"].const_value.numpy().tolist() == [1, 2, 3]
    assert result.model.graph.initializers["a"].const_value.numpy().tolist() == [-1, -2, -3]
    result.assert_same()


def test_a_result_that_would_blow_up_the_file_is_left_to_run_time(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1] x) => (float[600,600] y) <int64[2] s = {600,600}> {
            a = ConstantOfShape (s) y = Add (x, a)
        }"""
    result = rewrite(text, FoldConstants())
    assert not result.applied
    assert result.declined == ("the constant would add 1439984 bytes (max_bytes is 1048576)",)
    allowed = rewrite(text, FoldConstants(max_bytes=2_000_000))
    assert allowed.ops == ["Add"]
    allowed.assert_same()


def test_nothing_huge_is_computed_even_when_the_size_is_computed_too(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1] x) => (float y) <int64[1] s = {1000000}> {
            t = Mul (s, s) u = Identity (t) a = ConstantOfShape (u) b = ReduceMax <keepdims=0> (a)
            c = Add (x, b) y = ReduceSum <keepdims=0> (c)
        }"""
    result = rewrite(text, FoldConstants(), compare=False)
    assert any("would add 3999999999992 bytes" in why for why in result.declined)
    assert "ConstantOfShape" in result.ops


def test_a_weight_may_be_rearranged_however_large(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,500] x, float[600,500] w) => (float[1,600] y) { t = Transpose (w) y = MatMul (x, t) }"""
    result = rewrite(text, FoldConstants(), ("w",))
    assert result.ops == ["MatMul"]
    assert list(result.model.graph.initializers) == ["t"]
    result.assert_same(rtol=1e-6)


def test_one_of_many_readers_of_a_weight_does_not_get_a_free_copy(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,600] x, float[600,600] w) => (float[1,600] y) {
            t = Transpose (w) a = MatMul (x, t) y = MatMul (a, w)
        }"""
    result = rewrite(text, FoldConstants(), ("w",))
    assert "Transpose" in result.ops
    assert "would add 1440000 bytes" in result.declined[0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = RandomNormalLike (w) y = Add (x, a)", "other numbers in each run"),
        ("a = Bernoulli (p) y = Add (x, a)", "other numbers in each run"),
        ("a = DequantizeLinear (q, s) y = Add (x, a)", "quantisation"),
        ("a = local.F (w) y = Add (x, a)", "local.F is no standard operator"),
        (
            """a = If (flag) <then_branch = t () => (float[3] u) { u = Neg (w) },
                else_branch = e () => (float[3] v) { v = Exp (w) }> y = Add (x, a)""",
            "it has a subgraph",
        ),
    ],
)
def test_what_must_run_stays(rewrite: Rewrite, body: str, reason: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 15, "local" : 1]>
        g (float[2,3] x) => (float[2,3] y)
        <float[3] w = {{1,2,3}}, float[3] p = {{0.5,0.5,0.5}}, bool flag = {{1}},
         uint8[3] q = {{1,2,3}}, float s = {{0.5}}> {{ {body} }}
        <domain: "local", opset_import: ["" : 15]> F (a) => (b) {{ b = Neg (a) }}"""
    result = rewrite(text, FoldConstants())
    assert any(reason in why for why in result.declined), result.declined


def test_a_node_that_cannot_be_computed_does_not_stop_its_neighbours(rewrite: Rewrite) -> None:
    # Reshape to an impossible shape fails at run time; the checker cannot know.
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[3] x) => (float[3] y, float[4] z)
        <float[3] w = {1,2,3}, int64[1] four = {4}, int64[1] zero = {0}> {
            a = Exp (w)
            two = Add (four, zero)
            b = Reshape (w, two)
            c = Neg (b)
            d = Exp (a)
            y = Add (x, d)
            z = Abs (c)
        }"""
    result = rewrite(text, FoldConstants(), compare=False)
    assert "d" in result.model.graph.initializers
    assert any("onnxruntime cannot compute it" in why or "cannot be told" in why for why in result.declined)


def test_sibling_subgraphs_may_use_the_same_names(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (bool flag, float[3] x) => (float[3] y) <float[3] w = {1,2,3}> {
            y = If (flag) <
                then_branch = t () => (float[3] p) { a = Neg (w) p = Add (x, a) },
                else_branch = e () => (float[3] q) { a = Exp (w) q = Add (x, a) }
            >
        }"""
    result = rewrite(text, FoldConstants())
    assert sorted(node.op_type for node in result.model.graph.all_nodes()) == ["Add", "Add", "If"]
    result.assert_same()


def test_bodies_of_functions_get_constant_nodes(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (float[3] x) => (float[3] y) { y = local.F (x) }
        <domain: "local", opset_import: ["" : 13]>
        F (a) => (b) { c = Constant <value = float[3] {1,2,3}> () d = Exp (c) e = Neg (d) b = Add (a, e) }"""
    result = rewrite(text, FoldConstants())
    (function,) = result.model.functions.values()
    assert [node.op_type for node in function] == ["Constant", "Add"]
    result.assert_same()


def test_half_precision_is_computed_in_half_precision(
    rewrite: Rewrite,
) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float16[3] x) => (float16[3] y) <float[3] w = {0.1,0.2,0.3}> {
            h = Cast <to = 10> (w) a = Mul (h, h) y = Add (x, a)
        }"""
    result = rewrite(text, FoldConstants())
    tensor = result.model.graph.initializers["a"].const_value
    assert tensor.dtype == ir.DataType.FLOAT16
    half = np.array([0.1, 0.2, 0.3], dtype=np.float32).astype(np.float16)
    # onnxruntime may keep the product of two halves in float32 until it is stored.
    np.testing.assert_allclose(tensor.numpy(), half * half, rtol=2**-10)
    result.assert_same(rtol=2**-10)


def test_what_is_large_only_on_the_way_to_something_small_is_computed(rewrite: Rewrite) -> None:
    # How the statistics of standardised weights are exported: from a weight that something else reads.
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1] x) => (float[1,1] y) <int64[2] s = {600,700}, int64[2] t = {700,600}> {
            w = ConstantOfShape <value = float[1] {3}> (s) flat = Reshape (w, t) m = ReduceMean (flat)
            y = Mul (x, m)
        }"""
    result = rewrite(text, FoldConstants())
    assert result.ops == ["Mul"]
    assert result.declined == ()
    result.assert_same(rtol=1e-6)


def test_what_something_else_needs_in_full_is_not_computed_for_a_smaller_one(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1] x) => (float[1,1] y, float[600,700] z) <int64[2] s = {600,700}> {
            w = ConstantOfShape <value = float[1] {3}> (s) m = ReduceMean (w) y = Mul (x, m) z = Add (x, w)
        }"""
    result = rewrite(text, FoldConstants())
    assert not result.applied
    assert result.declined == ("the constant would add 1679984 bytes (max_bytes is 1048576)",)


def test_a_model_of_an_ir_version_whose_initializers_are_inputs_gets_a_newer_one(rewrite: Rewrite) -> None:
    text = """<ir_version: 3, opset_import: ["" : 9]> g (float[2] x) => (float[2] y)
        { c = Constant <value = float[2] {1, 2}> () y = Add (x, c) }"""
    result = rewrite(text, FoldConstants())
    assert result.ops == ["Add"]
    assert result.model.ir_version == 4
    onnx.checker.check_model(ir.to_proto(result.model))
