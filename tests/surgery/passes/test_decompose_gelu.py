from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.decompose_gelu import DecomposeGelu

Rewrite = Callable[..., Any]

SUITABLE = """<ir_version: 9, opset_import: ["" : 20]> g (float[1,4] x) => (float[1,4] y) { y = Gelu (x) }"""


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize(("form", "gate"), [("none", "Erf"), ("tanh", "Tanh")])
def test_both_forms_compute_the_same(rewrite: Rewrite, kind: str, form: str, gate: str) -> None:
    text = f"""<ir_version: 9, opset_import: ["" : 20]> g ({kind}[3,5] x) => ({kind}[3,5] y)
    {{ y = Gelu <approximate = "{form}"> (x) }}"""
    if kind == "double":  # onnxruntime has no such kernel
        assert gate in rewrite(text, DecomposeGelu(), compare=False).ops
        return
    result = rewrite(text, DecomposeGelu())
    assert gate in result.ops
    assert "Gelu" not in result.ops
    result.assert_same(rtol=1e-6)


def test_an_unknown_dtype_is_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 9, opset_import: ["" : 20, "me" : 1]> g (float[3] x) => (float[3] y)
    { y = me.f (x) }
    <domain: "me", opset_import: ["" : 20]> f (v) => (w) { w = Gelu (v) }"""
    assert rewrite(text, DecomposeGelu()).declined == ("its dtype is not known",)
