from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"
NEW = {"opset": 18, "cann": "9.2"}


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        ("y = ReduceMean<axes=[2,3]>(x)", {}, []),
        ("y = ReduceMean(x)", {}, [f"{BAD} reduce_all"]),
        ("y = ReduceMax<keepdims=0>(x)", {}, [f"{BAD} reduce_all"]),
        ("y = ReduceMin(x)", {}, [f"{SLOW} reduce_all"]),
        ("y = ReduceSum(x, a)", {"opset": 13, "weights": "<int64[1] a = {2}>"}, []),
        ("y = ReduceSum(x)", {"opset": 13}, [f"{BAD} reduce_all"]),
        ("y = ReduceSum(x, a)", {"opset": 13, "weights": "<int64[0] a = {}>"}, [f"{BAD} reduce_all"]),
        (
            "y = ReduceSum(x, a)",
            {"opset": 13, "inputs": "float[1,3] x, int64[1] a"},
            [f"{SLOW} computed_size"],
        ),
        ("y = ReduceMax(x, a)", {**NEW, "weights": "<int64[1] a = {2}>"}, []),
        ("y = ReduceSum<noop_with_empty_axes=1>(x)", {"opset": 13}, [f"{BAD} reduce_noop"]),
        ("y = ArgMax<axis=1>(x)", {"opset": 12}, []),
        ("y = ArgMax<axis=1, select_last_index=1>(x)", {"opset": 12}, [f"{BAD} select_last_index"]),
        ("y = ArgMin<axis=1, select_last_index=1>(x)", {"opset": 12}, [f"{BAD} select_last_index"]),
    ],
)
def test_reductions(
    codes: Callable[..., list[str]], body: str, how: dict[str, object], expected: list[str]
) -> None:
    assert codes(body, **how) == expected
