from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.negative_gather_index import NegativeGatherIndex

SUITABLE = """
    i = Constant <value = int64[4] {{-1,0,-4,2}}> () y = Gather <axis = 1> ({x}, i)
"""
PREPARE = "static_shapes"

Rewrite = Callable[..., Any]


def graph(constants: str, body: str, shape: str = "2,7,5", opset: int = 13) -> str:
    rank = "a,b" if constants.startswith("int64 i") else "a,b,c"
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[{shape}] x) => (float[{rank}] y)
        <{constants}> {{ v = Relu (x) {body} }}"""


@pytest.mark.parametrize(
    ("constants", "body", "indices"),
    [
        ("int64 i = {-1}", "y = Gather <axis = 1> (v, i)", 6),
        ("int32[3] i = {-1,0,-7}", "y = Gather <axis = 1> (v, i)", [6, 0, 0]),
        ("int64[1] i = {-2}", "y = Gather <axis = -1> (v, i)", [3]),
        ("int64[1,2,2] i = {-1,1,2,-7}", "y = GatherElements <axis = 1> (v, i)", [[[6, 1], [2, 0]]]),
        ("int64[2,2,1] i = {-1,1,0,-2}", "y = GatherND <batch_dims = 1> (v, i)", [[[6], [1]], [[0], [5]]]),
        (
            "int64[2,2] i = {-1,1,0,-2}, float[2,5] u = {1,2,3,4,5,6,7,8,9,10}",
            "y = ScatterND (v, i, u)",
            [[1, 1], [0, 5]],
        ),
        (
            "int64[1,1,2] i = {-1,1}, float[1,1,2] u = {1,2}",
            "y = ScatterElements <axis = 2> (v, i, u)",
            [[[4, 1]]],
        ),
    ],
)
def test_negative_indices_count_from_the_front(
    rewrite: Rewrite, constants: str, body: str, indices: Any
) -> None:
    result = rewrite(graph(constants, body), NegativeGatherIndex())
    assert len(result.applied) == 1
    found = result.model.graph[1].inputs[1].const_value.numpy()
    np.testing.assert_array_equal(found, indices)
    result.assert_same()


@pytest.mark.parametrize(
    ("constants", "body", "shape", "why"),
    [
        ("int64[1] i = {-1}", "y = Gather <axis = 1> (v, i)", "2,n,5",
         "the size of axis 1 of [2, n, 5] is unknown"),
        ("int64[1] i = {-9}", "y = Gather <axis = 1> (v, i)", "2,7,5",
         "an index lies in front of the tensor"),
        ("int64[1] j = {1}", "c = Cast <to = 7> (v) k = Add (c, j) y = Gather (v, k)", "2,7,5",
         "its indices are computed at run time and may be negative"),
    ],
)  # fmt: skip
def test_reasons_to_decline(rewrite: Rewrite, constants: str, body: str, shape: str, why: str) -> None:
    result = rewrite(graph(constants, body, shape), NegativeGatherIndex(), compare=False)
    assert not result.applied
    assert result.declined == (why,)


def test_positions_are_never_negative(rewrite: Rewrite) -> None:
    body = "k = ArgMax <axis = 1, keepdims = 0> (v) y = Gather <axis = 1> (v, k)"
    text = graph("int64[1] j = {1}", body).replace("[a,b,c] y", "[a,b,c,d] y")
    result = rewrite(text, NegativeGatherIndex())
    assert not result.applied
    assert not result.declined


def test_only_the_size_that_is_needed_must_be_known(rewrite: Rewrite) -> None:
    text = graph("int64[1,2] i = {0,-1}", "y = GatherND (v, i)", "n,7,5").replace("[a,b,c] y", "[a,b] y")
    result = rewrite(text, NegativeGatherIndex())
    assert result.applied == ("index -1 becomes 6",)
    result.assert_same()


def test_indices_from_the_front_are_no_sites(rewrite: Rewrite) -> None:
    result = rewrite(graph("int64[2] i = {0,6}", "y = Gather <axis = 1> (v, i)"), NegativeGatherIndex())
    assert not result.applied
    assert not result.declined


def test_other_readers_keep_their_indices(rewrite: Rewrite) -> None:
    text = graph("int64[1] i = {-1}", "w = Gather <axis = 1> (v, i) k = Cast <to = 1> (i) y = Mul (w, k)")
    result = rewrite(text, NegativeGatherIndex())
    assert len(result.applied) == 1
    result.assert_same()


def test_inside_functions_sizes_are_unknown(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "me" : 1]> g (float[4,7] x) => (float[a] y)
        { y = me.last (x) }
        <domain: "me", opset_import: ["" : 13]> last (v) => (w)
        { i = Constant <value_int = -1> () w = Gather (v, i) }"""
    assert rewrite(text, NegativeGatherIndex()).declined == ("the shape of what it reads is unknown",)
