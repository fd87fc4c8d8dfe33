from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.set_reduce_axes import SetReduceAxes

Rewrite = Callable[..., Any]

SUITABLE = "h = ReduceMean ({x}) y = Sub ({x}, h)"

HEAD = '<ir_version: 8, opset_import: ["" : %d]> g (float[2,3,5] x) => (float[1,1,1] y)'

STRANGE = """<ir_version: 8, opset_import: ["" : 11, "own" : 1]> g (float[3] x) => (float[1] y)
{ h = own.thing (x) y = ReduceMax (h) }"""


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceSum", "ReduceMean", "ReduceL2", "ReduceLogSumExp"])
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_all_axes_are_written(rewrite: Rewrite, op: str, opset: int) -> None:
    result = rewrite(HEAD % opset + f"{{ y = {op} (x) }}", SetReduceAxes())
    assert result.ops == [op]
    (node,) = result.model.graph
    if opset == 18 or (op, opset) == ("ReduceSum", 13):
        assert node.inputs[1].const_value.numpy().tolist() == [0, 1, 2]
    else:
        assert list(node.attributes["axes"].as_ints()) == [0, 1, 2]
    result.assert_same(rtol=1e-6)


def test_the_axes_that_go_away_stay_away(rewrite: Rewrite) -> None:
    text = HEAD.replace("float[1,1,1] y", "float y") % 11 + "{ y = ReduceMax <keepdims = 0> (x) }"
    result = rewrite(text, SetReduceAxes())
    (node,) = result.model.graph
    assert node.attributes["keepdims"].as_int() == 0
    result.assert_same()


def test_an_empty_list_means_all(rewrite: Rewrite) -> None:
    result = rewrite(HEAD % 18 + "<int64[0] a = {}> { y = ReduceMax (x, a) }", SetReduceAxes())
    assert len(result.applied) == 1
    result.assert_same()


@pytest.mark.parametrize(
    "body",
    [
        "y = ReduceMax <axes = [0, 1, 2]> (x)",
        "h = ReduceMax <axes = [1]> (x) y = ReduceMin <axes = [0, 2]> (h)",
    ],
)
def test_written_axes_stay(rewrite: Rewrite, body: str) -> None:
    result = rewrite(HEAD % 11 + f"{{ {body} }}", SetReduceAxes())
    assert not result.applied
    assert not result.declined


def test_a_reduction_that_does_nothing_is_left(rewrite: Rewrite) -> None:
    text = HEAD.replace("float[1,1,1] y", "float[2,3,5] y") % 18
    result = rewrite(text + "{ y = ReduceMax <noop_with_empty_axes = 1> (x) }", SetReduceAxes())
    assert not result.applied


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            HEAD.replace("x)", "x, int64[1] a)", 1) % 18 + "{ y = ReduceMax (x, a) }",
            "its axes are computed at run time",
        ),
        (
            HEAD.replace("float[2,3,5]", "float").replace("[1,1,1]", "") % 11 + "{ y = ReduceMax (x) }",
            "it has no axes",
        ),
        (
            STRANGE,
            "the rank is unknown",
        ),
    ],
)
def test_what_cannot_be_written_is_declined(rewrite: Rewrite, text: str, why: str) -> None:
    assert rewrite(text, SetReduceAxes(), compare=False).declined == (why,)
