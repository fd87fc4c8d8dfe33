from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.merge_slices import MergeSlices

SUITABLE = """
    r = Constant <value = int64[3] {{1,2,2}}> () a = Reshape ({x}, r)
    o = Constant <value = int64[1] {{0}}> () m = Constant <value = int64[1] {{1}}> ()
    b = Constant <value = int64[1] {{1}}> () c = Constant <value = int64[1] {{2}}> ()
    d = Slice (a, o, m, b) e = Slice (d, o, c, c)
    q = Constant <value = int64[2] {{1,2}}> () f = Reshape (e, q) y = Concat <axis = 1> (f, f)
"""

PREPARE = "fold_constants"

Rewrite = Callable[..., Any]


def chain(*slices: str, source: str = "float[2,6,9,11] x", opset: int = 13) -> str:
    """Write a chain of Slices given as ``starts;ends;axes;steps``, the last one or two may be left out."""
    nodes, constants = "", []
    for index, text in enumerate(slices):
        names = []
        for part, values in zip("seap", text.split(";"), strict=False):
            count = len(values.split(","))
            constants.append(f"int64[{count}] {part}{index} = {{{values}}}")
            names.append(f"{part}{index}")
        nodes += f" v{index + 1} = Slice (v{index}, {', '.join(names)})"
    return (
        f'<ir_version: 8, opset_import: ["" : {opset}]> g ({source}) => (float[a,b,c,d] y)'
        f" <{', '.join(constants)}> {{ v0 = Relu (x) {nodes} y = Neg (v{len(slices)}) }}"
    )


@pytest.mark.parametrize(
    "slices",
    [
        ("1;-1;2", "2;-2;3"),
        ("1;9223372036854775807;1", "0;1;-4"),
        ("1,2;5,8;1,2", "1;2;0", "3;10;3;2"),
        ("1;8;2", "2;-1;2"),
        ("1;5;1", "1;8;2", "2;10;3", "1;2;0", "0;3;2"),
        ("1;8;2", "2;-1;2;2"),
        ("-2;-9;2;-1", "1;5;2;3"),
        ("0;9;3;2", "-1;-9223372036854775807;3;-1"),
        ("5;1;2;-1", "-1;-99;2;-2"),
        ("3;3;2", "0;5;2"),
        ("1;2", "0;99;1"),
    ],
)
def test_a_chain_becomes_one_slice(rewrite: Rewrite, slices: tuple[str, ...]) -> None:
    result = rewrite(chain(*slices), MergeSlices())
    assert result.ops == ["Relu", "Slice", "Neg"]
    assert len(result.applied) == len(slices) - 1
    result.assert_same()


@pytest.mark.parametrize(
    "slices",
    [
        ("1;9;2;2", "1;3;2;3"),
        ("2;2147483647;2", "1;-1;2"),
        ("1;-2;2", "0;-1;2"),
        ("1;-2;2;3", "1;2147483647;2"),
        ("4;6;2", "3;9;2"),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 2, 5, 9])
def test_sizes_need_not_be_known(
    rewrite: Rewrite, run_model: Rewrite, model_of: Rewrite, slices: tuple[str, ...], size: int
) -> None:
    text = chain(*slices, source="float[2,6,n,11] x")
    result = rewrite(text, MergeSlices())
    assert result.ops == ["Relu", "Slice", "Neg"]
    feeds = {"x": np.random.default_rng(4).standard_normal((2, 6, size, 11)).astype(np.float32)}
    expected, got = (run_model(model, feeds)["y"] for model in (model_of(text), result.model))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("slices", "why"),
    [
        (("-3;2147483647;2", "1;2;2"), "what both take along axis 2 depends on its size"),
        (("0;-2;2", "0;3;2"), "what both take along axis 2 depends on its size"),
        (("0;-1;2;2", "0;-1;2"), "what both take along axis 2 depends on its size"),
        (("5;0;2;-1", "0;2;2"), "what both take along axis 2 depends on its size"),
    ],
)
def test_what_depends_on_an_unknown_size_is_declined(
    rewrite: Rewrite, slices: tuple[str, ...], why: str
) -> None:
    result = rewrite(chain(*slices, source="float[2,6,n,11] x"), MergeSlices())
    assert not result.applied
    assert result.declined[0].startswith(why)


