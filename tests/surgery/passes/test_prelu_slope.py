from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.prelu_slope import PreluSlope

Rewrite = Callable[..., Any]

SUITABLE = """
    r = Constant <value = int64[4] {{1,2,1,2}}> () f = Reshape ({x}, r)
    s = Constant <value = float[2,1,1] {{0.25,-2}}> () p = PRelu (f, s)
    t = Constant <value = float {{3}}> () e = PRelu (p, t)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (e, q)
"""


def text(slope: str, *, x: str = "2,3,5,7", values: str = "", opset: int = 13, kind: str = "float") -> str:
    dims = "abcd"[: len(x.split(","))]
    inputs, constants = (
        (f", {kind}{slope} s", "") if not values else ("", f"<{kind}{slope} s = {{{values}}}>")
    )
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g ({kind}[{x}] x{inputs}) => ({kind}[{",".join(dims)}] y) {constants} {{ y = PRelu (x, s) }}"""


@pytest.mark.parametrize("opset", [9, 11, 16])
@pytest.mark.parametrize("slope", ["[3,1,1]", "[1,3,1,1]", "[3,5,7]", "[7]"])
def test_slopes_that_differ_are_written_with_other_operators(
    rewrite: Rewrite, slope: str, opset: int
) -> None:
    result = rewrite(text(slope, opset=opset), PreluSlope(), ("s",))
    assert result.ops == ["Relu", "Neg", "Relu", "Mul", "Sub"]
    result.assert_same()


def test_slopes_computed_at_run_time_too(rewrite: Rewrite) -> None:
    result = rewrite(text("[3,1,1]"), PreluSlope())
    assert "PRelu" not in result.ops
    result.assert_same()


@pytest.mark.parametrize(("slope", "values"), [("", "0.25"), ("[1,1,1]", "0.25"), ("[3,1,1]", "2,2,2")])
def test_equal_slopes_become_one(rewrite: Rewrite, slope: str, values: str) -> None:
    result = rewrite(text(slope, values=values), PreluSlope())
    assert result.applied == ("one slope for all",)
    (constant,) = result.model.graph.initializers.values()
    assert constant.const_value.numpy().shape == (1,)
    result.assert_same()


def test_features_take_one_slope_each(rewrite: Rewrite) -> None:
    result = rewrite(text("[1,5]", x="2,5", values="1,2,3,4,5"), PreluSlope())
    assert result.ops == ["PRelu"]
    assert result.applied == ("one axis of slopes",)
    result.assert_same()


@pytest.mark.parametrize(("slope", "x"), [("[1]", "2,3,5,7"), ("[5]", "2,5")])
def test_what_the_target_takes_is_left_alone(rewrite: Rewrite, slope: str, x: str) -> None:
    result = rewrite(text(slope, x=x), PreluSlope(), ("s",))
    assert not result.applied
    assert not result.declined


def test_declines_without_decompose_and_says_why(rewrite: Rewrite) -> None:
    result = rewrite(text("[3,1,1]"), PreluSlope(decompose=False), ("s",))
    assert "runs along the last axis; use decompose=true" in result.declined[0]


def test_declines_integers_and_an_unknown_rank(rewrite: Rewrite) -> None:
    result = rewrite(text("[3,1,1]", kind="int32"), PreluSlope(), compare=False)
    assert result.declined == ("its input is INT32; Relu and targets want floats",)
    model = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (float[2,3] x, float[3] s) => (float[2,3] y) { y = local.Leaky (x, s) }
        <domain: "local", opset_import: ["" : 13]> Leaky (a, s) => (b) { b = PRelu (a, s) }"""
    assert rewrite(model, PreluSlope()).declined == ("the rank or dtype of its input is not known",)
