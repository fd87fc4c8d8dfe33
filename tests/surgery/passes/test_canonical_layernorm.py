from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.canonical_layernorm import CanonicalLayernorm

Rewrite = Callable[..., Any]

SUITABLE = (
    "m = ReduceMean <axes = [-1]> ({x}) d = Sub ({x}, m) e = Sub ({x}, m) p = Mul (e, e)"
    " v = ReduceMean <axes = [-1]> (p) c = Constant <value_float = 0.001> () a = Add (c, v) r = Sqrt (a)"
    " y = Div (d, r)"
)
CANONICAL = ["ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div"]

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]> g (float[2,3,7] x) => (float[2,3,7] y{more}) '
CONSTANTS = "<float e = {0.001}, float two = {2}, int64[1] last = {-1}>"


def body(
    *,
    square: str = "q = Mul (d, d)",
    add: str = "a = Add (v, e)",
    second: str = "",
    axes: str = "axes = [-1]",
    opset: int = 13,
) -> str:
    mean = "{out} = ReduceMean ({data}, last)" if opset >= 18 else f"{{out}} = ReduceMean <{axes}> ({{data}})"
    first, inner = mean.format(out="m", data="x"), mean.format(out="v", data="q")
    return f"{{ {first} d = Sub (x, m) {second} {square} {inner} {add} r = Sqrt (a) y = Div (d, r) }}"


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("square", ["q = Mul (d, d)", "q = Pow (d, two)"])
@pytest.mark.parametrize("add", ["a = Add (v, e)", "a = Add (e, v)"])
@pytest.mark.parametrize("second", ["", "s = Sub (x, m)"])
def test_every_variant_becomes_the_form_that_is_fused(
    rewrite: Rewrite, opset: int, square: str, add: str, second: str
) -> None:
    square = square.replace("d", "s") if second else square
    text = HEAD.format(opset=opset, more="") + CONSTANTS
    text += body(square=square, add=add, second=second, opset=opset)
    result = rewrite(text, CanonicalLayernorm())
    usual = square.startswith("q = Pow") and add == "a = Add (v, e)" and not second
    assert len(result.applied) == (0 if usual else 1)
    assert result.ops == CANONICAL
    result.assert_same(rtol=1e-5)


def test_a_mean_computed_twice_is_seen_as_one(rewrite: Rewrite) -> None:
    second = "n = ReduceMean <axes = [-1]> (x) s = Sub (x, n)"
    text = HEAD.format(opset=13, more="") + CONSTANTS + body(square="q = Mul (s, s)", second=second)
    result = rewrite(text, CanonicalLayernorm())
    assert result.ops == CANONICAL
    result.assert_same(rtol=1e-5)


def test_a_value_in_between_that_is_read_elsewhere_is_named(rewrite: Rewrite) -> None:
    text = HEAD.format(opset=13, more=", float[2,3,1] v") + CONSTANTS + body()
    assert rewrite(text, CanonicalLayernorm()).declined == ("v is a graph output",)
    text = HEAD.format(opset=13, more=", float[2,3,1] z") + CONSTANTS + body(second="z = Relu (m)")
    (why,) = rewrite(text, CanonicalLayernorm()).declined
    assert why.startswith("m is also read by Relu")


@pytest.mark.parametrize(
    "changed",
    [
        body(axes="axes = [-1], keepdims = 0").replace("Sub (x, m)", "Sub (x, x)"),
        body(second="n = ReduceMean <axes = [0]> (x) s = Sub (x, n)", square="q = Mul (s, s)"),
        body(square="q = Mul (d, x)"),
    ],
)
def test_other_quotients_are_no_candidates(rewrite: Rewrite, changed: str) -> None:
    result = rewrite(
        HEAD.format(opset=13, more="") + CONSTANTS + changed, CanonicalLayernorm(), compare=False
    )
    assert result.applied == result.declined == ()
