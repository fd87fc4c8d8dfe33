import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphopt.surgery import PassStep, RewriteError, Status, rewrite_file
from graphopt.surgery.merging import pooling
from graphopt.surgery.passes.replace_merge_cells import ReplaceMergeCells

Rewrite = Callable[..., Any]

SUITABLE = """
    r = Constant <value = int64[4] {{1,1,2,2}}> () f = Reshape ({x}, r) e = Exp (f)
    s = Constant <value = int64[4] {{1,1,4,6}}> ()
    u = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (f, , , s)
    v = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (e, , , s)
    a = Add (u, v) m = ReduceSum <keepdims = 0> (a) y = Add ({x}, m)
"""

ASYMMETRIC = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
TRACED = """
    k = Shape (x) i = Constant <value = int64[1] {0}> () j = Constant <value = int64[1] {2}> ()
    n = Constant <value = int64[1] {4}> ()
    p = Shape (small) c = Slice (p, i, j, i) h = Slice (k, j, n, i) s = Concat <axis = 0> (c, h)
"""
"""The size of ``x`` as exporters put it in front of a Resize of ``small``."""


def text(body: str, *, x: str = "2,3,12,20", small: str = "2,3,4,10", opset: int = 13) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x, float[{small}] small) => (float[a,b,c,d] y) {{ {body} }}"""


def resize(attributes: str = ASYMMETRIC, inputs: str = "(small, o, o, s)") -> str:
    return f"o = Constant <value = float[0] {{}}> () u = Resize <{attributes}> {inputs} y = Add (x, u)"


def constant(*sizes: int) -> str:
    return f"s = Constant <value = int64[{len(sizes)}] {{{','.join(map(str, sizes))}}}> ()"


@pytest.mark.parametrize("opset", [11, 12, 13, 18])
def test_traced_sizes_become_scales(rewrite: Rewrite, opset: int) -> None:
    result = rewrite(text(TRACED + resize(), opset=opset), ReplaceMergeCells())
    assert result.applied == ("sum cell: Resize by constant scales [1, 1, 3, 2]",)
    assert result.ops == ["Resize", "Add"]
    (node,) = (node for node in result.model.graph if node.op_type == "Resize")
    assert len(node.inputs) == 3
    result.assert_same()


@pytest.mark.parametrize("channels", ["3", "c"])
def test_an_open_batch_stays_open(rewrite: Rewrite, channels: str) -> None:
    model = text(TRACED + resize(), x=f"n,{channels},12,20", small=f"n,{channels},4,10")
    result = rewrite(model, ReplaceMergeCells())
    assert result.applied == ("sum cell: Resize by constant scales [1, 1, 3, 2]",)
    assert result.ops == ["Resize", "Add"]
    result.assert_same()


@pytest.mark.parametrize("seed", range(30))
def test_every_spelling_that_repeats_evenly_becomes_one(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    mode = rng.choice(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
    rounding = rng.choice(["floor", "ceil", "round_prefer_ceil", "round_prefer_floor"])
    before = (rng.randint(1, 5), rng.randint(1, 5))
    after = [size * rng.randint(1, 4) for size in before]
    call = resize(f'coordinate_transformation_mode = "{mode}", nearest_mode = "{rounding}"')
    shapes: dict[str, Any] = {"x": f"2,3,{after[0]},{after[1]}", "small": f"2,3,{before[0]},{before[1]}"}
    result = rewrite(text(constant(2, 3, *after) + call, **shapes), ReplaceMergeCells())
    assert len(result.applied) + len(result.declined) == 1
    result.assert_same()


@pytest.mark.parametrize("seed", range(10))
def test_half_pixels_repeat_the_same_elements(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    before = (rng.randint(1, 5), rng.randint(2, 5))
    after = [size * rng.randint(2, 5) for size in before]
    shapes: dict[str, Any] = {"x": f"2,3,{after[0]},{after[1]}", "small": f"2,3,{before[0]},{before[1]}"}
    result = rewrite(
        text(constant(2, 3, *after) + resize(), **shapes), ReplaceMergeCells(coordinates="half_pixel")
    )
    (node,) = (node for node in result.model.graph if node.op_type == "Resize")
    assert node.attributes.get_string("coordinate_transformation_mode", "") == "half_pixel"
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "options", "why"),
    [
        (constant(2, 3, 12, 20) + resize('nearest_mode = "ceil"'), {}, "nearest with half_pixel and ceil "),
        (constant(2, 3, 12, 20) + resize(), {"small": "2,3,5,10"}, "5 to 12 is no whole ratio; "),
        (TRACED + resize(), {"x": "2,3,h,20"}, "its sizes are not known: [2, 3, 4, 10] to "),
        (
            constant(2, 3, 12, 20) + resize(),
            {"small": "2,3,h,10"},
            "its sizes are not known: [2, 3, h, 10] to ",
        ),
        (
            constant(12, 20) + resize('axes = [2,3], keep_aspect_ratio_policy = "not_larger"'),
            {"opset": 18, "small": "2,3,6,10"},
            "keep_aspect_ratio_policy is not_larger",
        ),
    ],
)
def test_other_enlargements_are_declined(rewrite: Rewrite, body: str, options: Any, why: str) -> None:
    result = rewrite(text(body, **options), ReplaceMergeCells(), compare=False)
    assert len(result.declined) == 1
    assert result.declined[0].startswith(why)
    assert not result.applied


def test_a_crop_is_declined(rewrite: Rewrite) -> None:
    body = f"""r = Constant <value = float[8] {{0,0,0,0,1,1,1,1}}> () {constant(2, 3, 12, 20)}
        {resize('coordinate_transformation_mode = "tf_crop_and_resize"', "(small, r, , s)")}"""
    result = rewrite(text(body), ReplaceMergeCells())
    assert result.declined == ("tf_crop_and_resize scales what it cuts out",)


def test_opset_10_is_declined(rewrite: Rewrite) -> None:
    body = "f = Constant <value = float[4] {1,1,3,2}> () u = Resize (small, f) y = Add (x, u)"
    model = text(body, opset=10).replace("ir_version: 8", "ir_version: 5")
    result = rewrite(model, ReplaceMergeCells())
    assert result.declined == ("opset 10 has no other spelling; convert the model to 11 or later first",)


def test_linear_enlargements_and_overlapping_pools_are_no_cells(rewrite: Rewrite) -> None:
    body = f"""{constant(2, 3, 12, 20)} u = Resize <mode = "linear"> (small, , , s) v = Add (x, u)
        p = MaxPool <kernel_shape = [3,3], strides = [2,2]> (x) q = Add (p, p)
        o = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (x) y = Add (v, o)"""
    result = rewrite(text(body), ReplaceMergeCells())
    assert not result.applied
    assert not result.declined


def test_a_resize_to_the_same_size_goes(rewrite: Rewrite) -> None:
    result = rewrite(text(TRACED + resize(), small="2,3,12,20"), ReplaceMergeCells())
    assert result.applied == ("sum cell: a Resize to the same size goes",)
    assert result.ops == ["Add"]
    result.assert_same()


def test_a_resize_that_is_read_twice_changes_once(rewrite: Rewrite) -> None:
    body = f"{constant(2, 3, 12, 20)} u = Resize <{ASYMMETRIC}> (small, , , s) v = Add (x, u) y = Add (u, v)"
    result = rewrite(text(body), ReplaceMergeCells())
    assert len(result.applied) == 1
    result.assert_same()


def pools(first: int, second: int, x: str = "2,3,12,20") -> str:
    return text(
        f"""a = MaxPool <kernel_shape = [{first},{first}], strides = [{first},{first}]> (x)
        b = MaxPool <kernel_shape = [{second},{second}], strides = [{second},{second}]> (x)
        c = Add (a, a) d = ReduceMax <keepdims = 1> (c) e = Abs (b) f = Add (e, b) y = Add (f, d)""",
        x=x,
    )


@pytest.mark.parametrize("x", ["2,3,12,20", "2,3,13,19", "2,3,17,23"])
@pytest.mark.parametrize(("first", "second", "rest"), [(2, 4, 2), (3, 6, 2), (2, 8, 4)])
def test_a_pool_reads_the_smaller_one_that_is_there(
    rewrite: Rewrite, first: int, second: int, rest: int, x: str
) -> None:
    result = rewrite(pools(first, second, x), ReplaceMergeCells())
    assert result.applied == (f"sum cell: kernel [{second}, {second}] -> [{rest}, {rest}] on the pool a",)
    result.assert_same()


@pytest.mark.parametrize(("first", "second"), [(4, 2), (3, 4), (2, 2)])
def test_pools_that_are_not_made_of_one_another_stay(rewrite: Rewrite, first: int, second: int) -> None:
    result = rewrite(pools(first, second), ReplaceMergeCells())
    assert not result.applied


POOL = "p = MaxPool <kernel_shape = [3,3], strides = [3,3]{}> ({}) y = Add (p, small)"


def pads(*amounts: int) -> str:
    return f"q = Constant <value = int64[8] {{{','.join(map(str, amounts))}}}> ()"


@pytest.mark.parametrize(
    ("pad", "x", "why", "ops"),
    [
        (pads(*[0] * 8) + "f = Pad (x, q)", "2,3,12,30", "a Pad by nothing goes", ["MaxPool", "Add"]),
        (
            pads(0, 0, 1, 0, 0, 0, 0, 2) + "r = Relu (x) f = Pad (r, q)",
            "2,3,11,28",
            "the Pad of zeros is its own padding",
            ["Relu", "MaxPool", "Add"],
        ),
    ],
)
def test_a_pad_in_front_of_a_pool_goes(rewrite: Rewrite, pad: str, x: str, why: str, ops: list[str]) -> None:
    result = rewrite(text(pad + POOL.format("", "f"), x=x), ReplaceMergeCells())
    assert result.applied == (f"sum cell: {why}",)
    assert result.ops == ops
    result.assert_same()


@pytest.mark.parametrize(
    "pad",
    [
        pads(0, 0, 1, 0, 0, 0, 0, 2) + "f = Pad (x, q)",  # of elements that may be negative
        pads(0, 0, 1, 0, 0, 0, 0, 2) + 'r = Relu (x) f = Pad <mode = "edge"> (r, q)',
        pads(0, 0, 1, 0, 0, 0, 0, 2) + "w = Constant <value = float {9}> () r = Relu (x) f = Pad (r, q, w)",
    ],
)
def test_a_pad_that_may_win_stays(rewrite: Rewrite, pad: str) -> None:
    result = rewrite(text(pad + POOL.format("", "f"), x="2,3,11,28"), ReplaceMergeCells())
    assert not result.applied
    result.assert_same()


def test_padding_as_large_as_the_kernel_stays_a_pad(rewrite: Rewrite) -> None:
    pad = pads(0, 0, 3, 0, 0, 0, 0, 0) + "r = Relu (x) f = Pad (r, q)"
    result = rewrite(text(pad + POOL.format("", "f"), x="2,3,9,30"), ReplaceMergeCells())
    assert not result.applied


def test_computed_pads_become_constant(rewrite: Rewrite) -> None:
    body = """k = Shape (x) t = Constant <value = int64[8] {0,0,0,0,0,0,1,2}> ()
        i = Constant <value = int64[1] {0}> () n = Constant <value = int64[1] {4}> () l = Slice (k, i, n)
        z = Sub (l, l) c = Concat <axis = 0> (z, z) q = Add (c, t) f = Pad (x, q)"""
    result = rewrite(text(body + POOL.format("", "f"), x="2,3,11,28"), ReplaceMergeCells())
    assert result.applied == ("sum cell: constant pads [0, 0, 0, 0, 0, 0, 1, 2] in front",)
    assert result.ops == ["Pad", "MaxPool", "Add"]
    result.assert_same()


def test_unknown_pads_are_declined(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,3,12,30] x, float[2,3,4,10] small, int64[8] q) => (float[a,b,c,d] y) {
        [fill] f = Pad (x, q) p = MaxPool <kernel_shape = [3,3], strides = [3,3]> (f) y = Add (p, small) }"""
    result = rewrite(model, ReplaceMergeCells(), compare=False)
    assert result.declined == ("the pads of fill in front of it are not known",)


