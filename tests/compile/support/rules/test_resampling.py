from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"
SCALES = "<float[0] r = {}, float[4] s = {1, 1, 2, 2}>"
VOLUME = "<float[0] r = {}, float[5] s = {1, 1, 1, 2, 2}>"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('mode="linear"', []),
        ('mode="nearest", nearest_mode="round_prefer_ceil"', []),
        # 0.5 is floored to 0, and rounded to 1
        ('nearest_mode="floor", coordinate_transformation_mode="asymmetric"', [f"{SLOW} resize_rounding"]),
        # at a quarter and three quarters both take the same
        ('nearest_mode="round_prefer_floor", coordinate_transformation_mode="half_pixel"', []),
        ('mode="cubic"', [f"{SLOW} resize_cubic"]),
    ],
)
def test_resize_modes(codes: Callable[..., list[str]], attributes: str, expected: list[str]) -> None:
    assert codes(f"y = Resize<{attributes}>(x, r, s)", weights=SCALES) == expected


def test_the_rounding_of_unknown_sizes_is_not_judged_as_fine(codes: Callable[..., list[str]]) -> None:
    body = 'y = Resize<nearest_mode="round_prefer_floor">(x, r, s)'
    assert codes(body, weights=SCALES, inputs="float[1,3,N,9] x") == [f"{SLOW} resize_rounding"]


def test_the_oldest_resize_has_two_inputs_and_no_rounding(codes: Callable[..., list[str]]) -> None:
    assert codes("y = Resize(x, s)", weights=SCALES, opset=10) == []


def test_too_few_inputs(codes: Callable[..., list[str]]) -> None:
    assert f"{BAD} resize_inputs" in codes('y = Resize<mode="linear">(x)')


def test_a_computed_size_is_restricted(codes: Callable[..., list[str]]) -> None:
    body = 'y = Resize<mode="linear">(x, , , n)'
    assert codes(body, inputs="float[1,3,8,9] x, int64[4] n") == [f"{SLOW} computed_size"]
    assert codes(body, weights="<int64[4] n = {1, 3, 16, 9}>") == []


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('mode="linear", coordinate_transformation_mode="align_corners"', []),
        ('mode="linear", coordinate_transformation_mode="half_pixel"', [f"{BAD} resize_5d"]),
        ('mode="nearest", nearest_mode="round_prefer_ceil"', [f"{BAD} resize_5d"]),
    ],
)
def test_volumes(codes: Callable[..., list[str]], attributes: str, expected: list[str]) -> None:
    body = f"y = Resize<{attributes}>(x, r, s)"
    assert codes(body, weights=VOLUME, inputs="float[1,3,7,8,9] x") == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("antialias=0", []),
        ("antialias=1", [f"{BAD} resize_ignored"]),
        ('keep_aspect_ratio_policy="stretch"', []),
        ('keep_aspect_ratio_policy="not_larger"', [f"{BAD} resize_ignored"]),
    ],
)
def test_what_opset_18_added(codes: Callable[..., list[str]], attributes: str, expected: list[str]) -> None:
    body = f'y = Resize<mode="linear", {attributes}>(x, r, s)'
    assert codes(body, weights=SCALES, opset=18, cann="9.2") == expected


@pytest.mark.parametrize(("mode", "expected"), [("nearest", []), ("cubic", [f"{BAD} upsample_mode"])])
def test_upsample(codes: Callable[..., list[str]], mode: str, expected: list[str]) -> None:
    assert codes(f'y = Upsample<mode="{mode}">(x, s)', weights=SCALES, opset=9) == expected


@pytest.mark.parametrize(
    ("mode", "inputs", "expected"),
    [
        ("bilinear", "float[1,3,8,9] x, float[1,5,6,2] g", []),
        ("bicubic", "float[1,3,8,9] x, float[1,5,6,2] g", [f"{BAD} grid_mode"]),
        ("nearest", "float[1,3,7,8,9] x, float[1,4,5,6,3] g", [f"{BAD} grid_rank"]),
    ],
)
def test_grid_sample(codes: Callable[..., list[str]], mode: str, inputs: str, expected: list[str]) -> None:
    body = f'y = GridSample<mode="{mode}">(x, g)'
    assert codes(body, inputs=inputs, opset=16, cann="9.2") == expected


@pytest.mark.parametrize(("mode", "expected"), [("avg", []), ("max", [f"{BAD} ignored"])])
def test_roi_align(codes: Callable[..., list[str]], mode: str, expected: list[str]) -> None:
    inputs = "float[1,3,8,9] x, float[5,4] r, int64[5] b"
    assert codes(f'y = RoiAlign<mode="{mode}">(x, r, b)', inputs=inputs) == expected
