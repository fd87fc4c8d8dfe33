from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.gemm_to_matmul import GemmToMatmul

Rewrite = Callable[..., Any]

SUITABLE = "w = Constant <value = float[4,4] {{1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}}> () y = Gemm ({x}, w)"

HEAD = (
    '<ir_version: 8, opset_import: ["" : 13]> g (float[{a}] x, float[{b}] w, float[{c}] b) => (float[3,7] y)'
)


@pytest.mark.parametrize("constant", [(), ("w",), ("w", "b")])
@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("factors", ["", ", alpha = 1.5, beta = 0.25", ", beta = 0.0"])
def test_every_form_computes_the_same(
    rewrite: Rewrite, constant: tuple[str, ...], trans_a: int, trans_b: int, factors: str
) -> None:
    head = HEAD.format(a="5,3" if trans_a else "3,5", b="7,5" if trans_b else "5,7", c="7")
    body = f"{{ y = Gemm <transA = {trans_a}, transB = {trans_b}{factors}> (x, w, b) }}"
    result = rewrite(head + body, GemmToMatmul(), weights=constant)
    assert "Gemm" not in result.ops
    if constant == ("w", "b"):
        assert result.ops == (["Transpose"] if trans_a else []) + ["MatMul", "Add"]
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("shape", ["1", "3,1", "1,7", "3,7"])
def test_every_shape_of_bias_broadcasts_as_before(rewrite: Rewrite, shape: str) -> None:
    result = rewrite(
        HEAD.format(a="3,5", b="5,7", c=shape) + "{ y = Gemm (x, w, b) }", GemmToMatmul(), weights=("w", "b")
    )
    assert result.ops == ["MatMul", "Add"]
    result.assert_same(rtol=1e-6)


def test_without_a_bias_only_the_product_is_left(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[3,5] x, float[5,7] w) => (float[3,7] y)
    { y = Gemm (x, w) }"""
    result = rewrite(text, GemmToMatmul(), weights=("w",))
    assert result.ops == ["MatMul"]
    result.assert_same(rtol=1e-6)


def test_scaled_integers_and_old_opsets_are_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : {opset}]>
    g ({t}[3,5] x, {t}[5,7] w, {t}[7] b) => ({t}[3,7] y)
    {{ y = Gemm <alpha = 2.0> (x, w, b) }}"""
    scaled = rewrite(text.format(opset=13, t="int32"), GemmToMatmul(), compare=False)
    assert scaled.declined == ("it scales numbers whose dtype is no float that is known",)
    old = rewrite(text.format(opset=6, t="float"), GemmToMatmul(), compare=False)
    assert old.declined == ("Gemm of opset 6 and older broadcasts by an attribute",)