@pytest.mark.parametrize("extra", [", ceil_mode = 1", ', auto_pad = "VALID"', ', auto_pad = "SAME_UPPER"'])
def test_attributes_that_do_nothing_go(rewrite: Rewrite, extra: str) -> None:
    result = rewrite(text(POOL.format(extra, "x"), x="2,3,12,30"), ReplaceMergeCells())
    assert result.applied == ("sum cell: plain attributes",)
    (node,) = (node for node in result.model.graph if node.op_type == "MaxPool")
    assert {"ceil_mode", "auto_pad"}.isdisjoint(node.attributes)
    result.assert_same()


def test_a_partial_window_stays(rewrite: Rewrite) -> None:
    result = rewrite(text(POOL.format(", ceil_mode = 1", "x"), x="2,3,11,29"), ReplaceMergeCells())
    assert not result.applied
    result.assert_same()


def test_indices_are_declined(rewrite: Rewrite) -> None:
    body = """p, i = MaxPool <kernel_shape = [3,3], strides = [3,3]> (x) c = Cast <to = 1> (i)
        d = Add (p, small) y = Mul (d, c)"""
    result = rewrite(text(body, x="2,3,12,30"), ReplaceMergeCells())
    assert result.declined == ("it also gives indices",)


def test_a_window_that_depends_on_an_open_size_is_declined(rewrite: Rewrite) -> None:
    result = rewrite(
        text(POOL.format(', auto_pad = "SAME_UPPER"', "x"), x="2,3,h,30"), ReplaceMergeCells(), compare=False
    )
    assert len(result.declined) == 1
    assert result.declined[0].startswith("its auto_pad is SAME_UPPER")


