from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import pytest

from graphopt.surgery.passes.int64_to_int32 import Int64ToInt32

SUITABLE = """
    i = ArgMax <axis = 1> ({x}) three = Constant <value = int64[1] {{3}}> ()
    m = Mod (i, three) s = Sub (m, three) a = Add (s, i) c = Cast <to = 1> (a) y = Add (c, {x})
"""
PREPARE = "static_shapes,fold_constants"

Rewrite = Callable[..., Any]
INT32, INT64 = ir.DataType.INT32, ir.DataType.INT64


def graph(body: str, outputs: str, shape: str = "2,7") -> str:
    return f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[{shape}] x, int64[4] free, bool[2,7] b) => ({outputs})
        <int64[1] two = {{2}}, int64[1] five = {{5}}, int64[1] axis = {{1}}, int64[2] flat = {{2,1}},
         float[9] table = {{1,2,3,4,5,6,7,8,9}}, int64[1] huge = {{2147483648}},
         int64[1] big = {{1000000000}}> {{ {body} }}"""


def casts(result: Any) -> list[int]:
    return [n.attributes["to"].as_int() for n in result.model.graph if n.op_type == "Cast"]


def test_index_arithmetic_works_in_int32_and_gathers_read_it(rewrite: Rewrite) -> None:
    body = "v, i = TopK (x, two) d = Div (i, two) m = Mod (i, five) s = Add (d, m) y = Gather (table, s)"
    result = rewrite(graph(body, "float[2,2] y"), Int64ToInt32())
    assert result.applied == ("3 nodes work in int32, between 1 casts",)
    assert casts(result) == [6]
    result.assert_same()


def test_graph_outputs_and_shapes_stay_int64(rewrite: Rewrite) -> None:
    body = """i = ArgMax <axis = 1, keepdims = 0> (x) d = Add (i, two) y = Mul (d, five)
        w = ReduceMax <keepdims = 1> (d) z = Expand (axis, w)"""
    result = rewrite(graph(body, "int64[2] y, int64[n] z"), Int64ToInt32())
    assert sorted(casts(result)) == [6, 7, 7]
    assert all(value.dtype == INT64 for value in result.model.graph.outputs)
    result.assert_same()


def test_a_cast_from_a_narrow_dtype_goes_to_int32_at_once(rewrite: Rewrite) -> None:
    body = (
        "c = Cast <to = 7> (b) s = ReduceSum <keepdims = 0> (c, axis) d = Mul (s, two) y = Cast <to = 1> (d)"
    )
    result = rewrite(graph(body, "float[2] y"), Int64ToInt32())
    assert casts(result) == [6, 1]
    result.assert_same()


def test_what_is_int32_already_needs_no_cast(rewrite: Rewrite) -> None:
    text = graph("c = Cast <to = 7> (k) d = Mod (c, two) y = Cast <to = 6> (d)", "int32[4] y")
    result = rewrite(text.replace("int64[4] free", "int32[4] k"), Int64ToInt32())
    assert result.ops == ["Mod", "Cast"]
    result.assert_same()


def test_comparisons_keep_their_name(rewrite: Rewrite) -> None:
    body = "i = ArgMax <axis = 1, keepdims = 0> (x) d = Mod (i, five) y = Less (d, two) z = Cast <to = 1> (d)"
    result = rewrite(graph(body, "bool[2] y, float[2] z"), Int64ToInt32())
    assert casts(result) == [6, 1]
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("d = Add (free, two) y = Mul (d, five)", "nothing bounds free"),
        ("i = ArgMax <axis = 1, keepdims = 0> (x) y = Add (i, huge)",
         "huge may be as far as 2147483648, beyond int32"),
        ("i = ArgMax <axis = 1, keepdims = 0> (x) y = Mul (i, big)",
         "y may be as far as 6000000000, beyond int32"),
        ("i = ArgMax <axis = 1, keepdims = 0> (x) y = Add (i, two)", "2 casts would be needed for 1 nodes"),
    ],
)  # fmt: skip
def test_reasons_to_decline(rewrite: Rewrite, body: str, why: str) -> None:
    size = 4 if "free" in body else 2
    result = rewrite(graph(body, f"int64[{size}] y"), Int64ToInt32())
    assert not result.applied
    assert why in result.declined
    result.assert_same()


def test_an_axis_of_unknown_size_bounds_nothing(rewrite: Rewrite) -> None:
    body = "i = ArgMax <axis = 1, keepdims = 0> (x) d = Add (i, two) e = Mod (d, five) y = Gather (table, e)"
    result = rewrite(graph(body, "float[m] y", shape="2,n"), Int64ToInt32())
    assert result.declined == ("nothing bounds i", "nothing bounds d")
    known = rewrite(graph(body, "float[m] y", shape="n,7"), Int64ToInt32())
    assert len(known.applied) == 1
    known.assert_same()


def test_moving_numbers_alone_is_not_worth_a_cast(rewrite: Rewrite) -> None:
    body = "i = ArgMax <axis = 1, keepdims = 1> (x) d = Squeeze (i, axis) y = Reshape (d, two)"
    result = rewrite(
        graph(body.replace("two", "two2"), "int64[2] y").replace("int64[1] two", "int64[1] two2"),
        Int64ToInt32(),
    )
    assert not result.applied
    assert not result.declined


def test_branches_narrow_what_they_read_from_outside(rewrite: Rewrite) -> None:
    body = """i = ArgMax <axis = 1, keepdims = 0> (x) f = ReduceMax <keepdims = 0> (x) t = Cast <to = 9> (f)
        y = If (t) <
            then_branch = p () => (float[2] q) { d = Add (i, two) e = Mod (d, five) q = Gather (table, e) },
            else_branch = r () => (float[2] s) { s = Gather (table, i) } >"""
    result = rewrite(graph(body, "float[2] y"), Int64ToInt32())
    assert len(result.applied) == 1
    result.assert_same()
