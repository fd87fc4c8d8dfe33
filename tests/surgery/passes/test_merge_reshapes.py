from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.merge_reshapes import MergeReshapes

SUITABLE = """
    r = Constant <value = int64[2] {{2,2}}> () a = Reshape ({x}, r) b = Flatten <axis = 0> (a) y = Exp (b)
"""

Rewrite = Callable[..., Any]


def graph(
    body: str, shape: str = "3,1,4", opset: int = 11, constants: str = "", outputs: str = "float[a,b] y"
) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{shape}] x) => ({outputs}) {constants} {{ v = Relu (x) {body} }}"""


@pytest.mark.parametrize(
    ("body", "ops"),
    [
        ("a = Unsqueeze <axes = [0]> (v) b = Flatten <axis = 2> (a) y = Exp (b)", ["Reshape"]),
        ("a = Squeeze <axes = [1]> (v) b = Unsqueeze <axes = [1]> (a) y = Exp (b)", []),
        ("a = Squeeze (v) b = Flatten (a) y = Exp (b)", ["Squeeze"]),
        ("a = Reshape (v, s) b = Reshape (a, t) c = Squeeze (b) y = Exp (c)", ["Squeeze"]),
        ("a = Reshape (v, t) y = Exp (a)", []),
        ("a = Reshape (v, t) b = Unsqueeze <axes = [0]> (a) c = Squeeze <axes = [0]> (b) y = Exp (c)", []),
        ("a = Reshape (v, t) b = Reshape (a, t) c = Flatten (b) d = Flatten (c) y = Exp (d)", ["Flatten"]),
        ("a = Unsqueeze <axes = [0]> (v) y = Reshape (a, s)", ["Reshape"]),
    ],
)
def test_chains_become_one_or_none(rewrite: Rewrite, body: str, ops: list[str]) -> None:
    constants = "<int64[2] s = {2,-1}, int64[3] t = {3,1,4}>"
    text = graph(body, constants=constants, outputs="float y")
    result = rewrite(text, MergeReshapes(), compare=False)
    left = [op for op in result.ops if op not in ("Relu", "Exp")]
    assert left == ops


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        ("a = Unsqueeze <axes = [1]> (v) b = Unsqueeze <axes = [2]> (a) y = Exp (b)", [0, 1, 1, 4]),
        ("a = Unsqueeze <axes = [0]> (v) b = Unsqueeze <axes = [3]> (a) y = Exp (b)", [1, -1, 4, 1]),
        ("a = Unsqueeze <axes = [0]> (v) b = Reshape (a, s) y = Exp (b)", [2, 2, -1]),
        ("a = Unsqueeze <axes = [2]> (v) b = Squeeze <axes = [2]> (a) y = Exp (b)", None),
    ],
)
def test_one_size_may_be_unknown(
    rewrite: Rewrite, model_of: Rewrite, run_model: Rewrite, body: str, sizes: list[int] | None, size: int
) -> None:
    text = graph(body, shape="n,4", constants="<int64[3] s = {2,2,-1}>", outputs="float y")
    text = text.replace(
        "(float y)", "(float[a,b] y)" if sizes is None else f"(float[{','.join('abcd'[: len(sizes)])}] y)"
    )
    result = rewrite(text, MergeReshapes())
    reshapes = [node for node in result.model.graph if node.op_type == "Reshape"]
    found = [node.inputs[1].const_value.numpy().tolist() for node in reshapes]
    assert found == ([] if sizes is None else [sizes])
    assert len(result.ops) == 2 + len(reshapes)
    feeds = {"x": np.random.default_rng(2).standard_normal((size, 4)).astype(np.float32)}
    expected, got = (run_model(model, feeds)["y"] for model in (model_of(text), result.model))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("body", "shape", "why"),
    [
        (
            "a = Unsqueeze <axes = [1]> (v) z = Neg (a) y = Flatten <axis = 0> (a)",
            "3,4",
            "a is also read by Neg z",
        ),
        (
            "a = Unsqueeze <axes = [0]> (v) y = Unsqueeze <axes = [0]> (a) z = Neg (v)",
            "n,m,4",
            "more than one size of",
        ),
        (
            "a = Unsqueeze <axes = [1]> (v) y = Unsqueeze <axes = [4]> (a) z = Neg (v)",
            "n,m,4",
            "more than one size of",
        ),
        ("a = Unsqueeze <axes = [2]> (v) y = Squeeze <axes = [0]> (a) z = Neg (v)", "1,0,4", "it is empty"),
    ],
)
def test_reasons_to_decline(rewrite: Rewrite, body: str, shape: str, why: str) -> None:
    outputs = {"3,4": "float[a,b] y, float[c,d,e] z"}.get(shape, "float y, float z")
    result = rewrite(graph(body, shape=shape, outputs=outputs), MergeReshapes(), compare=shape == "3,4")
    assert not result.applied
    assert [reason.startswith(why) for reason in result.declined] == [True], result.declined
    result.assert_same()


def test_an_output_with_the_shape_of_an_input_stays(rewrite: Rewrite) -> None:
    text = graph("a = Unsqueeze <axes = [0]> (x) y = Squeeze <axes = [0]> (a) z = Neg (v)", "3,4")
    result = rewrite(text.replace("[a,b] y", "[a,b] y, float[c,d] z"), MergeReshapes())
    assert result.declined == (
        "it makes the graph output y from the graph input x, which must keep its own name",
    )
    result.assert_same()


@pytest.mark.parametrize("opset", [9, 13, 21])
def test_all_opsets_are_read(rewrite: Rewrite, opset: int) -> None:
    if opset < 13:
        body = "a = Unsqueeze <axes = [0]> (v) b = Squeeze <axes = [0, 2]> (a) y = Exp (b)"
    else:
        body = """z = Constant <value_ints = [0]> () t = Constant <value_ints = [0,2]> ()
            a = Unsqueeze (v, z) b = Squeeze (a, t) y = Exp (b)"""
    result = rewrite(graph(body, opset=opset), MergeReshapes())
    assert "Squeeze" not in result.ops
    assert result.ops.count("Reshape") == 1
    result.assert_same()


@pytest.mark.parametrize("size", [0, 3])
def test_an_empty_tensor_stays_one(
    rewrite: Rewrite, model_of: Rewrite, run_model: Rewrite, size: int
) -> None:
    text = graph("a = Unsqueeze <axes = [0]> (v) b = Flatten <axis = 2> (a) y = Exp (b)", shape="n,4")
    result = rewrite(text, MergeReshapes())
    feeds = {"x": np.ones((size, 4), np.float32)}
    expected, got = (run_model(model, feeds)["y"] for model in (model_of(text), result.model))
    assert expected.shape == got.shape


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        ("t = Transpose <perm = [1, 0, 2]> (x) y = Reshape (t, flat)", [-1]),
        ("r = Reshape (x, wide) t = Transpose <perm = [0, 2, 1, 3]> (r) y = Relu (t)", [2, 1, 3, 5]),
        ("r = Reshape (x, wide) t = Transpose (r) y = Relu (t)", None),
        ("t = Transpose <perm = [2, 1, 0]> (x) y = Reshape (t, flat)", None),
    ],
)
def test_a_transpose_that_moves_axes_of_size_one_is_a_reshape_too(
    rewrite: Rewrite, body: str, sizes: list[int] | None
) -> None:
    shapes = "float[a] y" if body.endswith("flat)") else "float[a,b,c,d] y"
    result = rewrite(
        f"""<ir_version: 8, opset_import: ["" : 13]> g (float[1,6,5] x) => ({shapes})
        <int64[1] flat = {{-1}}, int64[4] wide = {{2,3,1,5}}> {{ {body} }}""",
        MergeReshapes(),
    )
    assert ("Transpose" in result.ops) == (sizes is None)
    if sizes is not None:
        assert result.model.graph[0].inputs[1].const_value.numpy().tolist() == sizes
    result.assert_same()


def test_two_transposes_are_left_to_their_own_pass(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,6,5] x) => (float[a,b,c] y)
        { t = Transpose <perm = [1, 0, 2]> (x) y = Transpose <perm = [0, 2, 1]> (t) }"""
    assert not rewrite(text, MergeReshapes()).applied
