from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.split_qkv import SplitQkv

PREPARE = "static_shapes,fold_constants"

Rewrite = Callable[..., Any]

SUITABLE = """<ir_version: 8, opset_import: ["" : 13]>
g (float[1,2,2] x) => (float[1,2,1,2] q, float[1,2,1,2] k, float[1,2,1,2] v)
<float[2,6] w = {1,2,3,4,5,6,7,8,9,1,2,3}, int64[5] s = {1,2,3,1,2},
 int64 i = {0}, int64 j = {1}, int64 l = {2}>
{
    m = MatMul (x, w) r = Reshape (m, s) t = Transpose <perm = [2,0,1,3,4]> (r)
    q = Gather (t, i) k = Gather (t, j) v = Gather (t, l)
}"""


def model(
    *,
    bias: bool = True,
    sizes: str = "2,5,3,2,4",
    perm: str = "2,0,3,1,4",
    batch: str = "2",
    indices: tuple[str, str, str] = ("0", "1", "2"),
    tail: str = "q = Gather (t, i0) k = Gather (t, i1) v = Gather (t, i2)",
    outputs: str = "",
) -> str:
    add = "a = Add (b, m)" if bias else "a = Identity (m)"
    i0, i1, i2 = indices
    shown = f"float[{batch},2,5,4] q, float[{batch},2,5,4] k, float[{batch},2,5,4] v"
    count = sizes.count(",") + 1
    text = f"""<ir_version: 8, opset_import: ["" : 13]>
    g (float[{batch},5,7] x, float[7,24] w, float[24] b) => ({shown}{outputs})
    <int64[{count}] s = {{{sizes}}}, int64 i0 = {{{i0}}}, int64 i1 = {{{i1}}}, int64 i2 = {{{i2}}}> {{
        m = MatMul (x, w) {add} r = Reshape (a, s) t = Transpose <perm = [{perm}]> (r)
        {tail}
    }}"""
    return text if bias else text.replace("a = Identity (m)", "").replace("(a, s)", "(m, s)")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("indices", [("0", "1", "2"), ("0", "1", "-1"), ("2", "0", "1")])
def test_three_products_give_the_three_parts(
    rewrite: Rewrite, bias: bool, indices: tuple[str, str, str]
) -> None:
    result = rewrite(model(bias=bias, indices=indices), SplitQkv(), weights=("w", "b"))
    assert result.ops.count("MatMul") == 3
    assert "Gather" not in result.ops
    result.assert_same(rtol=1e-6)


def test_parts_that_lie_behind_the_heads_are_picked_column_by_column(rewrite: Rewrite) -> None:
    result = rewrite(model(sizes="2,5,2,3,4", perm="3,0,2,1,4"), SplitQkv(), weights=("w", "b"))
    assert result.ops.count("MatMul") == 3
    result.assert_same(rtol=1e-6)


def test_an_unknown_batch_is_no_hindrance(rewrite: Rewrite) -> None:
    result = rewrite(model(batch="n", sizes="-1,5,3,2,4"), SplitQkv(), weights=("w", "b"))
    assert result.ops.count("MatMul") == 3
    result.assert_same(rtol=1e-6)


def test_what_else_reads_a_value_in_between_is_named(rewrite: Rewrite) -> None:
    tail = "q = Gather (t, i0) k = Gather (t, i1) v = Gather (t, i2) z = Relu (m)"
    result = rewrite(model(tail=tail, outputs=", float[2,5,24] z"), SplitQkv(), weights=("w", "b"))
    (why,) = result.declined
    assert why.startswith("m is also read by Relu")
    result = rewrite(model(outputs=", float[3,2,2,5,4] t"), SplitQkv(), weights=("w", "b"))
    assert result.declined == ("t is a graph output",)


def test_computed_weights_and_biases_are_declined(rewrite: Rewrite) -> None:
    (why,) = rewrite(model(), SplitQkv(), weights=("b",)).declined
    assert why.startswith("the weight of MatMul")
    (why,) = rewrite(model(), SplitQkv(), weights=("w",)).declined
    assert why.startswith("the bias of Add")


def test_gathers_of_several_parts_are_declined(rewrite: Rewrite) -> None:
    text = (
        model()
        .replace("int64 i0 = {0}", "int64[1] i0 = {0}")
        .replace("float[2,2,5,4] q", "float[1,2,2,5,4] q")
    )
    (why,) = rewrite(text, SplitQkv(), weights=("w", "b")).declined
    assert why.endswith("takes more than one part, or one that is computed")
