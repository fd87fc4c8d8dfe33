from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.fuse_affine import FuseAffine

Rewrite = Callable[..., Any]

SUITABLE = """
    r = Constant <value = int64[4] {{1,2,1,2}}> () f = Reshape ({x}, r)
    w = Constant <value = float[2,2,1,1] {{1,2,3,4}}> () b = Constant <value = float[2,1,1] {{5,-6}}> ()
    c = Conv (f, w) m = Mul (c, b) a = Add (b, m)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (a, q)
"""


def text(body: str, inputs: str, *, opset: int = 13, y: str = "2,4,h,w", more: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[2,6,5,7] x, {inputs}) => (float[{y}] y{more}) {{ {body} }}"""


LINES = ["Add (d, c)", "Add (c, d)", "Sub (d, c)", "Sub (c, d)", "Mul (c, d)", "Div (d, c)"]


@pytest.mark.parametrize("shape", ["", "[1]", "[4,1,1]", "[1,4,1,1]", "[1,1,1]"])
@pytest.mark.parametrize("line", LINES)
def test_each_operator_and_each_shape(rewrite: Rewrite, line: str, shape: str) -> None:
    model = text(f"d = Conv (x, k, b) y = {line}", f"float[4,6,3,3] k, float[4] b, float{shape} c")
    result = rewrite(model, FuseAffine(), ("k", "b", "c"))
    assert result.ops == ["Conv"]
    assert "c" not in result.model.graph.initializers
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("group", [1, 2])
def test_the_bias_of_a_transposed_convolution(rewrite: Rewrite, group: int) -> None:
    body = f"d = ConvTranspose <group = {group}, strides = [2,2]> (x, k) a = Add (d, c) y = Mul (a, e)"
    inputs = f"float[6,{4 // group},3,3] k, float[4,1,1] c, float[4,1,1] e"
    result = rewrite(text(body, inputs), FuseAffine(), ("k", "c", "e"))
    assert result.ops == ["ConvTranspose"]
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm(rewrite: Rewrite, transposed: int) -> None:
    shape = "4,6" if transposed else "6,4"
    model = f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,6] x, float[{shape}] k, float[1,4] b, float[4] c) => (float[2,4] y) {{
            d = Gemm <alpha = 0.5, beta = 3.0, transB = {transposed}> (x, k, b)
            a = Sub (c, d) y = Div (a, c)
        }}"""
    result = rewrite(model, FuseAffine(), ("k", "b", "c"))
    assert result.ops == ["Gemm"]
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "constant", "reason"),
    [
        ("d = Conv (x, k) y = Add (d, c)", "c", "the weight of Conv d is computed at run time"),
        ("d = Conv (x, k, b) y = Add (d, c)", "kc", "the bias of Conv d is computed at run time"),
        ("d = Conv (x, k) a = Add (d, c) y = Add (a, d)", "kc", "d is also read by Add"),
        ("d = Conv (x, k) y = Div (c, d)", "kc", "it divides by the tensor"),
        ("d = Conv (x, k) y = Div (d, o)", "ko", "zero or not finite"),
        ("d = Conv (x, k) y = Add (d, p)", "kp", "of shape [2, 1, 1, 1] is not one number per channel"),
        ("d = Conv (x, k) y = Add (d, q)", "kq", "of shape [3] is not one number per channel"),
        ("d = Conv (x, k) y = Add (d, r)", "kr", "of shape [1, 1, 4, 1, 1] is not one number per channel"),
    ],
)
def test_declines(rewrite: Rewrite, body: str, constant: str, reason: str) -> None:
    model = text(
        body,
        "float[4,6,3,5] k, float[4] b, float[4,1,1] c, float[2,1,1,1] p, float[3] q, float[1,1,4,1,1] r",
        y="1,2,4,3,3" if "r)" in body else "2,4,3,3",
    ).replace("{ d", "<float o = {0}> { d", 1)
    result = rewrite(model, FuseAffine(), tuple(constant.replace("o", "")), compare=False)
    assert not result.applied
    assert reason in result.declined[0]


def test_declines_when_the_layer_makes_a_graph_output(rewrite: Rewrite) -> None:
    model = text("d = Conv (x, k) y = Add (d, c)", "float[4,6,3,3] k, float c", more=", float[e,f,i,j] d")
    assert rewrite(model, FuseAffine(), ("k", "c")).declined == ("d is a graph output",)


def test_arithmetic_elsewhere_is_left_alone(rewrite: Rewrite) -> None:
    model = text("d = Relu (x) y = Add (d, c)", "float c", y="2,6,5,7")
    result = rewrite(model, FuseAffine(), ("c",))
    assert not result.applied
    assert not result.declined


def test_half_precision_keeps_its_dtype(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]>
        g (float16[1,2,3,3] x, float16[2,2,1,1] k) => (float16[1,2,3,3] y) <float16 c = {FACTOR}> {
            d = Conv (x, k) y = Mul (d, c) }"""
    # ONNX text gives half-precision numbers by their bits: 3.0 and 65504.
    result = rewrite(model.replace("FACTOR", "16896"), FuseAffine(), ("k",))
    assert {value.dtype.numpy() for value in result.model.graph.initializers.values()} == {
        np.dtype("float16")
    }
    result.assert_same(rtol=2**-8)
    large = rewrite(model.replace("FACTOR", "31743"), FuseAffine(), ("k",), compare=False)
    assert large.declined == ("the fused weight or bias exceeds the range of float16",)
