from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.remove_identity import RemoveIdentity

Rewrite = Callable[..., Any]

SUITABLE = "i = Identity ({x}) y = Exp (i)"


def graph(body: str, *, output: str = "float[1,3,5] y", opset: int = 13) -> str:
    return f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[1,3,5] x) => ({output}) {body}'


@pytest.mark.parametrize(
    "body",
    [
        "{ a = Identity (x) b = Identity (a) y = Relu (b) }",
        "{ a = Cast <to = 1> (x) y = Relu (a) }",
        "{ a = Transpose <perm = [0, 1, 2]> (x) y = Relu (a) }",
        "<int64[3] s = {0, -1, 5}> { a = Reshape (x, s) y = Relu (a) }",
        "<int64[2] s = {3, 1}> { a = Expand (x, s) y = Relu (a) }",
        "<int64[3] r = {1, 1, 1}> { a = Tile (x, r) y = Relu (a) }",
        "<int64[1] s = {0}, int64[1] e = {99}, int64[1] ax = {2}> { a = Slice (x, s, e, ax) y = Relu (a) }",
        "{ a = Concat <axis = 1> (x) b = Sum (a) c = Max (b) y = Relu (c) }",
    ],
)
def test_what_returns_its_input_goes(rewrite: Rewrite, body: str) -> None:
    result = rewrite(graph(body), RemoveIdentity())
    assert result.ops == ["Relu"]
    assert not result.model.graph.initializers
    result.assert_same()


@pytest.mark.parametrize(
    "body",
    [
        "{ a = Cast <to = 10> (x) y = Cast <to = 1> (a) }",
        "{ a = Transpose <perm = [0, 2, 1]> (x) y = Transpose <perm = [0, 2, 1]> (a) }",
        "{ a = Transpose (x) y = Transpose (a) }",
        "<int64[3] t = {5, 3, 1}> { a = Reshape (x, t) b = Relu (a) y = Transpose (b) }",
        "{ a = Concat <axis = 0> (x, x) y = ReduceMax <axes = [0], keepdims = 1> (a) }",
    ],
)
def test_what_changes_something_stays_without_a_word(rewrite: Rewrite, body: str) -> None:
    result = rewrite(graph(body), RemoveIdentity())
    assert not result.applied
    assert not result.declined
    result.assert_same()


def test_a_slice_that_reverses_keeps_the_shape_but_is_no_identity(rewrite: Rewrite) -> None:
    body = """<int64[1] s = {-1}, int64[1] e = {-99}, int64[1] ax = {2}, int64[1] step = {-1}> {
        a = Slice (x, s, e, ax, step) y = Relu (a) }"""
    result = rewrite(graph(body), RemoveIdentity())
    assert not result.applied
    result.assert_same()


def test_a_wrong_shape_in_the_file_is_not_believed(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,n] x) => (float[1,m] y) <float[1,4] a> { a = Concat <axis = 1> (x, x) b = Identity (a)
        s = Shape (x) c = Reshape (x, s) y = Concat <axis = 1> (b, c) }"""
    result = rewrite(text, RemoveIdentity())
    assert "Identity" not in result.ops
    assert "Reshape" in result.ops


def test_names_of_graph_outputs_are_kept(rewrite: Rewrite) -> None:
    result = rewrite(graph("{ a = Relu (x) y = Identity (a) }"), RemoveIdentity())
    assert result.ops == ["Relu"]
    result.assert_same()


def test_input_to_output_is_declined(rewrite: Rewrite) -> None:
    result = rewrite(graph("{ y = Identity (x) }"), RemoveIdentity())
    assert result.ops == ["Identity"]
    assert result.declined == (
        "it makes the graph output y from the graph input x, which must keep its own name",
    )
    result.assert_same()


def test_one_tensor_under_two_output_names_keeps_one_identity(rewrite: Rewrite) -> None:
    outputs = "float[1,3,5] y, float[1,3,5] z"
    text = graph("{ a = Relu (x) y = Identity (a) z = Identity (a) }", output=outputs)
    result = rewrite(text, RemoveIdentity())
    assert result.ops == ["Relu", "Identity"]
    assert len(result.declined) == 1
    assert "from another graph output" in result.declined[0]
    result.assert_same()


def test_a_chain_from_input_to_output_shrinks_to_one(rewrite: Rewrite) -> None:
    result = rewrite(graph("{ a = Identity (x) b = Identity (a) y = Identity (b) }"), RemoveIdentity())
    assert result.ops == ["Identity"]
    result.assert_same()


def test_a_branch_that_returns_an_outer_tensor_keeps_its_identity(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (bool flag, float[3] x) => (float[3] y) {
            h = Exp (x)
            y = If (flag) <
                then_branch = t () => (float[3] p) { p = Identity (h) },
                else_branch = e () => (float[3] q) { a = Neg (h) b = Identity (a) q = Tanh (b) }
            >
        }"""
    result = rewrite(text, RemoveIdentity())
    assert sorted(node.op_type for node in result.model.graph.all_nodes()) == [
        "Exp", "Identity", "If", "Neg", "Tanh",
    ]  # fmt: skip
    assert "h of an outer graph" in result.declined[0]
    result.assert_same()


def test_the_default_axes_of_flatten_count(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[3,5] x) => (float[3,5] y) { a = Flatten (x) y = Relu (a) }"""
    result = rewrite(text, RemoveIdentity())
    assert result.ops == ["Relu"]
    result.assert_same()
