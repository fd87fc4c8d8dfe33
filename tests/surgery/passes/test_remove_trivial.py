from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.remove_trivial import RemoveTrivial

SUITABLE = "k = Constant <value = float[1] {{1}}> () a = Exp ({x}) b = Mul (a, k) y = Sin (b)"
PREPARE = "static_shapes,fold_constants"

Rewrite = Callable[..., Any]
CONSTANTS = """<float zero = {0}, float[1] one = {1}, float[3,1] ones = {1,1,1}, float[2] two = {1,2},
    bool yes = {1}, bool[5] no = {0,0,0,0,0}, int64[2] axes = {0,3}, float[1,1,1,1,1] deep = {1}>"""


def graph(body: str, shape: str = "1,2,5,1", opset: int = 13, result: str = "float[a,b,c,d]") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{shape}] x) => ({result} y) {CONSTANTS} {{ v = Relu (x) w = Less (v, zero) {body} }}"""


@pytest.mark.parametrize(
    "body",
    [
        "a = Add (v, zero) y = Exp (a)",
        "a = Add (zero, v) y = Exp (a)",
        "a = Sub (v, zero) y = Exp (a)",
        "a = Mul (one, v) y = Exp (a)",
        "a = Div (v, one) b = Pow (a, one) y = Exp (b)",
        "a = And (w, yes) b = Or (a, z) c = Cast <to = 1> (b) y = Exp (c)",
        "a = Xor (z, w) c = Cast <to = 1> (a) y = Exp (c)",
        "a = Where (yes, v, two) y = Exp (a)",
        "a = Where (no, two, v) y = Exp (a)",
        "a = ReduceSum (v, axes) y = Exp (a)",
        "a = ReduceMax <axes = [0, -1]> (v) y = Exp (a)",
        "a = Split <axis = 1> (v) y = Exp (a)",
        "a = Concat <axis = 1> (v) b = Sum (a) y = Exp (b)",
    ],
)
def test_what_changes_nothing_goes(rewrite: Rewrite, body: str) -> None:
    text = graph(body.replace("two", "zero"), shape="1,2,5,1")
    if " z" in body or "(z" in body:
        text = text.replace("bool[5] no", "bool z = {0}, bool[5] no")
    if "no," in body:
        text = graph(body.replace("two", "zero"), shape="1,2,1,5")
    result = rewrite(text, RemoveTrivial())
    assert set(result.ops) <= {"Relu", "Less", "Cast", "Exp"}
    result.assert_same()


@pytest.mark.parametrize(
    "body",
    [
        "a = Sub (zero, v) y = Exp (a)",
        "a = Div (one, v) y = Exp (a)",
        "a = Pow (one, v) y = Exp (a)",
        "a = Mul (v, ones) y = Exp (a)",
        "a = Mul (v, two) y = Exp (a)",
        "a = Where (no, two, v) y = Exp (a)",
        "a = ReduceSum (v, axes) y = Exp (a)",
        "a = ReduceMean (v) y = Exp (a)",
        "a = ReduceMax <axes = [3], keepdims = 0> (v) y = Unsqueeze (a, last)",
        "a, b = Split <axis = 2> (v) y = Add (a, b)",
        "a = GlobalAveragePool (v) y = Exp (a)",
    ],
)
def test_what_changes_something_stays_without_a_word(rewrite: Rewrite, body: str) -> None:
    text = graph(body, shape="4,7,1,2").replace("bool yes", "int64[1] last = {3}, bool yes")
    if "Split" in body:
        text = text.replace("4,7,1,2", "4,7,2,2")
    result = rewrite(text, RemoveTrivial(), compare=False)
    assert not result.applied
    assert not result.declined


def test_ones_of_a_higher_rank_add_axes(rewrite: Rewrite) -> None:
    result = rewrite(graph("y = Mul (v, deep)", result="float[a,b,c,d,e]"), RemoveTrivial())
    assert not result.applied


def test_a_pool_of_a_single_element_goes(rewrite: Rewrite) -> None:
    result = rewrite(graph("a = GlobalAveragePool (v) y = Exp (a)", shape="2,7,1,1"), RemoveTrivial())
    assert "GlobalAveragePool" not in result.ops
    result.assert_same()


def test_unknown_sizes_may_have_names(rewrite: Rewrite) -> None:
    result = rewrite(graph("a = Mul (v, one) y = Exp (a)", shape="n,m,k,l"), RemoveTrivial())
    assert "Mul" not in result.ops
    result.assert_same()


def test_an_output_with_the_name_of_an_input_stays(rewrite: Rewrite) -> None:
    result = rewrite(graph("y = Mul (x, one)"), RemoveTrivial())
    assert result.declined == (
        "it makes the graph output y from the graph input x, which must keep its own name",
    )
    result.assert_same()


def test_axes_are_attributes_before_opset_13(rewrite: Rewrite) -> None:
    body = "a = ReduceSum <axes = [0, 3]> (v) y = Exp (a)"
    result = rewrite(graph(body, opset=11), RemoveTrivial())
    assert "ReduceSum" not in result.ops
    result.assert_same()
