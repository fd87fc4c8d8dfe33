from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.errors import UsageError
from graphopt.surgery.passes.clamp_constants import ClampConstants

Rewrite = Callable[..., Any]

SUITABLE = (
    "c = Constant <value = float[4] {{0,-1000000000,0,0}}> () a = Add ({x}, c) y = Softmax <axis = 1> (a)"
)
INNER_CHANGE = "masked scores are other numbers, the softmax of them is not"

HEAD = '<ir_version: 8, opset_import: ["" : 13]> g (float[2,4] x, bool[2,4] m) => (float[2,4] y)'


def masks(result: Any) -> list[float]:
    values = (value.const_value for value in result.model.graph.initializers.values())
    floats = (value for value in values if value is not None and value.dtype == ir.DataType.FLOAT)
    return sorted(float(np.min(value.numpy())) for value in floats)


CHOSEN = "s = Where (n, c, x)"
ADDED = "k = Cast <to = 1> (n) p = Mul (k, c) s = Add (x, p)"


@pytest.mark.parametrize(
    ("number", "body"),
    [("-1e9", CHOSEN), ("-3.4e38", CHOSEN), ("-1e9", ADDED), ("-3.4e38", ADDED)],
)
def test_a_mask_before_a_softmax_is_clamped(rewrite: Rewrite, number: str, body: str) -> None:
    # Each row keeps an unmasked score: where all are masked, the numbers do change.
    mask = "bool[2,4] n = {1,0,0,1,0,1,0,0}"
    text = HEAD + f"<float c = {{{number}}}, {mask}> {{ {body} y = Softmax <axis = 1> (s) }}"
    result = rewrite(text, ClampConstants())
    assert masks(result)[0] == -65504.0
    result.assert_same(rtol=1e-6)


def test_the_limit_can_be_lower(rewrite: Rewrite) -> None:
    text = HEAD + "<float c = {-1e9}> { s = Where (m, c, x) y = Softmax <axis = 1> (s) }"
    assert masks(rewrite(text, ClampConstants(limit=10000.0))) == [-10000.0]
    with pytest.raises(UsageError, match="limit must be from 1000 to 65504"):
        ClampConstants(limit=1.0)


def test_the_filling_of_a_new_tensor_is_clamped(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,4] x, bool[2,4] m) => (float[2,4] y) {
        h = Shape (x) f = ConstantOfShape <value = float[1] {-1e9}> (h) s = Where (m, f, x)
        y = Softmax <axis = 1> (s) }"""
    result = rewrite(text, ClampConstants())
    (node,) = (node for node in result.model.graph if node.op_type == "ConstantOfShape")
    assert node.attributes["value"].as_tensor().numpy() == -65504
    result.assert_same(rtol=1e-6)


def test_bounds_are_clamped(rewrite: Rewrite) -> None:
    bounds = "<float low = {-3.4e38}, float high = {3.4e38}>"
    text = HEAD + bounds + "{ s = Clip (x, low, high) y = Min (s, high) }"
    result = rewrite(text, ClampConstants())
    assert len(result.applied) == 3
    result.assert_same()


def test_what_reaches_another_operator_or_an_output_is_declined(rewrite: Rewrite) -> None:
    text = HEAD + "<float c = {-1e9}> { s = Where (m, c, x) y = LogSoftmax <axis = 1> (s) }"
    (why,) = rewrite(text, ClampConstants()).declined
    assert why.startswith("c holds -1e+09, but it reaches LogSoftmax")
    text = HEAD + "<float c = {-1e9}> { y = Where (m, c, x) }"
    (why,) = rewrite(text, ClampConstants()).declined
    assert why == "c holds -1e+09, but it reaches the output y"
    result = rewrite(text, ClampConstants(anywhere=True))
    assert masks(result) == [-65504.0]


def test_a_constant_that_others_read_stays_for_them(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[2,4] x, bool[2,4] m) => (float[2,4] y, float[2,4] z) <float c = {-1e9}> {
        s = Where (m, c, x) y = Softmax <axis = 1> (s) z = Div (x, c) }"""
    result = rewrite(text, ClampConstants())
    assert masks(result) == [-1e9, -65504.0]
    result.assert_same(rtol=1e-6)
