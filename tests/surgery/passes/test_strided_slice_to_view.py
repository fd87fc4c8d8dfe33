import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.strided_slice_to_view import StridedSliceToView

Rewrite = Callable[..., Any]

PREPARE = "static_shapes"
SUITABLE = """
    s = Constant <value = int64[1] {{1}}> () e = Constant <value = int64[1] {{9}}> ()
    t = Constant <value = int64[1] {{2}}> () a = Slice ({x}, s, e, s, t) b = Concat <axis = 1> (a, a)
    y = Add (b, {x})
"""


def text(lists: dict[str, list[int]], *, x: str = "3,12", opset: int = 13, rank: str = "a,b") -> str:
    constants = " ".join(
        f"{name} = Constant <value = int64[{len(items)}] {{{','.join(map(str, items))}}}> ()"
        for name, items in lists.items()
    )
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[{x}] x) => (float[{rank}] y)
        {{ {constants} y = Slice (x, {", ".join(lists)}) }}"""


def cut(start: int, end: int, step: int, axis: int = -1) -> dict[str, list[int]]:
    return {"s": [start], "e": [end], "a": [axis], "t": [step]}


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("start", [0, 1, 2, 3])
@pytest.mark.parametrize("opset", [11, 13])
def test_a_step_becomes_a_column(rewrite: Rewrite, start: int, axis: int, opset: int) -> None:
    result = rewrite(text(cut(start, 2**63 - 1, 4, axis), opset=opset), StridedSliceToView())
    assert result.applied == (f"column {start} of a view of 3 by 4",)
    assert result.ops == ["Reshape", "Slice", "Squeeze"]
    result.assert_same()


@pytest.mark.parametrize("start", [0, 3, -1, -2])
def test_a_single_element_needs_no_view(rewrite: Rewrite, start: int) -> None:
    result = rewrite(text(cut(start, 2**63 - 1, 4), x="n,4"), StridedSliceToView())
    assert result.ops == ["Slice"]
    assert len(result.model.graph.node(0).inputs) == 4
    result.assert_same()


@pytest.mark.parametrize("seed", range(30))
def test_parts_and_other_axes(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    step, rows = rng.randint(2, 4), rng.randint(1, 5)
    size = step * rows
    start = rng.randrange(size)
    end = rng.randint(start + 1, size + 2)
    lists = {"s": [1, start], "e": [6, end], "a": [0, 2], "t": [rng.randint(1, 3), step]}
    result = rewrite(text(lists, x=f"7,3,{size}", rank="a,b,c"), StridedSliceToView())
    assert len(result.applied) == 1
    result.assert_same()


@pytest.mark.parametrize(
    ("lists", "x", "why"),
    [
        (cut(0, 12, 5), "3,12", "its step 5 does not divide 12"),
        (cut(-1, -13, -2), "3,12", "its step is -2"),
        (cut(0, 12, 2), "3,n", "the size of the last axis is not known; run static_shapes first"),
        (cut(4, 4, 2), "3,12", "it takes nothing"),
        (cut(0, 12, 2), "0,12", "its input is empty"),
    ],
)
def test_other_steps_are_declined(rewrite: Rewrite, lists: dict[str, list[int]], x: str, why: str) -> None:
    result = rewrite(text(lists, x=x), StridedSliceToView(), compare=False)
    assert result.declined == (why,)


def test_an_unknown_rank_and_computed_ends_are_declined(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]> g (float[3,12] x, int64[n] r, int64[1] e)
        => (float y, float[a,b] z)
        <int64[1] s = {0}, int64[1] a = {1}, int64[1] t = {2}, int64[1] l = {9}>
        { v = Reshape (x, r) w = Slice (v, s, l, a, t) y = ReduceSum <keepdims = 0> (w)
          z = Slice (x, s, e, a, t) }"""
    result = rewrite(model, StridedSliceToView(), compare=False)
    assert set(result.declined) == {
        "the rank of its input is not known",
        "what it takes is computed at run time",
    }


@pytest.mark.parametrize(
    "lists", [cut(0, 3, 2, axis=0), cut(1, 9, 1), {"s": [1], "e": [9], "a": [1]}, {"s": [0], "e": [2]}]
)
def test_steps_along_other_axes_and_steps_of_one_are_no_sites(
    rewrite: Rewrite, lists: dict[str, list[int]]
) -> None:
    result = rewrite(text(lists), StridedSliceToView())
    assert not result.applied
    assert not result.declined
    result.assert_same()
