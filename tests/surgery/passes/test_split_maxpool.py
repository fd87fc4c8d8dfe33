import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.split_maxpool import SplitMaxpool

Rewrite = Callable[..., Any]

REQUIRED = {"max_side": 2}
OPTIONS: dict[str, dict[str, int]] = {"sentence_net": {}}
SUITABLE = """
    r = Constant <value = int64[4] {{1,1,1,4}}> () f = Reshape ({x}, r)
    a = MaxPool <kernel_shape = [1,3], pads = [0,1,0,1]> (f)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (a, q)
"""


def text(body: str, *, x: str = "2,3,19,23", opset: int = 13) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x) => (float[n,c,h,w] y) {{ {body} }}"""


@pytest.mark.parametrize("seed", range(40))
def test_the_maximum_of_maxima(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    kernel = [rng.randint(1, 12), rng.randint(4, 12)]
    strides = [rng.choice([1, 2, k]) for k in kernel]
    pads = [0, 0, 0, 0] if seed % 3 == 0 else [rng.randint(0, k - 1) for k in kernel * 2]
    if seed % 7 == 0:
        body = f'y = MaxPool <kernel_shape = {kernel}, strides = {strides}, auto_pad = "SAME_LOWER"> (x)'
    else:
        body = f"y = MaxPool <kernel_shape = {kernel}, strides = {strides}, pads = {pads}> (x)"
    item = SplitMaxpool(max_area=rng.choice([4, 9]), max_side=3)
    result = rewrite(text(body, opset=rng.choice([9, 11, 13])), item)
    assert result.applied
    for node in result.model.graph:
        taps = list(node.attributes["kernel_shape"].as_ints())
        assert math.prod(taps) <= item.max_area
        assert max(taps) <= item.max_side
    result.assert_same()


def test_windows_that_do_not_overlap_are_split_without_overlap(rewrite: Rewrite) -> None:
    body = "y = MaxPool <kernel_shape = [1,12], strides = [1,12]> (x)"
    result = rewrite(text(body), SplitMaxpool(max_side=6))
    assert result.applied == ("kernel [1, 12] -> [1, 3] and [1, 4]",)
    result.assert_same()


def test_the_smallest_windows_are_split_by_axes(rewrite: Rewrite) -> None:
    result = rewrite(
        text("y = MaxPool <kernel_shape = [2,2], pads = [1,0,0,1]> (x)"), SplitMaxpool(max_area=2)
    )
    assert result.applied == ("kernel [2, 2] -> [2, 1] and [1, 2]",)
    result.assert_same()


def test_unknown_sizes(rewrite: Rewrite) -> None:
    body = "y = MaxPool <kernel_shape = [1,6], pads = [0,5,0,5]> (x)"
    result = rewrite(text(body, x="n,3,h,w"), SplitMaxpool(max_side=3), compare=False)
    assert result.applied


@pytest.mark.parametrize(
    ("body", "x", "limit", "reason"),
    [
        ("y, i = MaxPool <kernel_shape = [1,6]> (x) j = Neg (i)", "1,2,9,9", 4, "it also gives indices"),
        ("y = MaxPool <kernel_shape = [1,6], ceil_mode = 1> (x)", "1,2,9,9", 4, "ceil_mode"),
        ("y = MaxPool <kernel_shape = [1,6], dilations = [1,2]> (x)", "1,2,9,19", 4, "it is dilated"),
        ("y = MaxPool <kernel_shape = [1,6]> (x)", "1,2,9,5", 4, "larger than its padded input"),
        ("y = MaxPool <kernel_shape = [1,6]> (x)", "1,2,9,9", 1, "no window of at most"),
        ('y = MaxPool <kernel_shape = [1,6], auto_pad = "SAME_UPPER"> (x)', "1,2,h,w", 4, "SAME_UPPER"),
    ],
)
def test_declines(rewrite: Rewrite, body: str, x: str, limit: int, reason: str) -> None:
    result = rewrite(text(body, x=x), SplitMaxpool(max_side=limit), compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_what_fits_is_left_alone(rewrite: Rewrite) -> None:
    result = rewrite(text("y = MaxPool <kernel_shape = [13,13], pads = [6,6,6,6]> (x)"), SplitMaxpool())
    assert not result.applied
    assert not result.declined
