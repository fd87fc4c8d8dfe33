from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.decompose_groupnorm import DecomposeGroupnorm

Rewrite = Callable[..., Any]

SUITABLE = """<ir_version: 8, opset_import: ["" : 21]> g (float[2,4,3] x) => (float[2,4,3] y)
<float[4] s = {1,2,3,4}, float[4] b = {3,4,5,6}> { y = GroupNormalization <num_groups = 2> (x, s, b) }"""


@pytest.mark.parametrize("shape", ["2,6,5", "2,6,5,7", "n,6,5,7"])
def test_every_rank_computes_the_same(rewrite: Rewrite, shape: str) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[{shape}] x, float[6] s, float[6] b) => (float[{shape}] y)
    {{ y = GroupNormalization <num_groups = 3, epsilon = 0.01> (x, s, b) }}"""
    result = rewrite(text, DecomposeGroupnorm(), weights=("s", "b"))
    assert "GroupNormalization" not in result.ops
    assert "InstanceNormalization" in result.ops
    result.assert_same(rtol=1e-5)


def test_the_scale_of_opset_18_is_per_group(rewrite: Rewrite, run_model: Callable[..., Any]) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]> g (float[2,6,5] x) => (float[2,6,5] y)
    <float[3] s = {2,3,5}, float[3] b = {1,-1,0.5}> {
        y = GroupNormalization <num_groups = 3, epsilon = 0.01> (x, s, b) }"""
    model = rewrite(text, DecomposeGroupnorm(), compare=False).model  # the checker refuses this form
    x = np.random.default_rng(5).standard_normal((2, 6, 5)).astype(np.float32)
    groups = x.reshape(2, 3, 10)
    normed = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 0.01)
    expected = normed * np.array([2, 3, 5])[:, None] + np.array([1, -1, 0.5])[:, None]
    np.testing.assert_allclose(run_model(model, {"x": x})["y"], expected.reshape(2, 6, 5), rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "shape", "why"),
    [
        ("float", "2,6,h", "its data is [2, 6, h]; fix the shapes first"),
        ("float16", "2,6,5", "its data is FLOAT16, but its mean is computed in float32"),
    ],
)
def test_what_it_cannot_do_is_declined(rewrite: Rewrite, kind: str, shape: str, why: str) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g ({kind}[{shape}] x, {kind}[6] s, {kind}[6] b) => ({kind}[{shape}] y)
    {{ y = GroupNormalization <num_groups = 3> (x, s, b) }}"""
    assert rewrite(text, DecomposeGroupnorm(), compare=False).declined == (why,)
