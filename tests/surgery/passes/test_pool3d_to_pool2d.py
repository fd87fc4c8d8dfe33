import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.pool3d_to_pool2d import Pool3dToPool2d

Rewrite = Callable[..., Any]

SUITABLE = """
    r = Constant <value = int64[5] {{1,1,1,2,2}}> () f = Reshape ({x}, r)
    p = MaxPool <kernel_shape = [1,2,2]> (f) q = Constant <value = int64[2] {{1,1}}> ()
    m = Reshape (p, q) y = Add ({x}, m)
"""


def text(body: str, *, x: str = "2,3,6,7,8", opset: int = 13, more: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x) => (float[a,b,c,d,e] y{more}) {{ {body} }}"""


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("seed", range(12))
def test_any_pool_in_one_step_or_two(rewrite: Rewrite, op: str, seed: int) -> None:
    rng = random.Random(f"{op}{seed}")
    kernel = [rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 4)]
    if seed % 3 == 0:
        kernel[0] = 1
    strides = [rng.randint(1, 2) for _ in range(3)]
    pads = [rng.randint(0, k - 1) for k in kernel] + [rng.randint(0, k - 1) for k in kernel]
    if op == "MaxPool" and seed % 2:
        pads = [0] * 6
    extra = ", count_include_pad = 1" if op == "AveragePool" else f", ceil_mode = {seed % 2}"
    attributes = f"kernel_shape = {kernel}, strides = {strides}, pads = {pads}{extra}"
    result = rewrite(text(f"y = {op} <{attributes}> (x)", opset=rng.choice([10, 13, 17])), Pool3dToPool2d())
    assert result.applied
    assert all(
        len(node.attributes["kernel_shape"].as_ints()) == 2
        for node in result.model.graph
        if node.op_type == op
    )
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize(("kernel", "pads"), [("1,2,3", "0,1,2,0,0,1"), ("3,1,1", "2,0,0,1,0,0")])
@pytest.mark.parametrize("counted", [0, 1])
def test_a_pool_along_some_axes_is_one_pool(rewrite: Rewrite, kernel: str, pads: str, counted: int) -> None:
    body = f"""y = AveragePool <kernel_shape = [{kernel}], pads = [{pads}],
        count_include_pad = {counted}> (x)"""
    result = rewrite(text(body), Pool3dToPool2d())
    assert result.ops == ["Reshape", "AveragePool", "Reshape"]
    result.assert_same(rtol=1e-6)


def test_a_norm_pool_along_some_axes(rewrite: Rewrite) -> None:
    result = rewrite(text("y = LpPool <kernel_shape = [1,2,2], p = 1> (x)"), Pool3dToPool2d())
    assert "LpPool" in result.ops
    result.assert_same(rtol=1e-6)


def test_the_batch_may_be_unknown_and_auto_pad_is_worked_out(rewrite: Rewrite) -> None:
    body = 'y = MaxPool <kernel_shape = [3,2,2], auto_pad = "SAME_LOWER"> (x)'
    result = rewrite(text(body, x="n,3,6,7,8"), Pool3dToPool2d())
    assert result.applied
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "x", "reason"),
    [
        ("y, i = MaxPool <kernel_shape = [1,2,2]> (x) j = Neg (i)", "2,3,6,7,8", "it also gives indices"),
        ("y = MaxPool <kernel_shape = [1,2,2]> (x)", "2,3,d,7,8", "its sizes are not known"),
        ("y = MaxPool <kernel_shape = [1,2,2]> (x)", "2,0,6,7,8", "it is empty"),
        ("y = LpPool <kernel_shape = [2,2,2]> (x)", "2,3,6,7,8", "norms do not fall into parts"),
        (
            "y = AveragePool <kernel_shape = [2,2,2], pads = [1,0,0,0,0,0]> (x)",
            "2,3,6,7,8",
            "all of one size",
        ),
        ("y = AveragePool <kernel_shape = [2,2,2], ceil_mode = 1> (x)", "2,3,6,7,8", "of one size"),
        ("y = MaxPool <kernel_shape = [1,2,2], pads = [0,1,0,0,0,0], ceil_mode = 1> (x)", "2,3,6,7,8",
         "runtimes disagree"),
        ('y = MaxPool <kernel_shape = [1,2,2], auto_pad = "SAME_UPPER"> (x)', "2,3,d,7,8", "SAME_UPPER"),
    ],
)  # fmt: skip
def test_declines(rewrite: Rewrite, body: str, x: str, reason: str) -> None:
    result = rewrite(text(body, x=x), Pool3dToPool2d(), compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_pools_of_pictures_are_left_alone(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,2,3,4] x) => (float[a,b,c,d] y) { y = MaxPool <kernel_shape = [2,2]> (x) }"""
    result = rewrite(model, Pool3dToPool2d())
    assert not result.applied
    assert not result.declined
