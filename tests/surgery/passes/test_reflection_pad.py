import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.reflection_pad import ReflectionPad

Rewrite = Callable[..., Any]

PREPARE = "fold_constants"
SUITABLE = """
    p = Constant <value = int64[4] {{0,2,0,1}}> () d = Pad <mode = "reflect"> ({x}, p)
    q = Constant <value = int64[1] {{4}}> () s = Constant <value = int64[1] {{0}}> ()
    a = Constant <value = int64[1] {{1}}> () y = Slice (d, s, q, a)
"""


def text(pads: list[int], mode: str, *, x: str = "2,3,7,9", opset: int = 13) -> str:
    numbers = ",".join(map(str, pads))
    body = f"""p = Constant <value = int64[{len(pads)}] {{{numbers}}}> ()
        y = Pad <mode = "{mode}"> (x, p)"""
    if opset < 11:
        body = f'y = Pad <mode = "{mode}", pads = {pads}> (x)'
    return (
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[{x}] x) => (float[a,b,c,d] y) {{ {body} }}'
    )


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("seed", range(8))
def test_the_borders_are_the_same_elements(rewrite: Rewrite, mode: str, seed: int) -> None:
    rng = random.Random(f"{mode}{seed}")
    sizes = (2, 3, 7, 9)
    pads = [rng.randint(0, size - 1) for size in sizes] + [rng.randint(0, size - 1) for size in sizes]
    pads[3] = 8
    opset = 19 if mode == "wrap" else rng.choice([9, 11, 13, 18])
    result = rewrite(text(pads, mode, opset=opset), ReflectionPad(max_slices=rng.choice([2, 4, 20])))
    assert "Pad" not in result.ops
    result.assert_same()


def test_wide_reflected_borders_are_gathered_and_narrow_ones_sliced(rewrite: Rewrite) -> None:
    narrow = rewrite(text([0, 0, 0, 2, 0, 0, 0, 1], "reflect"), ReflectionPad())
    assert [op for op in narrow.ops if op != "Constant"] == ["Slice", "Slice", "Slice", "Concat"]
    wide = rewrite(text([0, 0, 0, 6, 0, 0, 0, 7], "reflect"), ReflectionPad())
    assert [op for op in wide.ops if op != "Constant"] == ["Gather"]
    wide.assert_same()


def test_repeated_edges_are_cut_once(rewrite: Rewrite) -> None:
    result = rewrite(text([0, 0, 0, 60, 0, 0, 0, 50], "edge"), ReflectionPad())
    assert [op for op in result.ops if op != "Constant"] == ["Slice", "Slice", "Concat"]
    result.assert_same()


def test_axes_of_new_opsets(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 18]> g (float[2,3,7,9] x) => (float[a,b,c,d] y)
        <int64[4] p = {2,1,3,0}, int64[2] a = {-1,2}> { y = Pad <mode = "reflect"> (x, p, , a) }"""
    result = rewrite(model, ReflectionPad())
    assert "Pad" not in result.ops
    result.assert_same()


def test_narrow_borders_need_no_known_size(rewrite: Rewrite) -> None:
    model = text([0, 0, 1, 2, 0, 0, 0, 1], "reflect", x="2,3,h,w")
    assert rewrite(model, ReflectionPad(), compare=False).applied


@pytest.mark.parametrize(
    ("pads", "mode", "x", "reason"),
    [
        ([0, 0, 0, 6, 0, 0, 0, 6], "reflect", "2,3,h,w", "the size of axis 3 is not known"),
        ([0, 0, 0, 1, 0, 0, 0, 1], "wrap", "2,3,h,w", "the size of axis 3 is not known"),
        ([0, 0, 0, 9, 0, 0, 0, 1], "reflect", "2,3,7,9", "by 9, and there are only 9 elements"),
        ([0, 0, 0, -1, 0, 0, 0, 1], "edge", "2,3,7,9", "negative ones cut off"),
        ([0, 0, 0, 0, 0, 0, 0, 0], "edge", "2,3,7,9", "remove_pad takes it away"),
    ],
)
def test_declines(rewrite: Rewrite, pads: list[int], mode: str, x: str, reason: str) -> None:
    result = rewrite(text(pads, mode, x=x, opset=19), ReflectionPad(), compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_declines_pads_that_are_computed(rewrite: Rewrite) -> None:
    model = (
        text([0, 0, 0, 1, 0, 0, 0, 1], "reflect")
        .replace("(x, p)", "(x, k)")
        .replace("] x)", "] x, int64[8] k)")
    )
    result = rewrite(model, ReflectionPad(), compare=False)
    assert "computed at run time" in result.declined[0]


def test_constant_padding_is_left_alone(rewrite: Rewrite) -> None:
    result = rewrite(text([0, 0, 0, 1, 0, 0, 0, 1], "constant"), ReflectionPad())
    assert not result.applied
    assert not result.declined