MEANS = [
    "m = GlobalAveragePool (x)",
    "m = ReduceMean <axes = [2,3]> (x)",
    "m = ReduceMean <axes = [-1,2]> (x)",
    "m = AveragePool <kernel_shape = [12,20]> (x)",
]


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("product", ["Mul (g, e)", "Mul (e, g)"])
@pytest.mark.parametrize("total", ["Add (x, p)", "Add (p, x)", "Sum (p, x)"])
def test_attention_cells_get_one_spelling(rewrite: Rewrite, mean: str, product: str, total: str) -> None:
    body = f"e = Exp (small) {mean} g = Sigmoid (m) p = {product} y = {total}"
    result = rewrite(text(body, small="2,3,12,20"), ReplaceMergeCells())
    same = mean == MEANS[0] and product == "Mul (e, g)" and "Add" in total
    assert bool(result.applied) != same
    assert result.ops == ["Exp", "GlobalAveragePool", "Sigmoid", "Mul", "Add"]
    (gated,) = (node for node in result.model.graph if node.op_type == "Mul")
    assert gated.inputs[0] is not None
    assert gated.inputs[0].name == "e"
    result.assert_same(1e-6)


def test_a_mean_over_other_axes_and_a_gate_of_another_map_are_no_attention(rewrite: Rewrite) -> None:
    body = """e = Exp (small) m = ReduceMean <axes = [1,2]> (x) g = Sigmoid (m) p = Mul (g, e) v = Add (x, p)
        o = GlobalAveragePool (e) h = Sigmoid (o) q = Mul (h, e) w = Add (v, q)
        a = AveragePool <kernel_shape = [12,19]> (x) b = ReduceMax <axes = [3]> (a) i = Sigmoid (b)
        r = Mul (i, e) y = Add (w, r)"""
    result = rewrite(text(body, small="2,3,12,20"), ReplaceMergeCells())
    assert not result.applied
    assert not result.declined


