from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.split_batchnorm import SplitBatchnorm

Rewrite = Callable[..., Any]

SUITABLE = """
    s = Constant <value = float[4] {{1,2,3,4}}> () m = Constant <value = float[4] {{0.5,1,2,-4}}> ()
    y = BatchNormalization ({x}, s, m, m, s)
"""
NORM = ("scale", "shift", "mean", "var")


def text(body: str, *, x: str = "2,4,5,7", opset: int = 13, kind: str = "float", more: str = "") -> str:
    names = ", ".join(f"{kind}[4] {name}" for name in NORM)
    dims = "abcde"[: len(x.split(","))]
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g ({kind}[{x}] x, {names}{more}) => ({kind}[{",".join(dims)}] y) {{ {body} }}"""


PLAIN = "y = BatchNormalization <epsilon = 0.01> (x, scale, shift, mean, var)"


@pytest.mark.parametrize("x", ["3,4", "2,4,5", "2,4,5,7", "2,4,3,5,2"])
@pytest.mark.parametrize("opset", [9, 13, 15])
def test_any_rank(rewrite: Rewrite, x: str, opset: int) -> None:
    result = rewrite(text(PLAIN, x=x, opset=opset), SplitBatchnorm(), NORM)
    assert result.ops == ["Mul", "Add"]
    assert set(result.model.graph.initializers).isdisjoint(NORM)
    result.assert_same(rtol=1e-6)


def test_a_shift_of_zero_is_left_out(rewrite: Rewrite) -> None:
    body = PLAIN.replace("shift, mean", "zero, zero")
    model = text(body).replace("{ y", "<float[4] zero = {0,0,0,0}> { y")
    result = rewrite(model, SplitBatchnorm(), NORM)
    assert result.ops == ["Mul"]
    result.assert_same(rtol=1e-6)


def test_half_precision_is_worked_out_in_double(rewrite: Rewrite) -> None:
    result = rewrite(text(PLAIN, kind="float16"), SplitBatchnorm(), NORM)
    assert {value.dtype.numpy() for value in result.model.graph.initializers.values()} == {
        np.dtype("float16")
    }
    result.assert_same(rtol=2**-8)


def test_unknown_batch_and_size(rewrite: Rewrite) -> None:
    assert rewrite(text(PLAIN, x="n,4,h,w"), SplitBatchnorm(), NORM, compare=False).ops == ["Mul", "Add"]


@pytest.mark.parametrize(
    ("body", "constant", "reason"),
    [
        ("c = Conv (x, k) y = BatchNormalization (c, scale, shift, mean, var)", (*NORM, "k"),
         "fuse_batchnorm can fold it into Conv c"),
        (PLAIN, NORM[:3], "its variance is computed at run time"),
        ("y, m, v = BatchNormalization <training_mode = 1> (x, scale, shift, mean, var)", NORM,
         "it is in training mode"),
        (PLAIN.replace("0.01", "-9.0"), NORM, "variance plus epsilon is not positive"),
    ],
)  # fmt: skip
def test_declines(rewrite: Rewrite, body: str, constant: tuple[str, ...], reason: str) -> None:
    model = text(body, opset=14, more=", float[4,4,1,1] k")
    result = rewrite(model, SplitBatchnorm(), constant, compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_declines_what_exceeds_half_precision(rewrite: Rewrite) -> None:
    # ONNX text gives half-precision numbers by their bits: 65504 and 1.0.
    constants = "<float16[4] big = {31743,15360,15360,15360}, float16[4] zero = {0,0,0,0}> { y"
    model = text("y = BatchNormalization (x, big, zero, zero, zero)", kind="float16")
    model = model.replace("{ y", constants)
    result = rewrite(model, SplitBatchnorm(), compare=False)
    assert result.declined == ("its scale or shift exceeds the range of float16",)
