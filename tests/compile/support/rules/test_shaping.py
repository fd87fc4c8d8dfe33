from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        ("c = Constant<value = float[1] {2}>() y = Add(x, c)", {}, []),
        ("c = Constant<value_float = 2.0>() y = Add(x, c)", {"opset": 12}, [f"{BAD} constant_form"]),
        ("y = Expand(x, n)", {"weights": "<int64[4] n = {1, 3, 8, 9}>"}, []),
        ("y = Expand(x, n)", {"inputs": "float[1] x, int64[1] n"}, [f"{SLOW} computed_size"]),
        ("y = Reshape(x, n)", {"inputs": "float[6] x, int64[2] n"}, [f"{SLOW} computed_size"]),
        ("y = ConstantOfShape(n)", {"weights": "<int64[2] n = {3, 5}>"}, []),
        ("y = ConstantOfShape(n)", {"weights": "<int64[2] n = {3, 0}>"}, [f"{SLOW} fill_shape"]),
        ("y = ConstantOfShape(n)", {"weights": "<int64[0] n = {}>"}, [f"{SLOW} fill_shape"]),
        ("y = ConstantOfShape(n)", {"inputs": "int64[2] n"}, [f"{SLOW} computed_size"]),
        ("y = Concat<axis=0>(x, z)", {"inputs": "float[2,3] x, float[1,3] z"}, []),
        ("y = Concat<axis=0>(x, z)", {"inputs": "float[2,3] x, float[0,3] z"}, [f"{SLOW} empty_input"]),
    ],
)
def test_constants_and_shapes(
    codes: Callable[..., list[str]], body: str, how: dict[str, object], expected: list[str]
) -> None:
    assert codes(body, **how) == expected


@pytest.mark.parametrize(
    ("equation", "inputs", "expected"),
    [
        ("abc,cd->abd", "float[2,3,5] x, float[5,7] z", []),
        ("b i k, k j -> b i j", "float[2,3,5] x, float[5,7] z", []),
        ("bhid,bhjd->bhij", "float[1,2,3,5] x, float[1,2,7,5] z", [f"{SLOW} einsum"]),
        ("ij->ji", "float[2,3] x", [f"{SLOW} einsum"]),
    ],
)
def test_equations(codes: Callable[..., list[str]], equation: str, inputs: str, expected: list[str]) -> None:
    names = "x, z" if "z" in inputs else "x"
    assert codes(f'y = Einsum<equation="{equation}">({names})', inputs=inputs, opset=12) == expected
