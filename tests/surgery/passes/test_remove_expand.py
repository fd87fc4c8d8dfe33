from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.remove_expand import RemoveExpand

SUITABLE = """
    s = Constant <value = int64[2] {{3,4}}> () a = Expand ({x}, s) b = Concat <axis = 0> ({x}, {x}, {x})
    c = Add (a, b) y = ReduceMax <axes = [0]> (c)
"""
PREPARE = "static_shapes"

Rewrite = Callable[..., Any]


def graph(body: str, small: str = "2,1,1", large: str = "2,3,4") -> str:
    return f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[{small}] x, float[{large}] w) => (float[a,b,c] y) <int64[3] full = {{2,3,4}},
        int64[3] times = {{1,3,4}}, int64[3] more = {{2,3,4}}, int64[3] one = {{1,1,1}}>
        {{ v = Relu (x) {body} }}"""


@pytest.mark.parametrize(
    "body",
    [
        "a = Expand (v, full) y = Add (a, w)",
        "a = Expand (v, full) y = Sub (w, a)",
        "a = Tile (v, times) y = Mul (w, a)",
        "a = Expand (v, full) b = Less (a, w) c = Where (b, w, a) y = Exp (c)",
        "a = Expand (v, full) b = Expand (v, full) c = Max (a, b, w) y = Exp (c)",
        "a = Expand (v, one) b = Tile (a, one) y = Add (b, w)",
    ],
)
def test_readers_broadcast_by_themselves(rewrite: Rewrite, body: str) -> None:
    result = rewrite(graph(body), RemoveExpand())
    assert not {"Expand", "Tile"} & set(result.ops)
    result.assert_same()


def test_one_of_two_operands_gives_way(rewrite: Rewrite) -> None:
    result = rewrite(graph("a = Expand (v, full) b = Expand (v, full) y = Mul (a, b)"), RemoveExpand())
    assert result.ops.count("Expand") == 1
    assert result.declined == ("Mul y has no other input of the full shape",)
    result.assert_same()


def test_named_sizes_are_followed(rewrite: Rewrite) -> None:
    body = "s = Shape (w) a = Expand (v, s) y = Add (a, w)"
    result = rewrite(graph(body, small="n,1,1", large="n,m,4"), RemoveExpand())
    assert result.ops == ["Relu", "Add"]
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("y = Expand (v, full)", "y is a graph output"),
        ("a = Expand (v, full) y = Concat <axis = 0> (a, w)", "Concat y does not broadcast"),
        ("a = Expand (v, full) y = Mul (a, v)", "Mul y has no other input of the full shape"),
        ("a = Expand (v, full) b = Add (a, w) c = Neg (a) y = Mul (b, c)", "Neg c does not broadcast"),
        ("a = Tile (v, more) b = Add (a, q) y = Exp (b)", "it repeats more than single elements"),
        ("s = Shape (w) a = Tile (v, s) b = Add (a, q) y = Exp (b)", "how often it repeats what is unknown"),
    ],
)
def test_reasons_to_decline(rewrite: Rewrite, body: str, why: str) -> None:
    text = graph(body).replace("(float[2,1,1] x,", "(float[2,1,1] x, float[4,3,4] q,")
    result = rewrite(text, RemoveExpand())
    assert not result.applied
    assert why in result.declined
    result.assert_same()


def test_inside_functions_shapes_are_unknown(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "me" : 1]> g (float[2,1] x) => (float[a,b] y)
        { y = me.f (x) }
        <domain: "me", opset_import: ["" : 13]> f (v) => (w)
        { s = Constant <value_ints = [2,3]> () a = Expand (v, s) w = Add (a, v) }"""
    result = rewrite(text, RemoveExpand())
    assert result.declined == ("Add w has no other input of the full shape",)
    result.assert_same()


def test_what_repeats_nothing_into_an_output_keeps_its_name(rewrite: Rewrite) -> None:
    text = graph("y = Expand (x, one)")
    assert "from the graph input x" in rewrite(text, RemoveExpand()).declined[0]
    result = rewrite(graph("y = Expand (v, one)"), RemoveExpand())
    assert result.ops == ["Relu"]
    result.assert_same()
