import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.split_avgpool import SplitAvgpool

Rewrite = Callable[..., Any]

REQUIRED = {"max_area": 2}
OPTIONS: dict[str, dict[str, int]] = {"pooled_scene_net": {}, "nas_fpn": {}}
SUITABLE = """
    r = Constant <value = int64[4] {{1,1,1,4}}> () f = Reshape ({x}, r)
    a = AveragePool <kernel_shape = [1,4], strides = [1,4]> (f)
    q = Constant <value = int64[2] {{1,1}}> () e = Reshape (a, q) y = Add ({x}, e)
"""


def text(body: str, *, x: str = "2,3,24,36", opset: int = 13) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x) => (float[n,c,h,w] y) {{ {body} }}"""


@pytest.mark.parametrize("seed", range(24))
def test_two_pools_or_more_do_what_one_did(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    kernel = [rng.choice([4, 6, 8, 12]), rng.choice([4, 6, 9, 12])]
    strides = [rng.choice([k, k // 2, 2 * k]) for k in kernel]
    if seed % 4 == 0:
        strides = kernel
    counted = seed % 2
    body = f"""y = AveragePool <kernel_shape = {kernel}, strides = {strides},
        count_include_pad = {counted}> (x)"""
    item = SplitAvgpool(max_area=rng.choice([4, 9, 16]), max_side=4, max_stride=64)
    result = rewrite(text(body, opset=rng.choice([9, 11, 13, 19])), item)
    for node in result.model.graph if not result.declined else ():
        taps = list(node.attributes["kernel_shape"].as_ints())
        assert math.prod(taps) <= item.max_area
        assert max(taps) <= item.max_side
    if strides == kernel:
        assert result.applied
    result.assert_same(rtol=1e-6)


def test_a_single_window_may_take_any_step(rewrite: Rewrite) -> None:
    result = rewrite(text("y = AveragePool <kernel_shape = [24,36]> (x)"), SplitAvgpool(max_area=100))
    assert result.ops == ["AveragePool", "AveragePool"]
    assert result.applied[0].startswith("kernel [24, 36] -> ")
    result.assert_same(rtol=1e-6)


def test_a_large_stride_is_split_too(rewrite: Rewrite) -> None:
    result = rewrite(
        text("y = AveragePool <kernel_shape = [1,6], strides = [1,6]> (x)"), SplitAvgpool(max_stride=4)
    )
    assert result.ops == ["AveragePool", "AveragePool"]
    result.assert_same(rtol=1e-6)


def test_global_pools_of_large_maps(rewrite: Rewrite) -> None:
    result = rewrite(text("y = GlobalAveragePool (x)"), SplitAvgpool(max_area=64))
    assert result.ops == ["AveragePool", "GlobalAveragePool"]
    result.assert_same(rtol=1e-6)


def test_a_partial_window_at_the_end_is_left_out_by_both(rewrite: Rewrite) -> None:
    body = "y = AveragePool <kernel_shape = [8,6], strides = [8,6]> (x)"
    result = rewrite(text(body, x="1,2,21,35"), SplitAvgpool(max_area=12))
    assert result.applied
    result.assert_same(rtol=1e-6)


def test_ceil_mode_without_a_partial_window_says_nothing(rewrite: Rewrite) -> None:
    body = "y = AveragePool <kernel_shape = [8,6], strides = [8,6], ceil_mode = 1> (x)"
    result = rewrite(text(body), SplitAvgpool(max_area=12))
    assert result.applied
    result.assert_same(rtol=1e-6)


def test_unknown_batch_and_size(rewrite: Rewrite) -> None:
    body = "y = AveragePool <kernel_shape = [8,6], strides = [8,6]> (x)"
    result = rewrite(text(body, x="n,3,h,w"), SplitAvgpool(max_area=12), compare=False)
    assert result.ops == ["AveragePool", "AveragePool"]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("kernel_shape = [20,20], strides = [3,3], pads = [1,1,0,0]", "it pads"),
        ("kernel_shape = [20,20], strides = [3,3], dilations = [1,1], ceil_mode = 1", "ceil_mode"),
        ("kernel_shape = [50,18], strides = [50,18]", "its window is larger than its input"),
        ("kernel_shape = [17,17], strides = [1,1]", "no part of its kernel [17, 17]"),
        ("kernel_shape = [18,18], strides = [1,5]", "no part of its kernel [18, 18]"),
        ("kernel_shape = [17,17], strides = [1,2], dilations = [1,2]", "it is dilated"),
        ('kernel_shape = [18,18], strides = [1,5], auto_pad = "SAME_UPPER"', "its auto_pad is SAME_UPPER"),
    ],
)
def test_declines(rewrite: Rewrite, attributes: str, reason: str) -> None:
    x = "n,3,h,w" if "auto" in attributes or "ceil" in attributes else "1,3,40,41"
    model = text(f"y = AveragePool <{attributes}> (x)", x=x, opset=19)
    result = rewrite(model, SplitAvgpool(), compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


@pytest.mark.parametrize(
    "body", ["y = AveragePool <kernel_shape = [16,16]> (x)", "y = GlobalAveragePool (x)"]
)
def test_what_fits_or_is_not_known_is_left_alone(rewrite: Rewrite, body: str) -> None:
    result = rewrite(text(body, x="1,3,h,w"), SplitAvgpool(), compare=False)
    assert not result.applied
    assert not result.declined
