from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.remove_pad import RemovePad

Rewrite = Callable[..., Any]

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]> g (float[1,3,5,7] x) => (float[1,3,5,7] y)'

SUITABLE = "p = Constant <value = int64[4] {{0,0,0,0}}> () i = Pad ({x}, p) y = Exp (i)"


def test_zero_pads_of_an_initializer_a_constant_node_and_an_identity_are_found(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD.format(opset=11)
        + """<int64[8] zeros = {0,0,0,0,0,0,0,0}> {
            a = Pad (x, zeros)
            p = Constant <value = int64[8] {0,0,0,0,0,0,0,0}> ()
            b = Pad (a, p)
            q = Identity (zeros)
            c = Pad (b, q)
            y = Relu (c)
        }""",
        RemovePad(),
    )
    assert result.ops == ["Relu"]
    assert len(result.applied) == 3
    assert "zeros" not in result.model.graph.initializers
    result.assert_same()


def test_zero_pads_of_an_attribute_are_found_in_old_opsets(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD.format(opset=9) + "{ a = Pad <pads = [0,0,0,0,0,0,0,0]> (x) y = Relu (a) }", RemovePad()
    )
    assert result.ops == ["Relu"]
    result.assert_same()


def test_zero_pads_over_some_axes_are_found_in_new_opsets(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD.format(opset=18)
        + """<int64[2] zeros = {0,0}, int64[1] axes = {-1}> { a = Pad (x, zeros, , axes) y = Relu (a) }""",
        RemovePad(),
    )
    assert result.ops == ["Relu"]
    assert not result.model.graph.initializers
    result.assert_same()


def test_a_constant_that_others_read_stays(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD.format(opset=11)
        + """<int64[8] zeros = {0,0,0,0,0,0,0,0}> {
            a = Pad (x, zeros)
            f = Cast <to = 1> (zeros)
            s = ReduceSum (f)
            y = Add (a, s)
        }""",
        RemovePad(),
    )
    assert "zeros" in result.model.graph.initializers
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "<int64[8] p = {0,0,1,0,0,0,0,0}> { a = Pad (x, p) y = Slice (a, s, e, ax) }",
            "pads are [0, 0, 1, 0, 0, 0, 0, 0], not all zero",
        ),
        ("{ s = Shape (x) t = Sub (s, s) p = Concat <axis = 0> (t, t) y = Pad (x, p) }", "computed at run"),
    ],
)
def test_padding_that_pads_or_is_computed_is_left_alone(rewrite: Rewrite, body: str, reason: str) -> None:
    slicing = "<int64[1] s = {0}, int64[1] e = {5}, int64[1] ax = {2}, int64[8]"
    text = HEAD.format(opset=11) + body.replace("<int64[8]", slicing)
    result = rewrite(text, RemovePad())
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_pads_that_the_caller_may_override_are_not_constant(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,3] x, int64[4] p) => (float[1,3] y) <int64[4] p = {0,0,0,0}> { y = Pad (x, p) }"""
    result = rewrite(text, RemovePad(), compare=False)
    assert result.declined == ("pads are computed at run time",)


def test_the_name_of_a_graph_output_is_kept(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD.format(opset=11) + "<int64[8] zeros = {0,0,0,0,0,0,0,0}> { a = Relu (x) y = Pad (a, zeros) }",
        RemovePad(),
    )
    assert result.ops == ["Relu"]
    assert result.model.graph.outputs[0].name == "y"
    result.assert_same()


def test_a_pad_between_graph_input_and_output_becomes_identity(rewrite: Rewrite) -> None:
    result = rewrite(
        HEAD.format(opset=11) + "<int64[8] zeros = {0,0,0,0,0,0,0,0}> { y = Pad (x, zeros) }", RemovePad()
    )
    assert result.ops == ["Identity"]
    result.assert_same()


def test_subgraphs_and_functions_are_visited(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (bool flag, float[1,3] x) => (float[1,3] y) <int64[4] zeros = {0,0,0,0}> {
            h = local.Padded (x)
            y = If (flag) <
                then_branch = t () => (float[1,3] p) { i = Pad (h, zeros) p = Neg (i) },
                else_branch = e () => (float[1,3] q) { q = Tanh (h) }
            >
        }
        <domain: "local", opset_import: ["" : 13]>
        Padded (a) => (c) { z = Constant <value = int64[4] {0,0,0,0}> () b = Pad (a, z) c = Exp (b) }"""
    result = rewrite(text, RemovePad())
    assert len(result.applied) == 2
    (function,) = result.model.functions.values()
    assert [node.op_type for node in function] == ["Exp"]
    assert "Pad" not in [node.op_type for node in result.model.graph.all_nodes()]
    result.assert_same()
