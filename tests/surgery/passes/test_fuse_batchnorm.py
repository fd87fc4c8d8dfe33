from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.fuse_batchnorm import FuseBatchnorm

Rewrite = Callable[..., Any]

NORM = ("scale", "shift", "mean", "var")
PARAMETERS = "float[4] scale, float[4] shift, float[4] mean, float[4] var"

SUITABLE = """
    w = Constant <value = float[4,4,1,1] {{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}}> ()
    s = Constant <value = float[4] {{1,2,3,4}}> ()
    r = Constant <value = int64[4] {{1,4,1,1}}> () f = Reshape ({x}, r)
    c = Conv (f, w) b = BatchNormalization (c, s, s, s, s)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (b, q)
"""


def text(body: str, inputs: str, *, opset: int = 13) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[2,6,5,7] x, {PARAMETERS}, {inputs}) => (float[2,4,h,w] y) {{ {body} }}"""


def test_conv_with_bias(rewrite: Rewrite) -> None:
    body = "c = Conv (x, w, b) y = BatchNormalization (c, scale, shift, mean, var)"
    result = rewrite(text(body, "float[4,6,3,3] w, float[4] b"), FuseBatchnorm(), (*NORM, "w", "b"))
    assert result.ops == ["Conv"]
    assert len(result.model.graph.initializers) == 2
    assert result.model.graph.outputs[0].name == "y"
    result.assert_same(rtol=1e-6)


def test_conv_without_bias_and_with_groups(rewrite: Rewrite) -> None:
    body = """c = Conv <group = 2> (x, w)
        n = BatchNormalization <epsilon = 0.1> (c, scale, shift, mean, var) y = Relu (n)"""
    result = rewrite(text(body, "float[4,3,3,3] w"), FuseBatchnorm(), (*NORM, "w"))
    assert result.ops == ["Conv", "Relu"]
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize("bias", ["", "float[4] b"])
def test_a_deformable_convolution_has_its_bias_behind_the_offsets(rewrite: Rewrite, bias: str) -> None:
    call = f"""c = npu.DeformableConv2D <strides = [1,1], pads = [1,1], dilations = [1,1],
        groups = 2, deformable_groups = 1> (x, w, o{", b" if bias else ""})
        y = BatchNormalization (c, scale, shift, mean, var)"""
    inputs = f"float[2,27,5,7] o, float[4,3,3,3] w{', ' + bias if bias else ''}"
    model = text(call, inputs).replace('["" : 13]', '["" : 13, "npu" : 1]')
    result = rewrite(model, FuseBatchnorm(), (*NORM, "w", "b"))
    assert result.ops == ["DeformableConv2D"]
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize(("group", "shape"), [(1, "6,4,3,3"), (2, "6,2,3,3")])
def test_transposed_conv_scales_the_outputs_of_each_group(rewrite: Rewrite, group: int, shape: str) -> None:
    body = (
        f"c = ConvTranspose <group = {group}> (x, w, b) y = BatchNormalization (c, scale, shift, mean, var)"
    )
    result = rewrite(text(body, f"float[{shape}] w, float[4] b"), FuseBatchnorm(), (*NORM, "w", "b"))
    assert result.ops == ["ConvTranspose"]
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", ["float[4] b", "float[1,4] b", "float b", ""])
def test_gemm_in_all_its_forms(rewrite: Rewrite, transposed: int, bias: str) -> None:
    shape = "4,6" if transposed else "6,4"
    arguments = "x, w, b" if bias else "x, w"
    model = f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,6] x, {PARAMETERS}, float[{shape}] w{", " + bias if bias else ""}) => (float[2,4] y) {{
            c = Gemm <alpha = 0.5, beta = 3.0, transB = {transposed}> ({arguments})
            y = BatchNormalization (c, scale, shift, mean, var)
        }}"""
    result = rewrite(model, FuseBatchnorm(), (*NORM, "w", *(("b",) if bias else ())))
    assert result.ops == ["Gemm"]
    result.assert_same(rtol=1e-6)


def test_two_norms_in_a_row_both_go(rewrite: Rewrite) -> None:
    body = """c = Conv (x, w) n = BatchNormalization (c, scale, shift, mean, var)
        y = BatchNormalization (n, scale, shift, mean, var)"""
    result = rewrite(text(body, "float[4,6,1,1] w"), FuseBatchnorm(), (*NORM, "w"))
    assert result.ops == ["Conv"]
    result.assert_same(rtol=1e-6)


def test_shared_weights_are_left_to_their_other_reader(rewrite: Rewrite) -> None:
    body = """c = Conv (x, w, b) n = BatchNormalization (c, scale, shift, mean, var)
        d = Conv (x, w, b) y = Add (n, d)"""
    result = rewrite(text(body, "float[4,6,1,1] w, float[4] b"), FuseBatchnorm(), (*NORM, "w", "b"))
    assert result.ops == ["Conv", "Conv", "Add"]
    assert {"w", "b"} < set(result.model.graph.initializers)
    result.assert_same(rtol=1e-6)


