from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.gather_columns_to_slice import GatherColumnsToSlice

SUITABLE = """
    i = Constant <value = int64[3] {{1,2,3}}> () a = Gather <axis = 1> ({x}, i)
    j = Constant <value = int64 {{-1}}> () b = Gather <axis = 1> ({x}, j)
    m = ReduceMax <axes = [0, 1]> (a) n = ReduceMax <axes = [0]> (b) o = Add (m, n) y = Add (o, {x})
"""
PREPARE = "fold_constants"

Rewrite = Callable[..., Any]


def graph(index: str, axis: int = 1, opset: int = 13, rank: str = "a,b,c", version: int = 8) -> str:
    return f"""<ir_version: {version}, opset_import: ["" : {opset}]> g (float[2,7,5] x) => (float[{rank}] y)
        <{index}> {{ v = Relu (x) y = Gather <axis = {axis}> (v, i) }}"""


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("value", ["0", "1", "-1", "-2"])
def test_one_index_becomes_slice_and_squeeze(rewrite: Rewrite, value: str, axis: int) -> None:
    result = rewrite(graph(f"int64 i = {{{value}}}", axis, rank="a,b"), GatherColumnsToSlice())
    assert result.ops == ["Relu", "Slice", "Squeeze"]
    result.assert_same()


@pytest.mark.parametrize("value", ["0", "-1"])
def test_an_axis_of_one_element_is_squeezed(rewrite: Rewrite, value: str) -> None:
    text = graph(f"int64 i = {{{value}}}", 0, rank="a,b").replace("float[2,7,5] x", "float[1,7,5] x")
    result = rewrite(text, GatherColumnsToSlice())
    assert result.applied == ("axis 0 has one element and goes",)
    assert result.ops == ["Relu", "Squeeze"]
    result.assert_same()


@pytest.mark.parametrize(
    ("values", "count"), [("3", 1), ("2,3,4", 3), ("1,3,5", 3), ("-3,-2,-1", 3), ("-1", 1)]
)
def test_a_rising_range_becomes_a_slice(rewrite: Rewrite, values: str, count: int) -> None:
    result = rewrite(graph(f"int32[{count}] i = {{{values}}}"), GatherColumnsToSlice())
    assert result.ops == ["Relu", "Slice"]
    result.assert_same()


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ("int64[3] i = {2,1,0}", "indices [2, 1, 0] do not rise evenly"),
        ("int64[3] i = {0,1,3}", "indices [0, 1, 3] do not rise evenly"),
        ("int64[2] i = {-1,0}", "indices [-1, 0] do not rise evenly"),
        ("int64[2] i = {3,3}", "indices [3, 3] do not rise evenly"),
        ("int64[0] i = {}", "it takes nothing"),
    ],
)
def test_other_indices_are_declined(rewrite: Rewrite, index: str, why: str) -> None:
    result = rewrite(graph(index), GatherColumnsToSlice(), compare="[0]" not in index)
    assert result.declined == (why,)
    result.assert_same()


def test_sizes_and_constants_are_left_to_others(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[n,7] x) => (int64 y, int64 z)
        <int64 i = {1}, int64[2] k = {5,6}> { s = Shape (x) y = Gather (s, i) z = Gather (k, i) }"""
    result = rewrite(text, GatherColumnsToSlice())
    assert result.declined == ("it picks a size from Shape s; static_shapes computes it",)
    result.assert_same()


def test_indices_of_higher_rank_or_from_run_time_are_no_sites(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[4,7] x, int64 j)
        => (float[a,b,c] y, float[d] z) <int64[1,2] i = {1,2}> { y = Gather (x, i) z = Gather (x, j) }"""
    result = rewrite(text, GatherColumnsToSlice(), compare=False)
    assert not result.applied
    assert not result.declined


@pytest.mark.parametrize(
    ("index", "axis", "why"),
    [
        ("int64 i = {1}", -1, "opset 9 has no negative axes"),
        ("int64[2] i = {1,3}", 1, "opset 9 has no steps"),
        ("int64[2] i = {1,2}", 1, ""),
        ("int64 i = {-1}", 1, ""),
    ],
)
def test_old_opsets(rewrite: Rewrite, index: str, axis: int, why: str) -> None:
    text = graph(index, axis, opset=9, version=4, rank="a,b" if "int64 i" in index else "a,b,c")
    result = rewrite(text, GatherColumnsToSlice(), compare=axis >= 0)
    assert result.declined == ((why,) if why else ())
    result.assert_same()


def test_an_axis_of_the_caller_is_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "me" : 1]> g (float[4,7] x) => (float[a] y)
        { y = me.pick <along = 1> (x) }
        <domain: "me", opset_import: ["" : 13]> pick <along> (v) => (w)
        { i = Constant <value_int = 1> () w = Gather <axis : int = @along> (v, i) }"""
    result = rewrite(text, GatherColumnsToSlice())
    assert result.declined == ("an attribute comes from the caller of its function",)
