from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.merge_concats import MergeConcats

SUITABLE = """
    a = Exp ({x}) b = Concat <axis = 0> (a, {x}) c = Concat <axis = 0> (b, a)
    y = ReduceMax <axes = [0]> (c)
"""

Rewrite = Callable[..., Any]
TEXT = (
    '<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x, float[2,5] w) => (float[a,b] y{more}) {body}'
)


def graph(body: str, more: str = "") -> str:
    return TEXT.format(body=f"{{ v = Exp (x) {body} }}", more=more)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("a = Concat <axis = 1> (v, w) y = Concat <axis = 1> (a, x)", ["v", "w", "x"]),
        ("a = Concat <axis = 1> (v, w) y = Concat <axis = 1> (x, a, a)", ["x", "v", "w", "v", "w"]),
        ("a = Concat <axis = 1> (v, w) y = Concat <axis = -1> (x, a)", ["x", "v", "w"]),
        (
            "a = Concat <axis = 1> (v, w) b = Concat <axis = 1> (x, a) y = Concat <axis = 1> (b, w)",
            ["x", "v", "w", "w"],
        ),
    ],
)
def test_nested_concats_become_one(rewrite: Rewrite, body: str, names: list[str]) -> None:
    result = rewrite(graph(body), MergeConcats())
    assert result.ops == ["Exp", "Concat"]
    assert [value.name for value in result.model.graph[1].inputs] == names
    result.assert_same()


def test_another_axis_is_declined(rewrite: Rewrite) -> None:
    result = rewrite(graph("a = Concat <axis = 0> (v, x) y = Concat <axis = 1> (a, a)"), MergeConcats())
    assert result.declined == ("Concat a joins along axis 0, not 1",)
    result.assert_same()


def test_what_others_read_too_stays_while_the_rest_is_taken_over(rewrite: Rewrite) -> None:
    body = """a = Concat <axis = 1> (v, w) b = Concat <axis = 1> (x, w)
        y = Concat <axis = 1> (a, b) z = Neg (a)"""
    result = rewrite(graph(body, more=", float[c,d] z"), MergeConcats())
    assert result.ops == ["Exp", "Concat", "Concat", "Neg"]
    assert result.declined == ("a is also read by Neg z",)
    result.assert_same()


def test_a_concat_of_the_outer_graph_is_left_alone(rewrite: Rewrite) -> None:
    body = """a = Concat <axis = 1> (v, x) f = ReduceMax <keepdims = 0> (x) t = Cast <to = 9> (f)
        y = If (t) < then_branch = p () => (float[a,b] q) { q = Concat <axis = 1> (a, x) },
                     else_branch = r () => (float[a,b] s) { s = Neg (a) } >"""
    result = rewrite(graph(body), MergeConcats())
    assert not result.applied
    result.assert_same()


def test_axes_of_a_function(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "me" : 1]> g (float[2,3] x) => (float[a,b] y)
        { y = me.join <along = 1> (x) }
        <domain: "me", opset_import: ["" : 13]> join <along> (v) => (w) {
            a = Concat <axis = 1> (v, v) b = Concat <axis = 1> (a, v) c = Concat <axis = -1> (b, v)
            w = Concat <axis : int = @along> (c, v) }"""
    result = rewrite(text, MergeConcats())
    assert len(result.applied) == 1
    assert result.declined == (
        "Concat b.concat_node counts its axis from the other end of a tensor of unknown rank",
        "its axis is not given, or comes from the caller of its function",
    )
    result.assert_same()
