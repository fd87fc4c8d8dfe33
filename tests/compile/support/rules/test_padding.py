from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"
PADS = "int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", []),
        ('mode="reflect"', [f"{SLOW} pad_mode_slow"]),
        ('mode="edge"', [f"{SLOW} pad_mode_slow"]),
    ],
)
def test_modes(codes: Callable[..., list[str]], attributes: str, expected: list[str]) -> None:
    assert codes(f"y = Pad<{attributes}>(x, p)", weights=f"<{PADS}>") == expected


def test_an_unknown_mode(codes: Callable[..., list[str]]) -> None:
    body = 'y = Pad<mode="wrap">(x, p)'
    assert codes(body, weights=f"<{PADS}>", opset=18, cann="9.2") == [f"{BAD} pad_mode"]


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        ("y = Pad(x, p, v)", {"weights": f"<{PADS}, float v = {{0}}>"}, []),
        ("y = Pad(x, p, v)", {"weights": f"<{PADS}, float v = {{-1.5}}>"}, [f"{SLOW} pad_value"]),
        (
            "y = Pad(x, p, v)",
            {"weights": f"<{PADS}>", "inputs": "float[1,3,8,9] x, float v"},
            [f"{SLOW} pad_value"],
        ),
        ("y = Pad<pads=[0,0,1,1,0,0,1,1]>(x)", {"opset": 9}, []),
        ("y = Pad<pads=[0,0,1,1,0,0,1,1], value=2.0>(x)", {"opset": 9}, [f"{SLOW} pad_value"]),
        ("y = Pad(x, p)", {"inputs": "float[1,3,8,9] x, int64[8] p"}, [f"{SLOW} computed_size"]),
        (
            "y = Pad(x, p, , a)",
            {"weights": "<int64[2] p = {1, 1}, int64[1] a = {2}>", "opset": 18, "cann": "9.2"},
            [f"{BAD} pad_axes"],
        ),
    ],
)
def test_values_and_widths(
    codes: Callable[..., list[str]], body: str, how: dict[str, object], expected: list[str]
) -> None:
    assert codes(body, **how) == expected
