import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.scatter_to_concat import ScatterToConcat

Rewrite = Callable[..., Any]

PREPARE = "static_shapes,fold_constants"
SUITABLE = """
    i = Constant <value = int64[2,2] {{0,1,0,2}}> () o = Constant <value = int64[2] {{0,0}}> ()
    t = Constant <value = int64[2] {{1,2}}> () u = Slice ({x}, o, t) e = Exp (u)
    r = Constant <value = int64[1] {{2}}> () f = Reshape (e, r) y = ScatterND ({x}, i, f)
"""


def numbers(items: Any) -> str:
    return "{" + ",".join(str(item) for item in np.asarray(items).ravel().tolist()) + "}"


def text(
    indices: Any, *, data: str = "5,4", updates: str = "5,2", opset: int = 13, more: str = "", x: str = "x"
) -> str:
    sizes = ",".join(map(str, np.asarray(indices).shape))
    rank = ",".join("abcd"[: data.count(",") + 1])
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[{data}] x, float[{updates}] u)
        => (float[{rank}] y) <int64[{sizes}] i = {numbers(indices)}> {{
        v = Neg (u) {more} y = ScatterND ({x}, i, v) }}"""


def block(*spans: tuple[int, int]) -> Any:
    grid = np.meshgrid(*(np.arange(*span) for span in spans), indexing="ij")
    return np.stack(grid, axis=-1)


@pytest.mark.parametrize("span", [(0, 2), (1, 3), (2, 4)])
def test_columns_are_joined(rewrite: Rewrite, span: tuple[int, int]) -> None:
    result = rewrite(text(block((0, 5), span)), ScatterToConcat())
    assert result.applied == (f"[0:5, {span[0]}:{span[1]}] of [5, 4] by Concat",)
    assert result.ops == ["Neg", *["Slice"] * (1 if span != (1, 3) else 2), "Concat"]
    result.assert_same()


def test_rows_are_joined(rewrite: Rewrite) -> None:
    result = rewrite(text([[1], [2], [-2]], updates="3,4"), ScatterToConcat())
    assert result.applied == ("[1:4, 0:4] of [5, 4] by Concat",)
    result.assert_same()


@pytest.mark.parametrize("seed", range(30))
def test_any_block(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    sizes = [rng.randint(1, 5) for _ in range(3)]
    count = rng.randint(1, 3)
    spans = []
    for size in sizes[:count]:
        begin = rng.randrange(size)
        spans.append((begin, rng.randint(begin + 1, size)))
    indices = block(*spans)
    if rng.random() < 0.3:
        indices = indices - np.array(sizes[:count])
    shape = [*indices.shape[:-1], *sizes[count:]]
    if rng.random() < 0.5:
        indices = indices.reshape(-1, count)
        shape = [len(indices), *sizes[count:]]
    model = text(indices, data=",".join(map(str, sizes)), updates=",".join(map(str, shape)))
    result = rewrite(model, ScatterToConcat(max_axes=3))
    assert "ScatterND" not in result.ops
    result.assert_same()


def test_a_block_beside_another_reads_no_slice_of_it(rewrite: Rewrite) -> None:
    more = "a = ScatterND (x, j, v)"
    model = text(block((0, 5), (2, 4)), more=more, x="a").replace(
        "> {\n", f", int64[5,2,2] j = {numbers(block((0, 5), (0, 2)))}> {{", 1
    )
    result = rewrite(model, ScatterToConcat())
    assert result.ops == ["Neg", "Concat"]
    result.assert_same()


@pytest.mark.parametrize(
    ("indices", "options", "why"),
    [
        ([[0], [2]], {"updates": "2,4"}, "its indices are no block in order"),
        ([[1], [0]], {"updates": "2,4"}, "its indices are no block in order"),
        ([[1], [1]], {"updates": "2,4"}, "its indices are no block in order"),
        (
            block((0, 5), (0, 2)),
            {"data": "n,4"},
            "the shape of what it changes is not known; run static_shapes first",
        ),
        (np.zeros((0, 1), int), {"updates": "0,4"}, "it changes nothing"),
        (block((1, 2), (1, 2), (1, 2)), {"data": "3,4,5", "updates": "1,1,1"}, "the block is smaller than "),
    ],
)
def test_other_indices_are_declined(rewrite: Rewrite, indices: Any, options: Any, why: str) -> None:
    result = rewrite(text(indices, **options), ScatterToConcat(), compare="n" not in options.get("data", ""))
    assert len(result.declined) == 1
    assert result.declined[0].startswith(why)
    assert not result.applied


def test_sums_and_indices_of_run_time_are_declined(rewrite: Rewrite) -> None:
    summing = text(block((0, 5), (0, 2)), opset=16).replace("ScatterND (", 'ScatterND <reduction = "add"> (')
    result = rewrite(summing, ScatterToConcat())
    assert result.declined == ("it combines the updates with what was there",)
    model = """<ir_version: 8, opset_import: ["" : 13]> g (float[5,4] x, int64[2,1] i, float[2,4] u)
        => (float[a,b] y) { y = ScatterND (x, i, u) }"""
    result = rewrite(model, ScatterToConcat(), compare=False)
    assert result.declined == ("its indices are computed at run time",)
