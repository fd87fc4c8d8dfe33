from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"


@pytest.mark.parametrize(
    ("body", "inputs", "expected"),
    [
        ("y = AveragePool<kernel_shape=[16,16]>(x)", "float[1,3,88,99] x", []),
        ("y = AveragePool<kernel_shape=[16,17]>(x)", "float[1,3,88,99] x", [f"{SLOW} pool_window"]),
        ("y = AveragePool<kernel_shape=[1,256]>(x)", "float[1,3,8,299] x", [f"{SLOW} pool_window"]),
        ("y = MaxPool<kernel_shape=[2,2], strides=[63,1]>(x)", "float[1,3,88,99] x", []),
        ("y = MaxPool<kernel_shape=[2,2], strides=[64,1]>(x)", "float[1,3,88,99] x", [f"{SLOW} pool_window"]),
        ("y = MaxPool<kernel_shape=[2,2]>(x)", "float[1,3,8,4096] x", []),
        ("y = MaxPool<kernel_shape=[2,2]>(x)", "float[1,3,8,4097] x", [f"{SLOW} pool_width"]),
        ("y = MaxPool<kernel_shape=[2]>(x)", "float[1,3,8] x", []),
        ("y = MaxPool<kernel_shape=[2,2,2,2]>(x)", "float[1,3,8,7,6,5] x", [f"{BAD} pool_rank"]),
        ('y = MaxPool<kernel_shape=[2,2], auto_pad="SAME_UPPER">(x)', "float[1,3,8,9] x", []),
        (
            'y = MaxPool<kernel_shape=[2,2], auto_pad="SAME_LOWER">(x)',
            "float[1,3,8,9] x",
            [f"{SLOW} same_lower"],
        ),
        ("y = MaxPool<kernel_shape=[2,2], ceil_mode=1>(x)", "float[1,3,8,9] x", []),
        (
            'y = MaxPool<kernel_shape=[2,2], ceil_mode=1, auto_pad="VALID">(x)',
            "float[1,3,8,9] x",
            [f"{SLOW} ceil_auto_pad"],
        ),
        (
            'y = AveragePool<kernel_shape=[2,2], ceil_mode=1, auto_pad="SAME_UPPER">(x)',
            "float[1,3,8,9] x",
            [f"{SLOW} ceil_auto_pad"],
        ),
        ("y, i = MaxPool<kernel_shape=[2,2]>(x)", "float[1,3,8,9] x", []),  # nobody reads i
        (
            "v, i = MaxPool<kernel_shape=[2,2]>(x) y = Identity(i)",
            "float[1,3,8,9] x",
            [f"{BAD} pool_indices"],
        ),
        (
            "y = MaxPool<kernel_shape=[2,2], storage_order=1>(x)",
            "float[1,3,8,9] x",
            [f"{BAD} pool_storage_order"],
        ),
        ("y = MaxPool<kernel_shape=[2,2], dilations=[1,1]>(x)", "float[1,3,8,9] x", []),
        (
            "y = MaxPool<kernel_shape=[2,2], dilations=[1,2]>(x)",
            "float[1,3,8,9] x",
            [f"{BAD} pool_dilations"],
        ),
        ("y = LpPool<kernel_shape=[2,2]>(x)", "float[1,3,8,9] x", []),
        (
            'y = LpPool<kernel_shape=[2,2], auto_pad="SAME_LOWER">(x)',
            "float[1,3,8,9] x",
            [f"{BAD} lp_auto_pad"],
        ),
    ],
)
def test_pools(codes: Callable[..., list[str]], body: str, inputs: str, expected: list[str]) -> None:
    assert codes(body, inputs=inputs) == expected


@pytest.mark.parametrize("attribute", ["ceil_mode=1", "dilations=[1,2]"])
def test_what_lp_pool_ignores_is_not_supported(codes: Callable[..., list[str]], attribute: str) -> None:
    body = f"y = LpPool<kernel_shape=[2,2], {attribute}>(x)"
    assert codes(body, opset=18, cann="9.2") == [f"{BAD} ignored"]
