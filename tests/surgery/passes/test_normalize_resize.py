import random
from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from graphopt.surgery.passes.normalize_resize import NormalizeResize
from graphopt.surgery.shapes.shape_inference import infer_types

Rewrite = Callable[..., Any]

PREPARE = "static_shapes"
SUITABLE = """
    r = Constant <value = int64[4] {{1,1,2,2}}> () f = Reshape ({x}, r)
    s = Constant <value = int64[4] {{1,1,4,6}}> ()
    u = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (f, , , s)
    m = ReduceSum <keepdims = 0> (u) y = Add ({x}, m)
"""


def text(call: str, *, x: str = "1,3,5,7", opset: int = 13, more: str = "", kind: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x{more}) => (float[a,b,c,d] y) {{ {kind} y = Resize {call} }}"""


def sizes(*numbers: int) -> str:
    return f"s = Constant <value = int64[{len(numbers)}] {{{','.join(map(str, numbers))}}}> ()"


def scales(*numbers: float) -> str:
    return f"f = Constant <value = float[{len(numbers)}] {{{','.join(map(str, numbers))}}}> ()"


MODES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("seed", range(30))
def test_sizes_become_scales_and_the_numbers_stay_to_the_last_bit(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    height, width = rng.randint(1, 9), rng.randint(1, 9)
    after = (1, 3, rng.randint(1, 20), rng.randint(1, 20))
    mode = rng.choice(["nearest", "linear", "cubic"])
    rounding = rng.choice(["floor", "ceil", "round_prefer_ceil", "round_prefer_floor"])
    call = f"""<mode = "{mode}", coordinate_transformation_mode = "{rng.choice(MODES)}",
        nearest_mode = "{rounding}"> (x, , , s)"""
    model = text(call, x=f"1,3,{height},{width}", kind=sizes(*after), opset=rng.choice([13, 18]))
    result = rewrite(model, NormalizeResize())
    assert "an empty roi" in result.applied[0]
    (node,) = (node for node in result.model.graph if node.op_type == "Resize")
    if not result.declined:
        assert len(node.inputs) == 3
    result.assert_same()


@pytest.mark.parametrize("scale", [(2.0, 3.0), (0.5, 1.5), (2.0, 0.25)])
@pytest.mark.parametrize("mode", ["align_corners", "asymmetric"])
def test_scales_become_sizes_where_they_are_asked_for(rewrite: Rewrite, scale: Any, mode: str) -> None:
    call = f'<mode = "linear", coordinate_transformation_mode = "{mode}"> (x, , f)'
    result = rewrite(text(call, x="1,3,8,4", kind=scales(1, 1, *scale)), NormalizeResize(give="sizes"))
    assert result.applied == ("an empty roi, constant sizes",)
    (node,) = (node for node in result.model.graph if node.op_type == "Resize")
    assert node.inputs[2] is None
    result.assert_same()


def test_scales_that_opset_11_wants_are_empty(rewrite: Rewrite) -> None:
    call = '<mode = "linear", coordinate_transformation_mode = "asymmetric"> (x, r, f)'
    model = text(call, kind=scales(1, 1, 2, 3) + " r = Constant <value = float[0] {}> ()", opset=11)
    result = rewrite(model, NormalizeResize(give="sizes"))
    assert result.applied == ("constant sizes",)
    result.assert_same()


def test_axes_are_spelled_out(rewrite: Rewrite) -> None:
    call = '<axes = [3, -2], mode = "linear", coordinate_transformation_mode = "asymmetric"> (x, , {})'
    result = rewrite(text(call.format("f"), opset=18, kind=scales(3, 2)), NormalizeResize())
    assert result.applied == ("an empty roi, constant scales",)
    result.assert_same()
    result = rewrite(text(call.format(", s"), opset=18, kind=sizes(14, 15)), NormalizeResize())
    assert result.applied == ("an empty roi, constant scales",)
    result.assert_same()


def test_the_two_spellings_of_half_pixel_are_kept_apart_where_they_differ(rewrite: Rewrite) -> None:
    call = '<mode = "linear"> (x, , , s)'
    one = rewrite(text(call, kind=sizes(1, 3, 1, 14)), NormalizeResize())
    assert "pytorch_half_pixel" not in one.applied[0]
    one.assert_same()
    two = rewrite(text(call, kind=sizes(1, 3, 2, 14)), NormalizeResize())
    assert "pytorch_half_pixel" in two.applied[0]
    two.assert_same()
    back = call.replace('"linear"', '"linear", coordinate_transformation_mode = "pytorch_half_pixel"')
    three = rewrite(text(back, kind=sizes(1, 3, 2, 14)), NormalizeResize(coordinates="half_pixel"))
    assert "half_pixel" in three.applied[0]
    three.assert_same()


def test_what_is_spelled_as_wanted_is_left_alone(rewrite: Rewrite) -> None:
    call = '<mode = "nearest", coordinate_transformation_mode = "asymmetric"> (x, r, f)'
    model = text(call, kind=scales(1, 1, 2, 2) + " r = Constant <value = float[0] {}> ()")
    result = rewrite(model, NormalizeResize())
    assert not result.applied
    assert not result.declined


TRACED = """k = Shape (x) i = Constant <value = int64[1] {0}> () j = Constant <value = int64[1] {2}> ()
    h = Constant <value = int64[2] {11,12}> () c = Slice (k, i, j, i) s = Concat <axis = 0> (c, h)"""
"""The sizes of a map that is brought to 11 x 12, its batch as it is."""


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [11, 13])
def test_an_open_batch_stays_open(rewrite: Rewrite, mode: str, opset: int) -> None:
    empty = "o = Constant <value = float[0] {}> () "
    call = f'<mode = "{mode}", coordinate_transformation_mode = "asymmetric"> (x, o, o, s)'
    result = rewrite(text(call, x="n,3,5,7", kind=empty + TRACED, opset=opset), NormalizeResize())
    assert result.applied == ("constant scales",)
    assert result.ops == ["Constant", "Resize"]  # the empty roi, and no Shape
    result.assert_same()


@pytest.mark.parametrize("x", ["n,3,h,7", "n,3,9,h"])
def test_sizes_that_the_image_decides_stay_computed(rewrite: Rewrite, x: str) -> None:
    empty = "o = Constant <value = float[0] {}> () "
    result = rewrite(text("(x, o, o, s)", x=x, kind=empty + TRACED), NormalizeResize(), compare=False)
    assert result.declined == ("its sizes are computed at run time; run static_shapes first",)


ROI = "r = Constant <value = float[0] {}> () "
PLAIN = '<coordinate_transformation_mode = "asymmetric"> '


@pytest.mark.parametrize(
    ("model", "give", "reason"),
    [
        (text(PLAIN + "(x, r, , s)", kind=ROI + sizes(1, 3, 9, 9), x="n,3,5,7"), "scales",
         "has shape [n, 3, 5, 7]"),
        (text(PLAIN + "(x, r, , s)", kind=ROI, more=", int64[4] s"), "scales",
         "sizes are computed at run time"),
        (text(PLAIN + "(x, r, f)", kind=ROI + scales(1, 1, 1.3, 1)), "sizes", "are not the quotients"),
        (text('<coordinate_transformation_mode = "tf_crop_and_resize"> (x, r, , s)',
              kind=sizes(1, 3, 4, 4) + " r = Constant <value = float[8] {0,0,0,0,1,1,0.5,0.5}> ()"),
         "scales", "tf_crop_and_resize"),
        (text('<keep_aspect_ratio_policy = "not_larger"> (x, r, , s)', kind=ROI + sizes(1, 3, 9, 9),
              opset=18),
         "scales", "keep_aspect_ratio_policy is not_larger"),
        (text("(x, f)", kind=scales(1, 1, 2, 2), opset=10), "scales", "opset 10 has no other spelling"),
    ],
)  # fmt: skip
def test_declines(rewrite: Rewrite, model: str, give: Any, reason: str) -> None:
    result = rewrite(model, NormalizeResize(give=give), compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_declines_where_float32_misses_the_size(rewrite: Rewrite) -> None:
    missed = 0
    for height in range(1, 60):
        call = PLAIN + "(x, r, , s)"
        result = rewrite(
            text(call, x=f"1,1,{height},2", kind=ROI + sizes(1, 1, 55, 2)), NormalizeResize(), compare=False
        )
        missed += bool(result.declined)
        assert result.applied or "no float32 scale leads" in result.declined[0]
    assert missed < 30


@pytest.mark.parametrize(("before", "after", "applies"), [(12, 23, True), (10, 19, True), (6, 10, False)])
def test_a_scale_that_inference_rounds_down_too_far_becomes_the_next(
    rewrite: Rewrite, before: int, after: int, applies: bool
) -> None:
    """As in a pyramid of odd sizes: 12 times float32(23 / 12) is below 23, which only float32 rounds up."""
    call = """<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
        (x, r, , s)"""
    model = text(call, x=f"1,1,{before},2", kind=ROI + sizes(1, 1, after, 4))
    result = rewrite(model, NormalizeResize())
    assert bool(result.applied) is applies
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    assert infer_types(result.model)[result.model.graph.outputs[0]].static == (1, 1, after, 4)
    result.assert_same()


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_interpolation_that_would_move_by_a_rounding_is_left(rewrite: Rewrite, mode: str) -> None:
    call = f'<mode = "{mode}", coordinate_transformation_mode = "half_pixel"> (x, r, , s)'
    model = text(call, x="1,1,12,2", kind=ROI + sizes(1, 1, 23, 4))
    result = rewrite(model, NormalizeResize(coordinates="as_is"), compare=False)
    assert not result.applied
    assert "no float32 scale leads" in result.declined[0]