def test_one_weight_under_two_norms_is_fused_twice_under_fresh_names(rewrite: Rewrite) -> None:
    body = """c = Conv (x, w) n = BatchNormalization (c, scale, shift, mean, var)
        d = Conv (x, w) m = BatchNormalization (d, shift, scale, mean, var) y = Add (n, m)"""
    result = rewrite(text(body, "float[4,6,1,1] w"), FuseBatchnorm(), (*NORM, "w"))
    assert result.ops == ["Conv", "Conv", "Add"]
    assert "w" not in result.model.graph.initializers
    assert len(result.model.graph.initializers) == 4
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "constant", "reason"),
    [
        (
            "y = BatchNormalization (v, scale, shift, mean, var)",
            (),
            "it does not follow a Conv, ConvTranspose, Gemm or",
        ),
        (
            "c = Conv (x, w) n = BatchNormalization (c, scale, shift, mean, var) y = Add (n, c)",
            ("w",),
            "c is also read by Add",
        ),
        (
            "c = Conv (x, w) y = BatchNormalization (c, scale, shift, mean, var)",
            (),
            "the weight of Conv c is computed at run time",
        ),
        (
            "c = Conv (x, w, b) y = BatchNormalization (c, scale, shift, mean, var)",
            ("w",),
            "the bias of Conv c is computed at run time",
        ),
        (
            "s = Relu (b) c = Conv (x, w) y = BatchNormalization (c, s, shift, mean, var)",
            ("w",),
            "its scale is computed at run time",
        ),
        (
            "c = Conv (x, w) y, m, v2 = BatchNormalization <training_mode = 1> (c, scale, shift, mean, var)",
            ("w",),
            "it is in training mode",
        ),
        (
            "c = Conv (x, w) y = BatchNormalization (c, scale, shift, mean, neg)",
            ("w", "neg"),
            "variance plus epsilon is not positive everywhere",
        ),
    ],
)
def test_declines(rewrite: Rewrite, body: str, constant: tuple[str, ...], reason: str) -> None:
    model = text(body, "float[4,6,1,1] w, float[4] b, float[2,4,5,7] v", opset=14)
    if "neg" in constant:
        model = model.replace("{ c = Conv", "<float[4] neg = {-1,-1,-1,-1}> { c = Conv")
    weights = (*NORM, *(name for name in constant if name != "neg"))
    result = rewrite(model, FuseBatchnorm(), weights, compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_declines_when_the_intermediate_is_a_graph_output(rewrite: Rewrite) -> None:
    model = text("c = Conv (x, w) y = BatchNormalization (c, scale, shift, mean, var)", "float[4,6,1,1] w")
    model = model.replace("=> (", "=> (float[2,4,5,7] c, ")
    result = rewrite(model, FuseBatchnorm(), (*NORM, "w"))
    assert result.declined == ("c is a graph output",)


def test_declines_a_bias_that_is_not_per_channel(rewrite: Rewrite) -> None:
    model = f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,6] x, {PARAMETERS}, float[6,4] w, float[2,4] b) => (float[2,4] y) {{
            c = Gemm (x, w, b) y = BatchNormalization (c, scale, shift, mean, var)
        }}"""
    result = rewrite(model, FuseBatchnorm(), (*NORM, "w", "b"))
    assert "has shape [2, 4], not one value per channel" in result.declined[0]


def test_half_precision_is_fused_in_double_and_only_when_it_fits(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 15]>
        g (float16[1,2,3,3] x, float16[2,2,1,1] w) => (float16[1,2,3,3] y)
        <float16[2] scale = {1,SCALE}, float16[2] zero = {0,0}, float16[2] var = {1,VAR}> {
            c = Conv (x, w) y = BatchNormalization (c, scale, zero, zero, var)
        }"""
    fits = rewrite(model.replace("SCALE", "3").replace("VAR", "2"), FuseBatchnorm(), ("w",))
    assert fits.ops == ["Conv"]
    fits.assert_same(rtol=2**-9)
    dtypes = {value.dtype.numpy() for value in fits.model.graph.initializers.values()}
    assert dtypes == {np.dtype(np.float16)}
    large = model.replace("SCALE", "60000").replace("VAR", "0")
    bursts = rewrite(large, FuseBatchnorm(), ("w",), compare=False)
    assert bursts.declined == ("the fused weight or bias exceeds the range of float16",)


def test_subgraphs_are_visited(rewrite: Rewrite) -> None:
    model = f"""<ir_version: 8, opset_import: ["" : 13]>
        g (bool flag, float[2,6,5,7] x, {PARAMETERS}, float[4,6,1,1] w) => (float[2,4,5,7] y) {{
            y = If (flag) <
                then_branch = t () => (float[2,4,5,7] p) {{
                    c = Conv (x, w) p = BatchNormalization (c, scale, shift, mean, var)
                }},
                else_branch = e () => (float[2,4,5,7] q) {{ q = Conv (x, w) }}
            >
        }}"""
    result = rewrite(model, FuseBatchnorm(), (*NORM, "w"))
    assert sorted(node.op_type for node in result.model.graph.all_nodes()) == ["Conv", "Conv", "If"]
    result.assert_same(rtol=1e-6)
