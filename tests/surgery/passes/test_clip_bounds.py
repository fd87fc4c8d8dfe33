from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.clip_bounds import ClipBounds

Rewrite = Callable[..., Any]

SUITABLE = """
    l = Constant <value = float {{-0.5}}> () h = Constant <value = float[1] {{1}}> ()
    a = Clip ({x}, l) b = Max (a, l) y = Min (h, b)
"""


def text(body: str, *, x: str = "2,3", opset: int = 13, kind: str = "float", more: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g ({kind}[{x}] x{more}) => ({kind}[{x}] y) {{ {body} }}"""


LOW = "l = Constant <value = float {-0.5}> () "
HIGH = "h = Constant <value = float {0.75}> () "


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize(
    ("body", "what"),
    [
        (LOW + "y = Clip (x, l)", "max added"),
        (HIGH + "y = Clip (x, , h)", "min added"),
        ("y = Clip (x)", "min and max added"),
    ],
)
def test_missing_bounds_are_the_limits_of_the_dtype(
    rewrite: Rewrite, body: str, what: str, opset: int
) -> None:
    result = rewrite(text(body, opset=opset), ClipBounds())
    assert result.applied == (what,)
    (node,) = (node for node in result.model.graph if node.op_type == "Clip")
    assert None not in node.inputs
    assert len(node.inputs) == 3
    result.assert_same()


def test_attributes_of_old_opsets(rewrite: Rewrite) -> None:
    result = rewrite(text("y = Clip <min = 0.0> (x)", opset=9), ClipBounds())
    (node,) = result.model.graph
    assert node.attributes["max"].as_float() == np.finfo(np.float32).max
    result.assert_same()


@pytest.mark.parametrize("kind", ["float16", "double", "int32", "int64", "uint8"])
def test_each_dtype_has_its_own_limits(rewrite: Rewrite, kind: str) -> None:
    result = rewrite(text("y = Clip (x)", kind=kind), ClipBounds(), compare=False)
    (node,) = result.model.graph
    limits = np.finfo if kind in ("float16", "double") else np.iinfo
    dtype = np.dtype("float64" if kind == "double" else kind)
    low, high = (value.const_value.numpy() for value in node.inputs[1:])
    assert (low.dtype, low.shape) == (dtype, ())
    assert (low, high) == (limits(dtype).min, limits(dtype).max)


@pytest.mark.parametrize("opset", [9, 11, 13])
@pytest.mark.parametrize(
    "body",
    ["a = Max (x, l) y = Min (a, h)", "a = Max (l, x) y = Min (h, a)", "a = Min (x, h) y = Max (a, l)"],
)
def test_a_pair_is_one_clip(rewrite: Rewrite, body: str, opset: int) -> None:
    result = rewrite(text(LOW + HIGH + body, opset=opset), ClipBounds())
    assert [op for op in result.ops if op != "Constant"] == ["Clip"]
    assert result.applied == ("one Clip to -0.5 .. 0.75",)
    result.assert_same()


def test_in_a_chain_of_three_each_node_goes_into_one_pair(rewrite: Rewrite) -> None:
    body = LOW + HIGH + "a = Max (x, l) b = Min (a, h) c = Max (b, l) y = Min (c, h)"
    result = rewrite(text(body), ClipBounds())
    assert [op for op in result.ops if op != "Constant"] == ["Clip", "Clip"]
    result.assert_same()
    result = rewrite(text(body.replace(" y = Min (c, h)", "").replace("c =", "y =")), ClipBounds())
    assert [op for op in result.ops if op != "Constant"] == ["Clip", "Max"]
    result.assert_same()


def test_a_pair_of_integers_with_bounds_of_one_element(rewrite: Rewrite) -> None:
    body = """l = Constant <value = int32[1] {2}> () h = Constant <value = int32[1,1] {5}> ()
        a = Max (x, l) y = Min (a, h)"""
    result = rewrite(text(body, kind="int32"), ClipBounds())
    assert "Clip" in result.ops
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (LOW + HIGH + "a = Max (x, h) y = Min (a, l)", "cross"),
        (LOW + HIGH + "a = Max (x, l) b = Min (a, h) y = Add (a, b)", "a is also read by Add y"),
        (LOW + "h = Constant <value = float[1,1,1] {2}> () a = Max (x, l) b = Min (a, h) y = Squeeze (b, z)",
         "higher rank"),
    ],
)  # fmt: skip
def test_declines_a_pair(rewrite: Rewrite, body: str, reason: str) -> None:
    more = ", int64[1] z" if "z)" in body else ""
    result = rewrite(text(body, more=more), ClipBounds(), ("z",), compare=False)
    assert not result.applied
    assert reason in result.declined[0]


def test_declines_integers_before_their_clip(rewrite: Rewrite) -> None:
    # Min and Max have integers from opset 12 on too; a model that has them earlier is beyond its opset.
    body = """l = Constant <value = int32 {2}> () h = Constant <value = int32 {5}> ()
        a = Max (x, l) y = Min (a, h)"""
    result = rewrite(text(body, kind="int32", opset=11), ClipBounds(), compare=False)
    assert result.declined == ("Clip of opset 11 has no integers",)


def test_declines_an_unknown_dtype(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (float[2,3] x) => (float[2,3] y) { y = local.Above (x) }
        <domain: "local", opset_import: ["" : 13]> Above (a) => (b) { b = Clip (a) }"""
    result = rewrite(model, ClipBounds())
    assert "the dtype of its input is not known" in result.declined[0]


@pytest.mark.parametrize(
    "body", ["a = Max (x, x) y = Min (a, x)", LOW + HIGH + "y = Clip (x, l, h)", LOW + "y = Max (x, l)"]
)
def test_other_nodes_are_left_alone(rewrite: Rewrite, body: str) -> None:
    result = rewrite(text(body), ClipBounds())
    assert not result.applied
    assert not result.declined
