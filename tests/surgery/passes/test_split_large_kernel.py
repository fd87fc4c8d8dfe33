import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.split_large_kernel import SplitLargeKernel

Rewrite = Callable[..., Any]

REQUIRED = {"max_kernel": 2}
OPTIONS = {"spectrogram_net": {}, "large_kernel_net": {"max_kernel": 16}}
SUITABLE = """
    r = Constant <value = int64[4] {{1,1,1,4}}> () f = Reshape ({x}, r)
    w = Constant <value = float[1,1,1,3] {{1,2,3}}> () c = Conv <pads = [0,1,0,1]> (f, w)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (c, q)
"""


def text(
    attributes: str, *, x: str = "2,4,13,17", k: str = "6,4,3,2", bias: bool = False, opset: int = 13
) -> str:
    more, operands = (", float[6] b", "x, k, b") if bias else ("", "x, k")
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x, float[{k}] k{more}) => (float[n,c,h,w] y) {{
            y = Conv <{attributes}> ({operands})
        }}"""


@pytest.mark.parametrize("seed", range(30))
def test_the_sum_of_the_pieces_is_the_whole(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    group = rng.choice([1, 2])
    kernel = [rng.randint(4, 7), rng.randint(1, 9)]
    dilations = [rng.randint(1, 2), 1]
    pads = [rng.randint(0, 4) for _ in range(4)]
    strides = [rng.randint(1, 3), rng.randint(1, 3)]
    attributes = f"group = {group}, strides = {strides}, dilations = {dilations}, pads = {pads}"
    if seed % 5 == 0:
        attributes = (
            f'group = {group}, strides = {strides}, auto_pad = "SAME_{"UPPER" if seed % 2 else "LOWER"}"'
        )
    bias = bool(seed % 3)
    model = text(
        attributes, k=f"6,{4 // group},{kernel[0]},{kernel[1]}", bias=bias, opset=rng.choice([9, 11, 13, 18])
    )
    limit = rng.randint(1, 3)
    result = rewrite(model, SplitLargeKernel(max_kernel=limit), ("k", "b"))
    for node in result.model.graph:
        if node.op_type == "Conv":
            assert max(node.inputs[1].shape[2:]) <= limit
    assert "Add" in result.ops
    result.assert_same(rtol=1e-5)


def test_a_shift_that_padding_can_express_needs_no_slice(rewrite: Rewrite) -> None:
    result = rewrite(text("pads = [2,1,2,1]", k="6,4,5,3"), SplitLargeKernel(max_kernel=3), ("k",))
    assert result.ops == ["Conv", "Slice", "Conv", "Add"]
    assert result.applied == ("kernel 5 -> 3 + 2",)
    result.assert_same(rtol=1e-5)


def test_pieces_that_see_only_padding_are_left_out(rewrite: Rewrite) -> None:
    result = rewrite(
        text("pads = [7,0,7,0]", x="1,4,3,5", k="6,4,15,1"), SplitLargeKernel(max_kernel=3), ("k",)
    )
    assert result.ops.count("Conv") == 3
    result.assert_same(rtol=1e-5)


def test_a_1d_convolution_and_unknown_sizes_without_padding(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[n,3,len] x, float[5,3,9] k) => (float[n,5,m] y) { y = Conv <strides = [4]> (x, k) }"""
    result = rewrite(model, SplitLargeKernel(max_kernel=4), ("k",), compare=False)
    assert result.ops == ["Slice", "Conv", "Slice", "Conv", "Add", "Slice", "Conv", "Add"]
    same = rewrite(model.replace("n,3,len", "2,3,41"), SplitLargeKernel(max_kernel=4), ("k",))
    same.assert_same(rtol=1e-5)


def test_a_shared_weight_stays_for_its_other_reader(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,3,9,8] x, float[3,3,5,1] k) => (float[a,b,c,d] y, float[e,f,g,h] z) {
            y = Conv (x, k) r = Relu (k) z = Add (r, r)
        }"""
    result = rewrite(model, SplitLargeKernel(max_kernel=4), ("k",))
    assert "k" in result.model.graph.initializers
    result.assert_same(rtol=1e-5)


def test_small_kernels_are_left_alone(rewrite: Rewrite) -> None:
    result = rewrite(text("pads = [1,1,1,1]"), SplitLargeKernel(), ("k",))
    assert not result.applied
    assert not result.declined


@pytest.mark.parametrize(
    ("model", "constant", "limit", "reason"),
    [
        (text("kernel_shape = [3,2]"), (), 2, "its weight is computed at run time"),
        (text("pads = [1,0,1,0]", x="n,4,h,w"), ("k",), 2, "it pads, and the size of its input is not known"),
        (text('auto_pad = "SAME_UPPER"', x="n,4,h,w"), ("k",), 2, "its auto_pad is SAME_UPPER"),
        (
            text("pads = [1,0,1,0]", x="1,4,2,7", k="6,4,5,1"),
            ("k",),
            3,
            "its kernel is larger than its padded",
        ),
        (text("group = 1"), ("k",), 0, "max_kernel is 0"),
    ],
)
def test_declines(rewrite: Rewrite, model: str, constant: tuple[str, ...], limit: int, reason: str) -> None:
    result = rewrite(model, SplitLargeKernel(max_kernel=limit), constant, compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why
