from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.decompose_hardswish import DecomposeHardswish

Rewrite = Callable[..., Any]

SUITABLE = (
    """<ir_version: 8, opset_import: ["" : 14]> g (float[1,4] x) => (float[1,4] y) { y = HardSwish (x) }"""
)


@pytest.mark.parametrize(("op", "opset"), [("HardSwish", 14), ("Mish", 18)])
def test_it_is_a_product_with_elementary_operators(rewrite: Rewrite, op: str, opset: int) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[3,5,7] x) => (float[3,5,7] y)
    {{ a = Add (x, x) b = Add (a, a) c = Add (b, b) y = {op} (c) }}"""
    result = rewrite(text, DecomposeHardswish())
    assert op not in result.ops
    assert result.ops[-1] == "Mul"
    result.assert_same(rtol=1e-6)
