from collections.abc import Callable

import onnx
import pytest

from graphopt.compile.support.dtypes import limited_operators

SLOW = "restricted"


@pytest.mark.parametrize(
    ("body", "inputs", "soc", "expected"),
    [
        ("y = Add(x, x)", "float[5] x", "310P3", []),
        ("y = Add(x, x)", "int32[5] x", "310P3", []),
        ("y = Add(x, x)", "int64[5] x", "310P3", [f"{SLOW} int64"]),
        ("y = Where(c, x, x)", "bool[5] c, int64[5] x", "310P3", [f"{SLOW} int64"]),
        ("y = Where(c, x, x)", "bool[5] c, double[5] x", "310P3", [f"{SLOW} dtype"]),
        ("y = Gather(x, i)", "int64[5] x, int64[2] i", "310P3", []),
        ("y = Equal(x, x)", "int64[5] x", "310P3", []),
        ("y = Equal(x, x)", "int64[5] x", "310", [f"{SLOW} int64"]),
        ("y = Cast<to=1>(x)", "int64[5] x", "310", [f"{SLOW} int64"]),
        ("y = CumSum(x, a)", "int64[5] x, int32 a", "310P3", [f"{SLOW} int64"]),
        ("y = CumSum(x, a)", "double[5] x, int32 a", "310P3", [f"{SLOW} dtype"]),
        ("y = CumSum(x, a)", "float16[5] x, int32 a", "310P3", []),
        ("y = Softmax(x)", "double[5] x", "310P3", []),
    ],
)
def test_dtypes(
    codes: Callable[..., list[str]], body: str, inputs: str, soc: str, expected: list[str]
) -> None:
    assert codes(body, inputs=inputs, soc=soc) == expected


@pytest.mark.parametrize(
    ("body", "number", "expected"),
    [
        ("y = Mul(x, c)", "65504.0", []),
        ("y = Mul(x, c)", "-65505.0", [f"{SLOW} half_range"]),
        ("y = Clip(x, , c)", "3.4e38", []),  # bounds nothing in half precision either
    ],
)
def test_constants_beyond_half_precision(
    codes: Callable[..., list[str]], body: str, number: str, expected: list[str]
) -> None:
    assert codes(body, weights=f"<float c = {{{number}}}>") == expected


def test_all_names_of_the_table_are_in_the_standard() -> None:
    assert limited_operators() <= {schema.name for schema in onnx.defs.get_all_schemas()}
