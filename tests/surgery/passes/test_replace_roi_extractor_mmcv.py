"""Pooling as an export of mmdet 3.x has it: mmcv's own operator, and as many regions as there are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.replace_roi_extractor import ReplaceRoiExtractor

Rewrite = Callable[..., Any]


def level(i: int, data: str, scale: float) -> str:
    """Pool the rows of a level and write them back, through a Reshape whose sizes are computed."""
    return f"""
        i{i} = Constant <value = int64 {{{i}}}> () m{i} = Equal (level, i{i}) n{i} = NonZero (m{i})
        t{i} = Transpose <perm = [1, 0]> (n{i}) j{i} = Squeeze <axes = [1]> (t{i})
        g{i} = Gather <axis = 0> (rois, j{i})
        p{i} = mmcv.MMCVRoiAlign <output_height = 3, output_width = 3, sampling_ratio = 0,
            spatial_scale = {scale}, aligned = 1> (f{i}, g{i})
        x{i} = Unsqueeze <axes = [1]> (j{i}) h{i} = Shape (j{i}) e{i} = Shape ({data})
        r{i} = Slice (e{i}, one, last) s{i} = Concat <axis = 0> (h{i}, r{i}) v{i} = Reshape (p{i}, s{i})
        out{i} = ScatterND ({data}, x{i}, v{i})
    """


def routing() -> str:
    """Write a pooling of the boxes of ``x`` that have a height, which inference cannot count."""
    return f"""<ir_version: 8, opset_import: ["" : 11, "mmcv" : 1]>
        g (float[7,4] x, float[1,2,20,24] f0, float[1,2,10,12] f1) => (float[R,2,3,3] y)
        <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] four = {{4}},
         int64[1] last = {{9}}, int64[1] column = {{1}}, int64[3] sizes = {{2, 3, 3}},
         int64 c1 = {{1}}, int64 c2 = {{2}}, int64 c3 = {{3}}, int64 c4 = {{4}}, float none = {{0}},
         float finest = {{20}}, float eps = {{0.000001}}, float ln2 = {{0.6931472}}, float most = {{1}},
         float half = {{2}}, float[4] far = {{20, 20, 60, 60}}, float tall = {{20}}, float cell = {{1}}> {{
        positive = Abs (x) places = Mul (positive, far)
        start = Slice (places, zero, two, one) side = Slice (places, two, four, one)
        room = Add (side, cell) end = Add (start, room) all = Concat <axis = 1> (start, end)
        up = Slice (side, one, two, one) flat = Squeeze <axes = [1]> (up) big = Greater (flat, tall)
        kept = NonZero (big) list = Squeeze <axes = [0]> (kept) boxes = Gather (all, list)
        count = Shape (boxes) rows = Slice (count, zero, one) wide = Concat <axis = 0> (rows, column)
        images = ConstantOfShape (wide) rois = Concat <axis = 1> (images, boxes)
        left = Gather <axis = 1> (rois, c1) top = Gather <axis = 1> (rois, c2)
        right = Gather <axis = 1> (rois, c3) bottom = Gather <axis = 1> (rois, c4)
        width = Sub (right, left) height = Sub (bottom, top) area = Mul (width, height)
        r = Sqrt (area) q = Div (r, finest) e = Add (q, eps) l = Log (e) d = Div (l, ln2) f = Floor (d)
        v = Clip (f, none, most) level = Cast <to = 7> (v)
        whole = Concat <axis = 0> (rows, sizes) blank = ConstantOfShape (whole)
        {level(0, "blank", 0.25)} {level(1, "out0", 0.125)} y = Identity (out1) }}"""


def test_all_levels_become_one_operator_though_nobody_counts_the_regions(rewrite: Rewrite) -> None:
    result = rewrite(routing(), ReplaceRoiExtractor())
    assert result.applied == ("2 levels in one, the first below 40 pixels, aligned",)
    assert not {"MMCVRoiAlign", "ScatterND", "Equal", "Log"} & set(result.ops)
    assert 1 < len(result.before["y"]) < 7
    result.assert_same(1e-6)


def test_other_alignment_is_read_from_the_graph(rewrite: Rewrite) -> None:
    result = rewrite(routing().replace("aligned = 1", "aligned = 0"), ReplaceRoiExtractor())
    assert result.applied == ("2 levels in one, the first below 40 pixels, not aligned",)
    result.assert_same(1e-6)


def test_a_pooling_alone_is_taken_too(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11, "mmcv" : 1]>
        g (float[1,2,20,24] x) => (float[3,2,3,3] y)
        <float[3,5] rois = {0, 3, 4, 30, 40, 0, 1, 2, 3, 25, 0, 4, 5, 8, 7}> {
        y = mmcv.MMCVRoiAlign <output_height = 3, output_width = 3, spatial_scale = 0.25> (x, rois) }"""
    result = rewrite(text, ReplaceRoiExtractor())
    assert result.applied == ("1 level in one, aligned",)
    assert np.abs(result.before["y"]).max() > 0.1
    result.assert_same(1e-6)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("aligned = 1> (f1, g1)", "aligned = 0> (f1, g1)", "its levels differ in bins, samples or alignment"),
        ("aligned = 1> (f1", "aligned = 1, mode = 'max'> (f1", "it takes the max of its samples"),
        ("(rois, j1)", "(rois, j0)", "it pools other regions than its answers are written for"),
        ("g1 = Gather <axis = 0> (rois", "moved = Sub (rois, half) g1 = Gather <axis = 0> (moved",
         "its batch indices are computed"),
        ("float most = {1}", "float most = {2}", "regions of level 2 are pooled nowhere: they stay zero"),
        ("float eps = {0.000001}", "float eps = {0.5}", "not chosen by a multiple of the size"),
        ("sizes = {2, 3, 3}", "sizes = {1, 6, 3}", "its answers are put together in another shape"),
    ],
)  # fmt: skip
def test_reasons_to_decline(rewrite: Rewrite, old: str, new: str, why: str) -> None:
    assert old in routing()
    text = routing().replace(old, new.replace("'", '"')).replace("float[R,2,3,3] y", "float[R,a,b,c] y")
    result = rewrite(text, ReplaceRoiExtractor(), compare=False)
    assert not result.applied
    assert len(result.declined) == 1
    assert why in result.declined[0]
