from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.merge_transposes import MergeTransposes

SUITABLE = """
    a = Transpose <perm = [1, 0]> ({x}) b = Exp (a) k = Constant <value = float[4,1] {{1,2,3,4}}> ()
    c = Add (b, k) d = Transpose <perm = [1, 0]> (c) y = Sin (d)
"""

Rewrite = Callable[..., Any]
THERE, BACK, ON = "<perm = [0,2,3,1]>", "<perm = [0,3,1,2]>", "<perm = [0,1,3,2]>"


def graph(body: str, constants: str = "", outputs: str = "float[a,b,c,d] y", opset: int = 13) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[2,3,5,7] x, float[2,3,5,7] w) => ({outputs}) {constants} {{ v = Relu (x) {body} }}"""


@pytest.mark.parametrize(
    "body",
    [
        f"a = Transpose {THERE} (v) b = Transpose {BACK} (a) y = Exp (b)",
        "a = Transpose (v) b = Transpose (a) y = Exp (b)",
        "a = Transpose (v) b = Transpose <perm = [3,2,1,0]> (a) y = Exp (b)",
        f"a = Transpose {THERE} (v) b = Exp (a) c = Transpose {BACK} (b) y = Exp (c)",
        f"""k = Constant <value_float = 0.5> ()
        a = Transpose {THERE} (v) b = Clip (a, , k) y = Transpose {BACK} (b)""",
        f"a = Transpose {THERE} (v) b = Transpose {THERE} (w) c = Add (a, b) y = Transpose {BACK} (c)",
        f"a = Transpose {THERE} (v) b = Less (a, a) c = Where (b, a, a) y = Transpose {BACK} (c)",
        f"a = Transpose {THERE} (v) b = Cast <to = 11> (a) c = Transpose {BACK} (b) y = Cast <to = 1> (c)",
    ],
)
def test_what_cancels_goes(rewrite: Rewrite, body: str) -> None:
    result = rewrite(graph(body), MergeTransposes())
    assert "Transpose" not in result.ops
    result.assert_same()


@pytest.mark.parametrize(
    "body",
    [
        f"a = Transpose {THERE} (v) y = Transpose {ON} (a)",
        f"a = Transpose {THERE} (v) b = Exp (a) y = Transpose {ON} (b)",
        f"a = Transpose {THERE} (v) b = Transpose {ON} (a) c = Neg (b) y = Transpose <perm = [1,0,2,3]> (c)",
        f"a = Transpose (v) y = Transpose {ON} (a)",
        f"a = Transpose {THERE} (v) y = Transpose (a)",
    ],
)
def test_what_does_not_cancel_becomes_one(rewrite: Rewrite, body: str) -> None:
    result = rewrite(graph(body), MergeTransposes())
    assert result.ops.count("Transpose") == 1
    result.assert_same()


@pytest.mark.parametrize(
    "constant",
    ["float[3] k = {1,2,3}", "float[7,3] k = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21}",
     "float k = {2}", "float[1,1,1] k = {2}", "float[2,1,1,1] k = {5,6}"],
)  # fmt: skip
def test_constants_are_moved_with_the_rest(rewrite: Rewrite, constant: str) -> None:
    body = f"a = Transpose {THERE} (v) b = Mul (k, a) c = Relu (b) y = Transpose {BACK} (c)"
    result = rewrite(graph(body, f"<{constant}>"), MergeTransposes())
    assert result.ops == ["Relu", "Mul", "Relu"]
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f"a = Transpose {THERE} (v) y = Transpose {ON} (a) z = Neg (a)", "a is also read by Neg z"),
        (f"a = Transpose {THERE} (v) z = Neg (a) y = Transpose {BACK} (z)", "z is a graph output"),
        (
            f"a = Transpose {THERE} (v) b = Neg (a) y = Transpose {BACK} (b) z = Concat <axis = 0> (b, b)",
            "b is also read by Concat z",
        ),
        (
            f"a = Transpose {THERE} (x) y = Transpose {BACK} (a) z = Neg (v)",
            "it makes the graph output y from",
        ),
    ],
)
def test_where_nothing_is_gained_it_is_declined(rewrite: Rewrite, body: str, why: str) -> None:
    result = rewrite(graph(body, outputs="float[a,b,c,d] y, float[e,f,g,h] z"), MergeTransposes())
    assert not result.applied
    assert result.declined[0].startswith(why)
    result.assert_same()


def test_different_ways_above_are_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3,3] x) => (float[a,b,c] y) {
        a = Transpose <perm = [0,2,1]> (x) b = Transpose <perm = [0,1,2]> (x) c = Add (a, b)
        y = Transpose <perm = [0,2,1]> (c) }"""
    result = rewrite(text, MergeTransposes())
    assert result.declined == ("what it reads is transposed in 2 ways",)
    result.assert_same()


def test_a_constant_of_higher_rank_is_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x) => (float[a,b,c] y)
        <float[2,1,1] k = {4,5}>
        { a = Transpose <perm = [1,0]> (x) b = Add (a, k) y = Transpose <perm = [2,0,1]> (b) }"""
    result = rewrite(text, MergeTransposes())
    assert result.declined == ("the ranks above and below it differ",)
    unknown = text.replace("<perm = [1,0]>", "").replace("<perm = [2,0,1]>", "")
    assert rewrite(unknown, MergeTransposes()).declined == ("the rank of k is larger, or unknown",)


def test_a_skip_connection_in_the_way_is_no_site(rewrite: Rewrite) -> None:
    body = f"""a = Transpose {THERE} (v) n = Transpose {THERE} (w) m = Softmax (n) b = Add (a, m)
        y = Transpose {BACK} (b)"""
    result = rewrite(graph(body), MergeTransposes())
    assert not result.applied
    assert not result.declined
    result.assert_same()
