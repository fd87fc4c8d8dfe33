from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.squeeze_after_transpose import SqueezeAfterTranspose

Rewrite = Callable[..., Any]

PREPARE = "static_shapes,gather_columns_to_slice"
SUITABLE = """
    r = Constant <value = int64[3] {{1,2,2}}> () f = Reshape ({x}, r) e = Exp (f)
    a = Constant <value = int64[1] {{0}}> () s = Squeeze (e, a) t = Transpose <perm = [1,0]> (s)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (t, q)
"""
TURN = "t = Transpose <perm = [1,2,0]> (s)"
RESHAPE = "y = Reshape (t, n)"
FIRST = "s = Squeeze (x, a)"


def text(body: str, *, x: str = "1,3,5,7", opset: int = 13, axes: str = "0", ends: str = "") -> str:
    """``ends`` is what the graph has besides: more inputs in front of ``|``, more outputs behind it."""
    inputs, _, outputs = ends.partition("|")
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x{inputs}) => (float[m] y{outputs})
        <int64[{len(axes.split(","))}] a = {{{axes}}}, int64[1] n = {{-1}}> {{ {body} }}"""


@pytest.mark.parametrize(
    ("squeeze", "x", "axes", "perm", "after"),
    [
        (FIRST, "1,3,5,7", "0", [1, 2, 0], [0, 2, 3, 1]),
        (FIRST, "3,1,5,7", "-3", [2, 0, 1], [1, 3, 0, 2]),
        (FIRST, "1,3,5,1", "3,0", [1, 0], [0, 3, 2, 1]),
        ("s = Squeeze (x)", "1,3,5,7", "0", [1, 2, 0], [0, 2, 3, 1]),
        ("s = Squeeze (x)", "1,3,5,7", "0", None, [0, 3, 2, 1]),
    ],
)
def test_all_axes_are_transposed(
    rewrite: Rewrite, squeeze: str, x: str, axes: str, perm: list[int] | None, after: list[int]
) -> None:
    turn = f"t = Transpose {f'<perm = {perm}>' if perm else ''} (s)"
    result = rewrite(text(f"{squeeze} {turn} {RESHAPE}", x=x, axes=axes), SqueezeAfterTranspose())
    assert result.ops == ["Transpose", "Squeeze", "Reshape"]
    (node,) = (node for node in result.model.graph if node.op_type == "Transpose")
    assert list(node.attributes["perm"].as_ints()) == after
    result.assert_same()


def test_axes_as_an_attribute(rewrite: Rewrite) -> None:
    body = f"s = Squeeze <axes = [0]> (x) {TURN} {RESHAPE}"
    result = rewrite(text(body, opset=11), SqueezeAfterTranspose())
    assert result.ops == ["Transpose", "Squeeze", "Reshape"]
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "options", "why"),
    [
        (
            f"{FIRST} {TURN} {RESHAPE} [other] z = Relu (s)",
            {"ends": "|, float[b,c,d] z"},
            "s is also read by Relu other",
        ),
        (f"{FIRST} {TURN} {RESHAPE}", {"ends": "|, float[b,c,d] t"}, "t is a graph output"),
        (
            f"s = Squeeze (x, b) {TURN} {RESHAPE}",
            {"ends": ", int64[1] b|"},
            "the axes of the Squeeze are computed at run time",
        ),
        (
            f"s = Squeeze (x) {TURN} {RESHAPE}",
            {"x": "1,3,h,7"},
            "the Squeeze drops every axis of one element, and not all sizes are known",
        ),
        (
            f"v = Reshape (x, b) s = Squeeze (v, a) {TURN} {RESHAPE}",
            {"ends": ", int64[k] b|"},
            "the rank of what is squeezed is not known",
        ),
    ],
)
def test_reasons_to_decline(rewrite: Rewrite, body: str, options: Any, why: str) -> None:
    result = rewrite(text(body, **options), SqueezeAfterTranspose(), compare=False)
    assert result.declined == (why,)
    assert not result.applied


@pytest.mark.parametrize(
    "body",
    [
        f"{FIRST} {TURN} u = Exp (t) y = Reshape (u, n)",
        "s = Abs (x) t = Transpose <perm = [1,2,3,0]> (s) y = Reshape (t, n)",
    ],
)
def test_others_are_no_sites(rewrite: Rewrite, body: str) -> None:
    result = rewrite(text(body), SqueezeAfterTranspose())
    assert not result.applied
    assert not result.declined
