from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.softmax_axis_last import SoftmaxAxisLast

Rewrite = Callable[..., Any]

SUITABLE = (
    "r = Constant <value = int64[3] {{2,2,1}}> () f = Reshape ({x}, r) s = Softmax <axis = 0> (f)"
    " q = Constant <value = int64[2] {{1,4}}> () y = Reshape (s, q)"
)

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]> g (float[2,3,5,7] x) => (float[2,3,5,7] y)'


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [0, 1, 2, -2, -3])
def test_another_axis_is_brought_to_the_end_and_back(rewrite: Rewrite, op: str, axis: int) -> None:
    result = rewrite(HEAD.format(opset=13) + f"{{ y = {op} <axis = {axis}> (x) }}", SoftmaxAxisLast())
    assert result.ops == ["Transpose", op, "Transpose"]
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize("attribute", ["<axis = -1>", "<axis = 3>", ""])
def test_the_last_axis_stays(rewrite: Rewrite, attribute: str) -> None:
    result = rewrite(HEAD.format(opset=13) + f"{{ y = Softmax {attribute} (x) }}", SoftmaxAxisLast())
    assert result.applied == result.declined == ()


def test_an_old_softmax_over_several_axes_is_declined(rewrite: Rewrite) -> None:
    result = rewrite(HEAD.format(opset=11) + "{ y = Softmax (x) }", SoftmaxAxisLast())
    assert result.declined == ("in this opset it normalises over all axes from 1 on",)


def test_an_old_softmax_with_nothing_behind_its_axis_is_one_over_one_axis(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]> g (float[2,3,1] x) => (float[2,3,1] y)
    { y = Softmax <axis = 1> (x) }"""
    result = rewrite(text, SoftmaxAxisLast())
    assert result.ops == ["Transpose", "Softmax", "Transpose"]
    result.assert_same(rtol=1e-6)


def test_an_unknown_rank_is_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x, int64[n] s) => (float y)
    { r = Reshape (x, s) a = Softmax <axis = 0> (r) y = ReduceSum <keepdims = 0> (a) }"""
    result = rewrite(text, SoftmaxAxisLast(), compare=False)
    assert result.declined == ("the rank of its input is not known",)
