from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.decompose_l2norm import DecomposeL2norm

Rewrite = Callable[..., Any]

SUITABLE = "y = LpNormalization <axis = 1, p = 2> ({x})"

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]> g (float[2,3,5] x) => (float[{y}] y)'


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_lp_normalization_is_written_out(rewrite: Rewrite, p: int, axis: int, opset: int) -> None:
    text = HEAD.format(opset=opset, y="2,3,5") + f"{{ y = LpNormalization <p = {p}, axis = {axis}> (x) }}"
    result = rewrite(text, DecomposeL2norm())
    assert result.ops[-1] == "Div"
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [("axes = [1]", "2,1,5"), ("axes = [0,-1], keepdims = 0", "3"), ("keepdims = 0", "")],
)
def test_reduce_l2_is_written_out(rewrite: Rewrite, attributes: str, shape: str) -> None:
    head = HEAD.format(opset=13, y=shape) if shape else HEAD.format(opset=13, y="1").replace("[1] y", " y")
    result = rewrite(head + f"{{ y = ReduceL2 <{attributes}> (x) }}", DecomposeL2norm())
    assert result.ops == ["Mul", "ReduceSum", "Sqrt"]
    result.assert_same(rtol=1e-6)


def test_axes_that_are_an_input_are_read(rewrite: Rewrite) -> None:
    text = HEAD.format(opset=18, y="2,1,5") + "<int64[1] a = {1}> { y = ReduceL2 (x, a) }"
    result = rewrite(text, DecomposeL2norm())
    assert result.ops == ["Mul", "ReduceSum", "Sqrt"]
    result.assert_same(rtol=1e-6)


def test_computed_axes_and_other_types_are_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]> g (float[2,3,5] x, int64[1] a) => (float[2,1,5] y)
    { y = ReduceL2 (x, a) }"""
    assert rewrite(text, DecomposeL2norm(), compare=False).declined == ("its axes are not known",)
    text = HEAD.format(opset=13, y="2,1,5").replace("float", "float16") + "{ y = ReduceL2 <axes = [1]> (x) }"
    (why,) = rewrite(text, DecomposeL2norm(), compare=False).declined
    assert why == "squares of FLOAT16 data may overflow"
