from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.global_pool_to_reduce import GlobalPoolToReduce

Rewrite = Callable[..., Any]

SUITABLE = """
    r = Constant <value = int64[4] {{1,2,1,2}}> () f = Reshape ({x}, r) a = GlobalAveragePool (f)
    b = GlobalMaxPool (f) c = Concat <axis = 1> (a, b)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (c, q)
"""


def text(op: str, *, x: str = "2,3,5,7", opset: int = 13) -> str:
    dims = "abcde"[: len(x.split(","))]
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x) => (float[{",".join(dims)}] y) {{ y = {op} (x) }}"""


PAIRS = [("GlobalAveragePool", "ReduceMean"), ("GlobalMaxPool", "ReduceMax")]


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("x", ["2,3,5", "2,3,5,7", "2,3,4,5,6", "n,3,h,w"])
@pytest.mark.parametrize(
    ("op", "reduction"), [("GlobalAveragePool", "ReduceMean"), ("GlobalMaxPool", "ReduceMax")]
)
def test_each_rank_and_opset(rewrite: Rewrite, op: str, reduction: str, x: str, opset: int) -> None:
    result = rewrite(text(op, x=x, opset=opset), GlobalPoolToReduce())
    assert result.ops == [reduction]
    result.assert_same(rtol=1e-6)


def test_small_maps_may_stay(rewrite: Rewrite) -> None:
    assert not rewrite(text("GlobalMaxPool"), GlobalPoolToReduce(larger_than=35)).applied
    assert rewrite(text("GlobalMaxPool"), GlobalPoolToReduce(larger_than=34)).applied


def test_declines_an_unknown_rank(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (float[2,3,4,5] x) => (float[a,b,c,d] y) { y = local.Pool (x) }
        <domain: "local", opset_import: ["" : 13]> Pool (a) => (b) { b = GlobalMaxPool (a) }"""
    result = rewrite(model, GlobalPoolToReduce())
    assert result.declined == ("the rank of its input is not known",)
