from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.shrink_topk import ShrinkTopk

Rewrite = Callable[..., Any]

PREPARE = "static_shapes"
SUITABLE = """
    k = Constant <value = int64[1] {{4}}> () o = Constant <value = int64[1] {{0}}> ()
    e = Constant <value = int64[1] {{3}}> () i = Constant <value = int64[1] {{1}}> ()
    v, p = TopK ({x}, k) a = Slice (v, o, e, i) b = Slice (p, o, e, i) f = Cast <to = 1> (b)
    c = Add (a, f) m = ReduceMax <keepdims = 0> (c) y = Add ({x}, m)
"""
CONSTANTS = """
    k = Constant <value = int64[1] {20}> () o = Constant <value = int64[1] {0}> ()
    e = Constant <value = int64[1] {7}> () l = Constant <value = int64[1] {5}> ()
    i = Constant <value = int64[1] {1}> () n = Constant <value = int64[1] {-1}> ()
    t = Constant <value = int64[1] {2}> ()
"""


def text(body: str, *, opset: int = 13, x: str = "2,20", constants: str = CONSTANTS) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x) => (float[a,b] y, int64[c,d] z) {{ {constants} {body} }}"""


def operators(result: Any) -> list[str]:
    return [op for op in result.ops if op != "Constant"]  # of which the texts above hold more than needed


@pytest.mark.parametrize("opset", [10, 11, 13])
@pytest.mark.parametrize("direction", ["largest = 1", "largest = 0"])
def test_only_what_is_read_is_sorted(rewrite: Rewrite, direction: str, opset: int) -> None:
    direction = "" if opset == 10 else f"<{direction}>"
    body = f"v, p = TopK {direction} (x, k) y = Slice (v, o, e, i) z = Slice (p, o, e, n)"
    result = rewrite(text(body, opset=opset), ShrinkTopk())
    assert result.applied == ("K 20 -> 7",)
    assert operators(result) == ["TopK"]
    result.assert_same()


def test_equal_elements_come_in_the_same_order(rewrite: Rewrite) -> None:
    body = "r = Floor (x) v, p = TopK (r, k) y = Slice (v, o, e, i) z = Slice (p, o, e, n)"
    result = rewrite(text(body), ShrinkTopk())
    assert operators(result) == ["Floor", "TopK"]
    result.assert_same()


def test_the_larger_of_two_counts_is_kept(rewrite: Rewrite) -> None:
    body = "v, p = TopK (x, k) y = Slice (v, o, e, i) z = Slice (p, o, l, i)"
    result = rewrite(text(body), ShrinkTopk())
    assert result.applied == ("K 20 -> 7",)
    assert operators(result) == ["TopK", "Slice"]
    result.assert_same()


def test_two_slices_that_take_the_same_both_go(rewrite: Rewrite) -> None:
    body = """v, p = TopK (x, k) a = Slice (v, o, e, i) b = Slice (v, o, e, i) y = Mul (a, b)
        z = Slice (p, o, e, i)"""
    result = rewrite(text(body), ShrinkTopk())
    assert operators(result) == ["TopK", "Mul"]
    result.assert_same()


def test_a_slice_that_cuts_another_axis_too_stays(rewrite: Rewrite) -> None:
    body = """s = Constant <value = int64[2] {0,1}> () b = Constant <value = int64[2] {7,2}> ()
        w = Constant <value = int64[2] {1,0}> () v, p = TopK (x, k) y = Slice (v, s, b, w)
        z = Slice (p, s, b, w)"""
    result = rewrite(text(body), ShrinkTopk())
    assert result.applied == ("K 20 -> 7",)
    assert operators(result) == ["TopK", "Slice", "Slice"]
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "v, p = TopK <sorted = 0> (x, k) y = Slice (v, o, e, i) z = Slice (p, o, e, i)",
            "its elements come in no order, so the first ones are any",
        ),
        ("v, z = TopK (x, k) y = Slice (v, o, e, i)", "z is a graph output"),
        (
            "v, p = TopK (x, k) [last] y = Slice (v, t, e, i) z = Slice (p, o, e, i)",
            "Slice last does not take the first elements of axis 1",
        ),
        (
            "v, p = TopK (x, k) [odd] y = Slice (v, o, e, i, t) z = Slice (p, o, e, i)",
            "Slice odd does not take the first elements of axis 1",
        ),
        (
            "v, p = TopK (x, k) [none] y = Slice (v, o, o, i) z = Slice (p, o, e, i)",
            "Slice none takes nothing",
        ),
        (
            """h = Shape (x) q = Slice (h, i, t) v, p = TopK (x, q) y = Slice (v, o, e, i)
            z = Slice (p, o, e, i)""",
            "its K or the rank of its input is not known; run static_shapes first",
        ),
        (
            """h = Shape (x) q = Slice (h, i, t) v, p = TopK (x, k) [open] y = Slice (v, o, q, i)
            z = Slice (p, o, e, i)""",
            "Slice open: what it takes is computed at run time",
        ),
    ],
)
def test_other_readers_are_declined(rewrite: Rewrite, body: str, why: str) -> None:
    opset = 11 if "sorted" in body else 13
    result = rewrite(text(body, opset=opset), ShrinkTopk(), compare="sorted" not in body)
    assert result.declined == (why,)
    assert not result.applied


def test_k_as_an_attribute_is_declined(rewrite: Rewrite) -> None:
    body = """v, p = TopK <k = 9> (x) y = Slice <starts = [0], ends = [3], axes = [1]> (v)
        z = Slice <starts = [0], ends = [3], axes = [1]> (p)"""
    model = text(body, opset=9, constants="").replace("ir_version: 8", "ir_version: 4")
    result = rewrite(model, ShrinkTopk())
    assert result.declined == ("opset 9 has K as an attribute; convert the model to 10 or later first",)


@pytest.mark.parametrize(
    "body",
    [
        "v, p = TopK (x, k) y = Exp (v) z = Slice (p, o, e, i)",  # another reader
        "v, p = TopK (x, e) y = Slice (v, o, k, i) z = Slice (p, o, k, i)",  # all that there is
        "v, p = TopK (x, k) y = Slice (v, o, e, o) z = Slice (p, o, e, o)",  # another axis
    ],
)
def test_whole_results_are_no_sites(rewrite: Rewrite, body: str) -> None:
    result = rewrite(text(body), ShrinkTopk())
    assert not result.applied
    assert not result.declined
    result.assert_same()