def test_a_slice_that_others_read_too_is_declined(rewrite: Rewrite) -> None:
    text = chain("1;-1;2", "2;-2;3").replace(
        "y = Neg (v2)", "y = Concat <axis = 3> (v1, w) w = Slice (v1, s1, e1, a1)"
    )
    text = text.replace(
        "y = Concat <axis = 3> (v1, w) w = Slice (v1, s1, e1, a1)",
        "w = Sin (v1) y = Concat <axis = 3> (v2, w)",
    )
    result = rewrite(text, MergeSlices())
    assert result.declined == ("v1 is also read by Sin w",)
    result.assert_same()


def test_all_slices_of_a_slice_are_joined_with_it(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[4,9] x) => (float[a,b] y, float[c,d] z)
        <int64[1] i = {1}, int64[1] j = {3}, int64[1] e = {8}, int64[1] l = {5}> {
        a = Slice (x, i, e, i) b = Slice (a, i, j, i) c = Slice (a, j, l, i) d = Slice (c, i, e, i)
        y = Neg (b) z = Neg (d) }"""
    result = rewrite(text, MergeSlices())
    assert sorted(result.ops) == ["Neg", "Neg", "Slice", "Slice"]
    result.assert_same()


def test_a_slice_whose_content_says_what_another_takes_stays(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (int64[6] x) => (int64[a] y)
        <int64[1] i = {1}, int64[1] j = {3}, int64[1] z = {0}> {
        a = Slice (x, i, j) b = Slice (a, z, i) c = Abs (b) [other] y = Slice (x, z, a) }"""
    result = rewrite(text, MergeSlices(), compare=False)
    assert result.declined == ("a is also read by Slice other",)


def test_what_is_computed_at_run_time_is_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[9] x, int64[1] n) => (float[m] y)
        <int64[1] z = {1}, int64[1] e = {7}> { a = Slice (x, z, e) b = Slice (a, z, n) y = Neg (b) }"""
    assert rewrite(text, MergeSlices()).declined == ("what it takes is computed at run time",)
    swapped = text.replace("Slice (x, z, e)", "Slice (x, z, n)").replace("(a, z, n)", "(a, z, e)")
    assert rewrite(swapped, MergeSlices()).declined == ("Slice a: what it takes is computed at run time",)


def test_axes_from_the_end_need_the_rank(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "me" : 1]> g (float[4,9] x) => (float[m,n] y)
        { y = me.f (x) }
        <domain: "me", opset_import: ["" : 13]> f (v) => (w) {
            z = Constant <value_ints = [1]> () e = Constant <value_ints = [-1]> ()
            a = Slice (v, z, e, z) w = Slice (a, z, e, e) }"""
    assert rewrite(text, MergeSlices()).declined == (
        "its axes count from the end of a tensor of unknown rank",
    )


@pytest.mark.parametrize("second", ["starts = [2], ends = [-2], axes = [3]", "starts = [1], ends = [4]"])
def test_old_opsets_have_attributes(rewrite: Rewrite, second: str) -> None:
    text = f"""<ir_version: 4, opset_import: ["" : 9]> g (float[2,6,9,11] x) => (float[a,b,c,d] y) {{
        v = Slice <starts = [1], ends = [9], axes = [2]> (x) y = Slice <{second}> (v) }}"""
    result = rewrite(text, MergeSlices())
    assert result.ops == ["Slice"]
    assert len(result.model.graph[0].attributes["axes"].as_ints()) == 2
    result.assert_same()
