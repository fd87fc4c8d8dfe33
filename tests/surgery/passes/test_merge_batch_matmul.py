from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.merge_batch_matmul import MergeBatchMatmul

PREPARE = "static_shapes,fold_constants"

Rewrite = Callable[..., Any]

SUITABLE = (
    "r = Constant <value = int64[3] {{2,1,2}}> () f = Reshape ({x}, r)"
    " w = Constant <value = float[2,2] {{1,2,3,4}}> () m = MatMul (f, w)"
    " q = Constant <value = int64[2] {{1,4}}> () y = Reshape (m, q)"
)

HEAD = '<ir_version: 8, opset_import: ["" : 13]> g ({x} x, {w} w) => ({y} y) '


@pytest.mark.parametrize(
    ("x", "w", "y"),
    [
        ("float[2,3,5]", "float[5,7]", "float[2,3,7]"),
        ("float[2,3,4,5]", "float[5,7]", "float[2,3,4,7]"),
        ("float[2,3,4,5]", "float[1,5,7]", "float[2,3,4,7]"),
        ("float[n,3,5]", "float[5,7]", "float[n,3,7]"),
    ],
)
def test_a_batch_of_products_with_one_matrix_becomes_one_product(
    rewrite: Rewrite, x: str, w: str, y: str
) -> None:
    result = rewrite(HEAD.format(x=x, w=w, y=y) + "{ y = MatMul (x, w) }", MergeBatchMatmul(), weights=("w",))
    assert result.ops == ["Reshape", "MatMul", "Reshape"]
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "w", "y"),
    [("float[3,5]", "float[5,7]", "float[3,7]"), ("float[2,3,5]", "float[2,5,7]", "float[2,3,7]")],
)
def test_matrices_and_batches_of_matrices_stay(rewrite: Rewrite, x: str, w: str, y: str) -> None:
    result = rewrite(HEAD.format(x=x, w=w, y=y) + "{ y = MatMul (x, w) }", MergeBatchMatmul(), weights=("w",))
    assert result.applied == result.declined == ()


def test_a_computed_matrix_is_no_candidate(rewrite: Rewrite) -> None:
    text = HEAD.format(x="float[2,3,5]", w="float[5,7]", y="float[2,3,7]") + "{ y = MatMul (x, w) }"
    assert rewrite(text, MergeBatchMatmul()).applied == ()


def test_two_unknown_sizes_are_declined(rewrite: Rewrite) -> None:
    text = HEAD.format(x="float[n,m,5]", w="float[5,7]", y="float[n,m,7]") + "{ y = MatMul (x, w) }"
    (why,) = rewrite(text, MergeBatchMatmul(), weights=("w",)).declined
    assert why == "several sizes of [n, m, 5] are not known"


def test_an_unknown_rank_is_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x, int64[n] s, float[3,4] w) => (float y)
    { r = Reshape (x, s) m = MatMul (r, w) y = ReduceSum <keepdims = 0> (m) }"""
    result = rewrite(text, MergeBatchMatmul(), weights=("w",), compare=False)
    assert result.declined == ("the rank of its first input is not known",)
