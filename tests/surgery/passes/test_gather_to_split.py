from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.gather_to_split import GatherToSplit

SUITABLE = """
    s = Constant <value = int64[1] {{0}}> () e = Constant <value = int64[1] {{1}}> ()
    f = Constant <value = int64[1] {{4}}> ()
    a = Slice ({x}, s, e, e) b = Slice ({x}, e, f, e) c = Exp (a) y = Concat <axis = 1> (b, c)
"""
PREPARE = "static_shapes"

Rewrite = Callable[..., Any]
CONSTANTS = """<int64 zero = {0}, int64 one = {1}, int64 two = {-1}, int64[1] first = {0},
    int64[2] rest = {1,2}, int64[1] s0 = {0}, int64[1] s1 = {1}, int64[1] s2 = {2},
    int64[1] far = {9223372036854775807}>"""


def graph(body: str, outputs: str = "float[a,b] y", opset: int = 13, shape: str = "5,3,2") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{shape}] x) => ({outputs}) {CONSTANTS} {{ v = Relu (x) {body} }}"""


GATHERS = """a = Gather <axis = 1> (v, zero) b = Gather <axis = 1> (v, one) c = Gather <axis = -2> (v, two)
    d = Sub (a, b) y = Mul (d, c)"""
SLICES = """a = Slice (v, s0, s1, s1) b = Slice (v, s1, far, s1) c = ReduceMax <axes = [1], keepdims = 0> (b)
    d = Squeeze (a, s1) y = Mul (c, d)"""


OVERLAP = SLICES.replace("(v, s0, s1, s1)", "(v, s0, s2, s1)").replace(
    "Squeeze (a, s1)", "ReduceMin <axes = [1], keepdims = 0> (a)"
)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_gathers_that_cover_an_axis_become_a_split(rewrite: Rewrite, opset: int) -> None:
    result = rewrite(graph(GATHERS, opset=opset), GatherToSplit())
    assert result.ops == ["Relu", "Split", "Squeeze", "Squeeze", "Squeeze", "Sub", "Mul"]
    result.assert_same()


def test_slices_of_unequal_size_do_too(rewrite: Rewrite) -> None:
    result = rewrite(graph(SLICES), GatherToSplit())
    assert result.ops == ["Relu", "Split", "ReduceMax", "Squeeze", "Mul"]
    result.assert_same()


def test_both_kinds_may_mix_and_a_part_may_be_read_twice(rewrite: Rewrite) -> None:
    body = """a = Gather <axis = 1> (v, zero) b = Gather <axis = 1> (v, rest) c = Gather <axis = 1> (v, first)
        d = Gather <axis = 1> (v, zero) e = Add (b, c) f = Add (a, d) g = ReduceSum (e, s1)
        h = Squeeze (g, s1) y = Sub (h, f)"""
    result = rewrite(graph(body), GatherToSplit())
    assert "Gather" not in result.ops
    assert result.ops.count("Squeeze") == 2
    result.assert_same()


def test_parts_may_be_graph_outputs_twice_over(rewrite: Rewrite) -> None:
    body = """y = Gather <axis = 1> (v, zero) z = Gather <axis = 1> (v, zero) w = Gather <axis = 1> (v, rest)
        u = Gather <axis = 1> (v, rest)"""
    outputs = "float[a,b] y, float[c,d] z, float[e,f,g] w, float[h,i,j] u"
    result = rewrite(graph(body, outputs), GatherToSplit())
    assert sorted(result.ops) == ["Identity", "Identity", "Relu", "Split", "Squeeze"]
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (GATHERS.replace("(v, one)", "(v, zero)"), "0:1, 0:1, 2:3 do not cover axis 1 of v, of size 3, once"),
        (OVERLAP, "0:2, 1:3 do not cover axis 1 of v, of size 3, once"),
    ],
)  # fmt: skip
def test_gaps_and_overlaps_are_declined(rewrite: Rewrite, body: str, why: str) -> None:
    result = rewrite(graph(body), GatherToSplit())
    assert not result.applied
    assert result.declined == (why,)
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (GATHERS, "5,n,2"),
        ("a = Gather <axis = 1> (v, zero) y = Neg (a)", "5,3,2"),
        ("s = Shape (x) a = Gather (s, zero) b = Gather (s, one) y = Mul (a, b)", "5,3,2"),
        (GATHERS.replace("(v, two)", "(v, k)").replace("a =", "k = Size (first) a =", 1), "5,3,2"),
        ("t = Transpose (rest) a = Gather (rest, zero) b = Gather (rest, one) y = Add (a, b)", "5,3,2"),
    ],
)  # fmt: skip
def test_these_are_no_sites(rewrite: Rewrite, body: str, shape: str) -> None:
    outputs = "int64 y" if "Shape" in body or "rest" in body else "float[a,b] y"
    result = rewrite(graph(body, outputs, shape=shape), GatherToSplit(), compare=shape == "5,3,2")
    assert not result.applied
    result.assert_same()
