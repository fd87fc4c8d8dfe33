from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.matmul_to_gemm import MatmulToGemm

Rewrite = Callable[..., Any]

SUITABLE = (
    "w = Constant <value = float[4,4] {{1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}}> () m = MatMul ({x}, w)"
    " c = Constant <value = float[4] {{1,2,3,4}}> () y = Add (m, c)"
)

HEAD = (
    '<ir_version: 8, opset_import: ["" : 13]> g (float[3,5] x, float[5,7] w, float[{b}] b) => (float[3,7] y)'
)


@pytest.mark.parametrize("order", ["m, b", "b, m"])
@pytest.mark.parametrize("bias", ["7", "1", "3,1", "3,7"])
def test_product_and_bias_become_one(rewrite: Rewrite, order: str, bias: str) -> None:
    result = rewrite(
        HEAD.format(b=bias) + f"{{ m = MatMul (x, w) y = Add ({order}) }}", MatmulToGemm(), weights=("w", "b")
    )
    assert result.ops == ["Gemm"]
    result.assert_same(rtol=1e-6)


def test_a_product_that_others_read_is_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[3,5] x, float[5,7] w, float[7] b) => (float[3,7] y, float[3,7] z)
    { m = MatMul (x, w) y = Add (m, b) z = Relu (m) }"""
    (why,) = rewrite(text, MatmulToGemm(), weights=("w", "b")).declined
    assert why.startswith("m is also read by")


def test_a_batch_and_a_bias_of_higher_rank_are_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[2,3,5] x, float[5,7] w, float[7] b) => (float[2,3,7] y) { m = MatMul (x, w) y = Add (m, b) }"""
    assert rewrite(text, MatmulToGemm(), weights=("w", "b")).declined == (
        "the MatMul is of ranks [3, 2], Gemm takes matrices",
    )
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[3,5] x, float[5,7] w, float[2,3,7] b) => (float[2,3,7] y) { m = MatMul (x, w) y = Add (m, b) }"""
    assert rewrite(text, MatmulToGemm(), weights=("w", "b")).declined == (
        "the bias does not broadcast to the product",
    )


def test_integers_and_old_opsets_are_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : {opset}]>
    g ({t}[3,5] x, {t}[5,7] w) => ({t}[3,7] y) <{t}[7] b = {{1,2,3,4,5,6,7}}> {{
        m = MatMul (x, w) y = Add (m, b) }}"""
    (why,) = rewrite(text.format(opset=13, t="int32"), MatmulToGemm(), compare=False).declined
    assert "INT32" in why
    (why,) = rewrite(text.format(opset=6, t="float"), MatmulToGemm(), compare=False).declined
    assert "opset 6" in why


def test_a_sum_of_something_else_is_no_candidate(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD.format(b="7") + "{ m = MatMul (x, w) r = Relu (m) y = Add (r, b) }",
        MatmulToGemm(),
        weights=("b",),
    )
    assert result.applied == result.declined == ()