def test_the_maps_of_an_attention_cell_are_brought_to_size(rewrite: Rewrite) -> None:
    body = f"""{TRACED} o = Constant <value = float[0] {{}}> ()
        u = Resize <{ASYMMETRIC}> (small, o, o, s) m = GlobalAveragePool (x) g = Sigmoid (m)
        r = Mul (g, u) y = Add (x, r)"""
    result = rewrite(text(body), ReplaceMergeCells())
    assert result.applied == (
        "attention cell: Resize by constant scales [1, 1, 3, 2]; the gate is the second factor",
    )
    result.assert_same()


def test_wrong_pooling_in_one_cell_is_caught(
    write_text: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_text(pools(2, 4), "pools.onnx")
    right = rewrite_file(source, tmp_path / "right.onnx", [PassStep("replace_merge_cells")])
    assert right.verification.status is Status.PROVEN

    def read_too_much(here: pooling.Pooling) -> pooling.Pooling | None:
        found = smaller(here)
        return None if found is None else dataclasses.replace(found, window=here.window)

    smaller = pooling._smaller_pool
    monkeypatch.setattr(pooling, "_smaller_pool", read_too_much)
    with pytest.raises(RewriteError, match="replace_merge_cells"):
        rewrite_file(source, tmp_path / "wrong.onnx", [PassStep("replace_merge_cells")])
    assert not (tmp_path / "wrong.onnx").exists()
