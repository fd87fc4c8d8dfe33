from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.decompose_layernorm import DecomposeLayernorm

Rewrite = Callable[..., Any]

SUITABLE = """<ir_version: 8, opset_import: ["" : 17]> g (float[2,4] x) => (float[2,4] y)
<float[4] s = {1,2,3,4}> { y = LayerNormalization (x, s) }"""


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize(("axis", "shape"), [(-1, "7"), (2, "7"), (1, "5,7"), (-2, "5,7")])
def test_every_axis_computes_the_same(rewrite: Rewrite, opset: int, axis: int, shape: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[3,5,7] x, float[{shape}] s, float[{shape}] b) => (float[3,5,7] y)
    {{ y = LayerNormalization <axis = {axis}, epsilon = 0.01> (x, s, b) }}"""
    result = rewrite(text, DecomposeLayernorm(), weights=("s", "b"))
    assert result.ops == ["ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"]
    result.assert_same(rtol=1e-5)


def test_mean_and_inverse_deviation_are_kept_where_they_are_read(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[3,7] x, float[7] s) => (float[3,7] y, float[3,1] m, float[3,1] d)
    { y, m, d = LayerNormalization (x, s) }"""
    result = rewrite(text, DecomposeLayernorm(), weights=("s",))
    assert "Reciprocal" in result.ops
    result.assert_same(rtol=1e-5)


def test_half_precision_and_unknown_types_are_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float16[3,7] x, float16[7] s) => (float16[3,7] y) { y = LayerNormalization (x, s) }"""
    (why,) = rewrite(text, DecomposeLayernorm(), compare=False).declined
    assert why == "its data is FLOAT16, but its mean is computed in float32"
    text = """<ir_version: 9, opset_import: ["" : 17, "me" : 1]> g (float[3] x, float[3] s) => (float[3] y)
    { y = me.f (x, s) }
    <domain: "me", opset_import: ["" : 17]> f (v, s) => (w) { w = LayerNormalization (v, s) }"""
    (why,) = rewrite(text, DecomposeLayernorm()).declined
    assert why == "rank and dtype of its data are not known"
