from collections.abc import Callable

import pytest

BAD = "unsupported"


@pytest.mark.parametrize(
    ("body", "opset", "expected"),
    [
        ("y = RandomNormalLike(x)", 11, []),
        ("y = RandomNormalLike<dtype=10>(x)", 11, []),
        ("y = RandomNormalLike<dtype=16>(x)", 15, [f"{BAD} random_dtype"]),
        ("y = RandomNormal<shape=[5], dtype=11>()", 11, []),
        ("y = RandomUniformLike<dtype=16>(x)", 15, [f"{BAD} random_dtype"]),
        ("y = Multinomial<dtype=7>(x)", 11, []),
    ],
)
def test_dtypes(codes: Callable[..., list[str]], body: str, opset: int, expected: list[str]) -> None:
    assert codes(body, inputs="float[2,5] x", opset=opset) == expected
