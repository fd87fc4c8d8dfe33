from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.merge_reductions import MergeReductions

Rewrite = Callable[..., Any]

SUITABLE = """
    e = Exp ({x}) m = ReduceMax <axes = [1], keepdims = 0> (e) i = Constant <value_ints = [1]> ()
    u = Unsqueeze (m, i) y = Add (u, {x})
"""


def graph(body: str, *, opset: int = 11, outputs: str = "float[a,b,c] y") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[2,3,5,7] x) => ({outputs})
        <int64[1] one = {{1}}, int64[1] three = {{3}}, int64[2] both = {{0,2}}> {{ {body} }}"""


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"])
@pytest.mark.parametrize(
    ("body", "axes", "keepdims"),
    [
        ("m = OP <axes = [1], keepdims = 0> (x) y = Unsqueeze <axes = [1]> (m)", [1], 1),
        ("m = OP <axes = [-1, 1], keepdims = 0> (x) y = Unsqueeze <axes = [1, 3]> (m)", [1, 3], 1),
        ("m = OP <axes = [2], keepdims = 1> (x) y = Squeeze <axes = [-2]> (m)", [2], 0),
        ("m = OP <axes = [3]> (x) y = OP <axes = [1]> (m)", [1, 3], 1),
        ("m = OP <axes = [1], keepdims = 0> (x) y = OP <axes = [-1], keepdims = 0> (m)", [1, 3], 0),
        ("m = OP <axes = [0], keepdims = 0> (x) y = OP <axes = [0, 1], keepdims = 0> (m)", [0, 1, 2], 0),
    ],
)
def test_steps_become_one_reduction(
    rewrite: Rewrite, op: str, body: str, axes: list[int], keepdims: int
) -> None:
    rank = 4 if keepdims else 4 - len(axes)
    outputs = f"float[{','.join('abcd'[:rank])}] y"
    result = rewrite(graph(body.replace("OP", op), outputs=outputs), MergeReductions())
    assert result.ops == [op]
    (node,) = result.model.graph
    assert list(node.attributes["axes"].as_ints()) == axes
    assert node.attributes["keepdims"].as_int() == keepdims
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("opset", [13, 18])
def test_axes_that_are_inputs(rewrite: Rewrite, opset: int) -> None:
    body = "m = ReduceSum <keepdims = 0> (x, both) y = Unsqueeze (m, both)"
    result = rewrite(graph(body, opset=opset, outputs="float[a,b,c,d] y"), MergeReductions())
    assert result.ops == ["ReduceSum"]
    assert result.model.graph[0].inputs[1].const_value.numpy().tolist() == [0, 2]
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "rank"),
    [
        ("m = ReduceMax <axes = [1], keepdims = 0> (x) y = Unsqueeze <axes = [2]> (m)", 4),
        ("m = ReduceMax <axes = [1], keepdims = 0> (x) n = ReduceMax <axes = [1]> (m) y = Relu (n)", 3),
        ("m = ReduceMax <axes = [1]> (x) y = ReduceMax <axes = [2], keepdims = 0> (m)", 3),
        ("m = ReduceMax <axes = [1]> (x) y = ReduceMean <axes = [2]> (m)", 4),
        ("m = ReduceMax <axes = [1]> (x) n = Unsqueeze <axes = [1]> (m) y = Squeeze <axes = [1]> (n)", 4),
    ],
)
def test_other_steps_are_left_alone(rewrite: Rewrite, body: str, rank: int) -> None:
    result = rewrite(graph(body, outputs=f"float[{','.join('abcd'[:rank])}] y"), MergeReductions())
    assert not result.applied
    result.assert_same()


def test_what_others_read_too_is_declined(rewrite: Rewrite) -> None:
    body = "m = ReduceMax <axes = [1], keepdims = 0> (x) y = Unsqueeze <axes = [1]> (m) z = Relu (m)"
    result = rewrite(graph(body, outputs="float[a,b,c,d] y, float[e,f,g] z"), MergeReductions())
    assert result.declined == ("m is also read by Relu z",)


def test_axes_that_are_computed_or_left_out_are_declined(rewrite: Rewrite) -> None:
    body = "m = ReduceMax <keepdims = 1> (x) y = Squeeze <axes = [1]> (m)"
    result = rewrite(graph(body), MergeReductions())
    assert result.declined == ("its axes, or those of the reduction above, are not constant",)


def test_an_unknown_rank_is_declined(rewrite: Rewrite) -> None:
    body = """s = Shape (x) f = Cast <to = 1> (s) n = NonZero (f) q = Squeeze (n) r = Reshape (x, s)
        k = Reshape (r, q) m = ReduceMax <axes = [0], keepdims = 0> (k) y = Unsqueeze <axes = [0]> (m)"""
    result = rewrite(graph(body, outputs="float[a,b,c,d] y"), MergeReductions(), compare=False)
    assert not result.applied
    assert result.declined == ("the rank of what is reduced is not known",)
