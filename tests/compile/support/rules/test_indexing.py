from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"
DYNAMIC = f"{SLOW} data_dependent"


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        ("y = Gather(x, i)", {"weights": "<int64 i = {2}>"}, []),
        ("y = Gather(x, i)", {"weights": "<int64 i = {-1}>"}, [f"{BAD} negative_index"]),
        ("y = Gather(x, i)", {"inputs": "float[5,3] x, int64[2] i"}, []),
        (
            "y = ScatterND(x, i, u)",
            {"inputs": "float[5] x, float[2] u", "weights": "<int64[2,1] i = {1, -2}>"},
            [f"{BAD} negative_index"],
        ),
        ("y = ScatterND(x, i, u)", {"inputs": "float[5] x, int64[2,1] i, float[2] u"}, []),
        ("y = GatherND(x, i)", {"inputs": "float[5,3] x, int64[5,1] i", "opset": 12}, []),
        (
            "y = GatherND<batch_dims=1>(x, i)",
            {"inputs": "float[5,3] x, int64[5,1] i", "opset": 12},
            [f"{BAD} batch_dims"],
        ),
        (
            'y = ScatterND<reduction="mul">(x, i, u)',
            {"inputs": "float[5] x, int64[2,1] i, float[2] u", "opset": 16, "cann": "9.2"},
            [f"{BAD} scatter_reduction"],
        ),
        (
            'y = ScatterND<reduction="add">(x, i, u)',
            {"inputs": "float[5] x, int64[2,1] i, float[2] u", "opset": 16, "cann": "9.2"},
            [],
        ),
    ],
)
def test_gathers_and_scatters(
    codes: Callable[..., list[str]], body: str, how: dict[str, object], expected: list[str]
) -> None:
    assert codes(body, **how) == expected


@pytest.mark.parametrize(
    ("inputs", "steps", "axes", "expected"),
    [
        ("float[5,7] x", "{1, 1}", "{0, 1}", []),
        ("float[5,7] x", "{2, 1}", "{0, 1}", []),
        ("float[5,7] x", "{1, 2}", "{0, 1}", [f"{SLOW} slice_step"]),
        ("float[5,7] x", "{2, 1}", "{-1, 0}", [f"{SLOW} slice_step"]),
    ],
)
def test_steps_of_slices(
    codes: Callable[..., list[str]], inputs: str, steps: str, axes: str, expected: list[str]
) -> None:
    weights = f"<int64[2] b = {{0, 0}}, int64[2] e = {{4, 4}}, int64[2] a = {axes}, int64[2] s = {steps}>"
    assert codes("y = Slice(x, b, e, a, s)", inputs=inputs, weights=weights) == expected


def test_a_slice_at_computed_places(codes: Callable[..., list[str]]) -> None:
    inputs = "float[5,7] x, int64[1] b, int64[1] e"
    assert codes("y = Slice(x, b, e)", inputs=inputs) == [f"{SLOW} computed_size"]


def test_a_slice_of_a_vector(codes: Callable[..., list[str]]) -> None:
    weights = "<int64[1] b = {0}, int64[1] e = {4}>"
    assert codes("y = Slice(x, b, e)", inputs="float[5] x", weights=weights) == [f"{SLOW} slice_vector"]
    assert codes("y = Slice<starts=[0], ends=[4]>(x)", inputs="float[5,3] x", opset=9) == []


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        ("y, z = Split(x)", {"inputs": "float[6,3] x"}, []),
        ("y = Split(x)", {"inputs": "float[6,3] x"}, [f"{SLOW} single_split"]),
        ("y, z = Split<num_outputs=2>(x)", {"inputs": "float[6,3] x", "opset": 18, "cann": "9.2"}, []),
        (
            "y, z = Split<num_outputs=2>(x)",
            {"inputs": "float[5,3] x", "opset": 18, "cann": "9.2"},
            [f"{BAD} uneven_split"],
        ),
    ],
)
def test_splits(
    codes: Callable[..., list[str]], body: str, how: dict[str, object], expected: list[str]
) -> None:
    assert codes(body, **how) == expected


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        ("y, i = TopK(x, k)", {"weights": "<int64[1] k = {2}>"}, []),
        ("v, i = TopK(x, k) y = Cast<to=6>(i)", {"weights": "<int64[1] k = {2}>"}, []),
        ("v, i = TopK(x, k) y = Identity(i)", {"weights": "<int64[1] k = {2}>"}, [f"{SLOW} topk_int64"]),
        ("v, y = TopK(x, k)", {"weights": "<int64[1] k = {2}>"}, [f"{SLOW} topk_int64"]),
        ("y, i = TopK(x, k)", {"inputs": "float[5] x, int64[1] k"}, [f"{SLOW} topk_computed"]),
        ("y, i = TopK<k=2>(x)", {"opset": 9}, []),
    ],
)
def test_top_k(
    codes: Callable[..., list[str]], body: str, how: dict[str, object], expected: list[str]
) -> None:
    assert codes(body, **how) == expected


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        ("y = NonZero(x)", {}, [DYNAMIC]),
        ("y = Compress(x, c)", {"inputs": "float[5] x, bool[5] c"}, [DYNAMIC]),
        ("y = Unique(x)", {"inputs": "float[5] x", "cann": "9.2"}, [DYNAMIC]),
        (
            "v, y = Unique(x)",
            {"inputs": "float[5] x", "cann": "9.2"},
            [DYNAMIC, f"{BAD} unique_indices"],
        ),
    ],
)
def test_sizes_that_the_data_decide(
    codes: Callable[..., list[str]], body: str, how: dict[str, object], expected: list[str]
) -> None:
    assert codes(body, **how) == expected


@pytest.mark.parametrize(
    ("weights", "more", "expected"),
    [
        ("<int64 m = {700}, float t = {0.5}>", "", [DYNAMIC]),
        ("<int64 m = {701}, float t = {0.5}>", "", [DYNAMIC, f"{SLOW} nms_boxes"]),
        ("<int64 m = {5}>", ", float t", [DYNAMIC, f"{SLOW} nms_computed"]),
    ],
)
def test_suppression(codes: Callable[..., list[str]], weights: str, more: str, expected: list[str]) -> None:
    inputs = f"float[1,6,4] x, float[1,3,6] s{more}"
    assert codes("y = NonMaxSuppression(x, s, m, t)", inputs=inputs, weights=weights) == expected


@pytest.mark.parametrize(("axis", "expected"), [(-1, []), (0, []), (-2, [f"{BAD} one_hot_axis"])])
def test_one_hot(codes: Callable[..., list[str]], axis: int, expected: list[str]) -> None:
    inputs = "int64[5] x, int64 d, float[2] v"
    assert codes(f"y = OneHot<axis={axis}>(x, d, v)", inputs=inputs) == expected


@pytest.mark.parametrize(("offset", "expected"), [(0, []), (1, [f"{BAD} trilu_k"])])
def test_trilu(codes: Callable[..., list[str]], offset: int, expected: list[str]) -> None:
    weights = f"<int64 k = {{{offset}}}>"
    assert codes("y = Trilu(x, k)", inputs="float[5,7] x", weights=weights, opset=14) == expected
