import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.resize_5d import Resize5d

Rewrite = Callable[..., Any]

PREPARE = "static_shapes"
SUITABLE = """
    r = Constant <value = int64[5] {{1,1,1,2,2}}> () f = Reshape ({x}, r)
    s = Constant <value = float[5] {{1,1,2,2,3}}> () u = Resize <mode = "linear"> (f, , s)
    m = ReduceSum <keepdims = 0> (u) y = Add ({x}, m)
"""


def text(attributes: str, more: str, *, x: str = "2,3,4,5,6", call: str = "", opset: int = 13) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x) => (float[a,b,c,d,e] y) <{more}> {{ y = Resize <{attributes}> (x, {call}) }}"""


@pytest.mark.parametrize("seed", range(24))
def test_any_volume_is_resized_in_two_steps(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    mode = rng.choice(["linear", "nearest"])
    coordinates = rng.choice(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
    rounding = rng.choice(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
    attributes = f"""mode = "{mode}", coordinate_transformation_mode = "{coordinates}",
        nearest_mode = "{rounding}\""""
    if seed % 2:
        sizes = [2, 3, rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9)]
        model = text(attributes, f"int64[5] s = {{{','.join(map(str, sizes))}}}", call=", , s")
    else:
        scales = [1, 1, *(rng.choice([1, 2, 0.5, 1.5]) for _ in range(3))]
        model = text(attributes, f"float[5] s = {{{','.join(map(str, scales))}}}", call=", s")
    result = rewrite(model, Resize5d())
    assert result.applied
    assert all(len(node.inputs) == 3 for node in result.model.graph if node.op_type == "Resize")
    result.assert_same(rtol=1e-6 if mode == "linear" else 0.0)


def test_what_keeps_its_size_is_not_resized(rewrite: Rewrite) -> None:
    result = rewrite(text('mode = "linear"', "float[5] s = {1,1,1,2,3}", call=", s"), Resize5d())
    assert result.ops == ["Reshape", "Resize", "Reshape"]
    assert result.applied == ("4x5x6 -> 4x10x18",)
    result.assert_same(rtol=1e-6)
    result = rewrite(text('mode = "linear"', "float[5] s = {1,1,3,1,1}", call=", s"), Resize5d())
    assert result.ops == ["Reshape", "Resize", "Reshape"]
    result.assert_same(rtol=1e-6)


def test_the_batch_may_be_unknown(rewrite: Rewrite) -> None:
    model = text('mode = "linear"', "float[5] s = {1,1,2,2,3}", call=", s", x="n,3,4,5,6")
    result = rewrite(model, Resize5d())
    assert result.applied
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "scales", "x", "opset", "reason"),
    [
        ('mode = "cubic"', "1,1,2,2,2", "2,3,4,5,6", 13, "mode cubic is not taken apart"),
        ('mode = "linear", antialias = 1', "1,1,0.5,1,1", "2,3,4,5,6", 18, "linear with antialias is not"),
        ('mode = "linear"', "1,2,2,2,2", "2,3,4,5,6", 13, "it resizes batch or channels"),
        ('mode = "linear"', "1,1,0.1,2,2", "2,3,4,5,6", 13, "it is empty"),
        ('mode = "linear"', "1,1,2,2,2", "2,3,d,h,w", 13, "its sizes are not known"),
        ('mode = "nearest", coordinate_transformation_mode = "tf_half_pixel_for_nn"', "1,1,2,2,2",
         "2,3,4,5,6", 11, "moves also what keeps its size"),
        ('mode = "nearest"', "1,1,2,2,2", "2,3,4,5,6", 10, "opset 10 has another Resize"),
    ],
)  # fmt: skip
def test_declines(rewrite: Rewrite, attributes: str, scales: str, x: str, opset: int, reason: str) -> None:
    call = "s" if opset == 10 else ", s"
    if opset == 11:
        call = "r, s"
    model = text(attributes, f"float[5] s = {{{scales}}}, float[0] r = {{}}", call=call, x=x, opset=opset)
    result = rewrite(model, Resize5d(), compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_pictures_are_left_alone(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,2,3,4] x) => (float[a,b,c,d] y)
        <float[4] s = {1,1,2,2}> { y = Resize (x, , s) }"""
    result = rewrite(model, Resize5d())
    assert not result.applied
    assert not result.declined
