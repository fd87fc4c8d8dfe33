import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.operator_bodies import call_of
from graphopt.core.operators.roi_extractor import OPERATOR
from graphopt.surgery import PassStep, RewriteError, Status, rewrite_file
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.replace_roi_extractor import ReplaceRoiExtractor
from graphopt.surgery.shapes.shape_inference import infer_types, record_types

Rewrite = Callable[..., Any]
Write = Callable[[str, str], Path]

MMDET = """
    r = Sqrt (area) q = Div (r, finest) e = Add (q, eps) l = Log (e) d = Div (l, ln2) f = Floor (d)
    v = Clip (f, none, last) level = Cast <to = 7> (v)
"""
"""As mmdet writes it: floor(log2(side / finest + 1e-6))."""
TORCHVISION = """
    r = Sqrt (area) q = Div (r, canon) l = Log (q) d = Div (l, ln2) e = Add (four, d) h = Add (e, eps)
    f = Floor (h) v = Clip (f, two, deepest) w = Cast <to = 7> (v) level = Sub (w, k)
"""
"""floor(4 + log2(side / 80) + 1e-6) - 2, which is the same as finest 20."""


def scattered(i: int, data: str, scale: float, *, align: str) -> str:
    """As mmdet 2.x and 3.x are exported: rows of a level are picked out, and written back by index."""
    return f"""
        i{i} = Constant <value = int64 {{{i}}}> () m{i} = Equal (level, i{i}) n{i} = NonZero (m{i})
        t{i} = Transpose <perm = [1, 0]> (n{i}) j{i} = Squeeze <axes = [1]> (t{i})
        g{i} = Gather <axis = 0> (rois, j{i}) a{i} = Slice (g{i}, zero, one, one)
        b{i} = Squeeze <axes = [1]> (a{i}) c{i} = Cast <to = 7> (b{i}) o{i} = Slice (g{i}, one, five, one)
        s{i} = Constant <value = float {{{0.5 / scale}}}> () u{i} = Sub (o{i}, s{i})
        {align.format(i=i, scale=scale)}
        x{i} = Unsqueeze <axes = [1]> (j{i}) out{i} = ScatterND ({data}, x{i}, p{i})
    """


def scattered_elements(i: int, data: str, scale: float, *, align: str) -> str:
    """As torchvision is exported: indices are spread over the whole answer; columns are gathered."""
    return f"""
        i{i} = Constant <value = int64 {{{i}}}> () m{i} = Equal (i{i}, level) n{i} = NonZero (m{i})
        j{i} = Squeeze <axes = [0]> (n{i}) g{i} = Gather <axis = 0> (rois, j{i})
        a{i} = Gather <axis = 1> (g{i}, first) b{i} = Reshape (a{i}, flat) c{i} = Cast <to = 7> (b{i})
        u{i} = Gather <axis = 1> (g{i}, others)
        {align.format(i=i, scale=scale)}
        y{i} = Reshape (j{i}, column) z{i} = Shape (p{i}) x{i} = Expand (y{i}, z{i})
        out{i} = ScatterElements <axis = 0> ({data}, x{i}, p{i})
    """


def summed(i: int, data: str, scale: float, *, align: str) -> str:
    """As mmdet 2.10 to 2.24 write it for TensorRT: all regions on all levels, times 1 or 0, and added."""
    return f"""
        i{i} = Constant <value = int64 {{{i}}}> () m{i} = Equal (level, i{i}) n{i} = Cast <to = 1> (m{i})
        t{i} = Unsqueeze <axes = [1]> (n{i}) g{i} = Mul (rois, t{i})
        a{i} = Slice (g{i}, zero, one, one) b{i} = Squeeze <axes = [1]> (a{i}) c{i} = Cast <to = 7> (b{i})
        o{i} = Slice (g{i}, one, five, one) s{i} = Constant <value = float {{{0.5 / scale}}}> ()
        u{i} = Sub (o{i}, s{i})
        {align.format(i=i, scale=scale)}
        y{i} = Expand (t{i}, spread) z{i} = Reshape (y{i}, whole) w{i} = Mul (p{i}, z{i})
        out{i} = Add ({data}, w{i})
    """


ALIGN = """p{i} = RoiAlign <output_height = 3, output_width = 3, sampling_ratio = 0, spatial_scale = {scale}>
    (f{i}, u{i}, c{i})"""
SCALES = (0.25, 0.125)


def routing(
    merge: Callable[..., str] = scattered,
    *,
    level: str = MMDET,
    align: str = ALIGN,
    scales: tuple[float, ...] = SCALES,
    smallest: float = 9,
    opset: int = 11,
) -> str:
    """Write a pooling from two levels of 2 channels; boxes come from ``x`` and are ``smallest`` at least."""
    text, data = "", "blank"
    for i, scale in enumerate(scales):
        text += merge(i, data, scale, align=align)
        data = f"out{i}"
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[7,4] x, float[1,2,20,24] f0, float[1,2,10,12] f1) => (float[7,2,3,3] y)
        <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two_ = {{2}}, int64[1] four_ = {{4}},
         int64[1] five = {{5}}, int64[1] flat = {{-1}}, int64[4] column = {{-1, 1, 1, 1}},
         int64[1] first = {{0}}, int64[4] others = {{1, 2, 3, 4}}, int64[2] spread = {{7, 18}},
         int64[4] whole = {{7, 2, 3, 3}}, int64 k = {{2}},
         int64 col1 = {{1}}, int64 col2 = {{2}}, int64 col3 = {{3}}, int64 col4 = {{4}},
         float finest = {{20}}, float eps = {{0.000001}}, float ln2 = {{0.6931472}}, float none = {{0}},
         float last = {{1}}, float canon = {{80}}, float four = {{4}}, float two = {{2}},
         float deepest = {{3}}, float[4] far = {{20, 20, 60, 60}}, float smallest = {{{smallest}}},
         float[7,1] images = {{0, 0, 0, 0, 0, 0, 0}}> {{
        positive = Abs (x) places = Mul (positive, far)
        start = Slice (places, zero, two_, one) side = Slice (places, two_, four_, one)
        room = Add (side, smallest) end = Add (start, room)
        rois = Concat <axis = 1> (images, start, end)
        left = Gather <axis = 1> (rois, col1) top = Gather <axis = 1> (rois, col2)
        right = Gather <axis = 1> (rois, col3) bottom = Gather <axis = 1> (rois, col4)
        width = Sub (right, left) height = Sub (bottom, top) area = Mul (width, height)
        {level}
        blank = ConstantOfShape (whole)
        {text} y = Identity ({data}) }}"""


SUITABLE = """<ir_version: 8, opset_import: ["" : 11]> g (float[1,2,9,8] x) => (float[3,2,2,2] y)
    <float[3,5] rois = {0, 3, 4, 30, 40, 0, 1, 2, 9, 25, 0, 4, 5, 8, 29}, int64[1] zero = {0},
     int64[1] one = {1}, int64[1] five = {5}, float half = {2}> {
    a = Slice (rois, zero, one, one) b = Squeeze <axes = [1]> (a) c = Cast <to = 7> (b)
    o = Slice (rois, one, five, one) u = Sub (o, half)
    p = RoiAlign <output_height = 2, output_width = 2, spatial_scale = 0.25> (x, u, c) y = Neg (p) }"""
"""One level: the contract's tests make an output of each tensor, one by one; all at once is below."""
NEWEST_OPSET = 21  # onnxruntime 1.31 has no RoiAlign of opset 22


def extractor(model: ir.Model) -> dict[str, Any]:
    """Return the attributes of the only RoiExtractor."""
    (node,) = (node for node in model.graph if (node.domain, node.op_type) == ("npu", "RoiExtractor"))
    assert [value.name for value in node.inputs if value is not None][:-1] == ["f0", "f1"]
    return {name: item.value for name, item in node.attributes.items()}


@pytest.mark.parametrize("level", [MMDET, TORCHVISION])
@pytest.mark.parametrize("merge", [scattered, scattered_elements, summed])
def test_one_operator_takes_the_place_of_all_levels(
    rewrite: Rewrite, merge: Callable[..., str], level: str
) -> None:
    result = rewrite(routing(merge, level=level), ReplaceRoiExtractor())
    aligned = merge is not scattered_elements
    kind = "aligned" if aligned else "not aligned"
    assert result.applied == (f"2 levels in one, the first below 40 pixels, {kind}",)
    assert not {"NonZero", "RoiAlign", "ScatterND", "ScatterElements", "Log", "Equal"} & set(result.ops)
    assert extractor(result.model) == {
        "finest_scale": 20,
        "roi_scale_factor": 0.0,
        "spatial_scale": (0.25, 0.125),
        "pooled_height": 3,
        "pooled_width": 3,
        "sample_num": 0,
        "pool_mode": "avg",
        "aligned": int(aligned),
    }
    assert (np.abs(result.before["y"]).max(axis=(1, 2, 3)) > 0).all()
    result.assert_same(1e-6)


def test_attributes_are_of_the_types_that_the_target_reads(rewrite: Rewrite) -> None:
    result = rewrite(routing(), ReplaceRoiExtractor(), compare=False)
    (node,) = (node for node in result.model.graph if node.op_type == "RoiExtractor")
    assert {name: item.type for name, item in node.attributes.items()} == OPERATOR.attributes
    assert not list(OPERATOR.check(call_of(node, 11)))


@pytest.mark.parametrize("flattened", ["Squeeze <axes = [1]> (a", "Reshape (a"])
def test_regions_of_a_table_of_unknown_width(rewrite: Rewrite, flattened: str) -> None:
    text = (
        routing()
        .replace("rois = Concat", "both = Shape (x) table = Concat")
        .replace(
            "left = Gather",
            "rows = Gather (both, zero) wide = Concat <axis = 0> (rows, flat)"
            " rois = Reshape (table, wide) left = Gather",
        )
    )
    for i in (0, 1):
        ends = ")" if "Squeeze" in flattened else ", flat)"
        text = text.replace(f"Squeeze <axes = [1]> (a{i})", f"{flattened}{i}{ends}")
    result = rewrite(text, ReplaceRoiExtractor())
    assert len(result.applied) == 1
    result.assert_same(1e-6)


def test_samples_are_read_from_the_graph(rewrite: Rewrite) -> None:
    text = routing(align=ALIGN.replace("sampling_ratio = 0", "sampling_ratio = 2"))
    result = rewrite(text, ReplaceRoiExtractor())
    assert extractor(result.model)["sample_num"] == 2
    result.assert_same(1e-6)


def test_half_pixels_of_the_operator_itself_are_alignment(rewrite: Rewrite) -> None:
    text = (
        routing(scattered_elements, opset=16)
        .replace("Squeeze <axes = [0]> (n", "Reshape (n")
        .replace("Reshape (n0)", "Reshape (n0, flat)")
    )
    text = text.replace("Reshape (n1)", "Reshape (n1, flat)")
    result = rewrite(text, ReplaceRoiExtractor())
    assert extractor(result.model)["aligned"] == 1
    result.assert_same(1e-6)


SINGLE = """<ir_version: 8, opset_import: ["" : 11]>
    g (float[1,2,20,24] f0, float[3,{width}] rois, int64[3] images) => (float[3,2,3,3] y)
    <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] five = {{5}}, float half = {{2}}> {{ {body}
    y = RoiAlign <output_height = 3, output_width = 3, spatial_scale = 0.25> (f0, u, c) }}"""
TABLE = """a = Slice (rois, zero, one, one) b = Squeeze <axes = [1]> (a) c = Cast <to = 7> (b)
    o = Slice (rois, one, five, one) u = Sub (o, half)"""


@pytest.mark.parametrize(
    ("body", "width", "made"),
    [
        (TABLE, 5, []),
        (TABLE, 6, ["Slice"]),
        ("u = Sub (rois, half) c = Cast <to = 7> (images)", 4, ["Unsqueeze", "Cast", "Concat"]),
    ],
)
def test_a_single_level_is_taken_too(
    rewrite: Rewrite, run_model: Any, model_of: Any, body: str, width: int, made: list[str]
) -> None:
    text = SINGLE.format(body=body, width=width)
    result = rewrite(text, ReplaceRoiExtractor(), compare=False)
    assert result.applied == ("1 level in one, aligned",)
    assert result.ops == [*made, "RoiExtractor"]
    rois = np.array([[0, 3, 4, 30, 40, 9], [0, 1, 2, 9, 50, 9], [0, 40, 40, 99, 70, 9]], dtype=np.float32)
    rng = np.random.default_rng(1)
    feeds = {
        "f0": rng.standard_normal((1, 2, 20, 24)).astype(np.float32),
        "rois": rois[:, 1:5] if width == 4 else rois[:, :width],
        "images": np.zeros(3, dtype=np.int64),
    }
    before, after = run_model(model_of(text), feeds)["y"], run_model(result.model, feeds)["y"]
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("output_width = 3", "output_width = 3, mode = 'max'"), "it takes the max of its samples"),
        (("output_width = 3", "output_width = 2"), "it pools 3 x 2 bins"),
        (("spatial_scale = 0.125", "spatial_scale = 0.25"), "shifted by 4 pixels, which is not half a cell"),
        (("float {4.0}", "float {5}"), "shifted by 5 pixels, which is not half a cell"),
        (("output_height = 3, output_width = 3, sampling_ratio = 0, spatial_scale = 0.125",
          "output_height = 3, output_width = 3, sampling_ratio = 2, spatial_scale = 0.125"),
         "its levels differ in bins, samples or alignment"),
        (("float last = {1}", "float last = {2}"), "regions of level 2 are pooled nowhere: they stay zero"),
        (("float none = {0}", "float none = {-1}"), "its levels run from -1 to 1, not from 0"),
        (("float finest = {20}", "float finest = {20.5}"), "its finest scale is 20.5 pixels, not a whole"),
        (("float ln2 = {0.6931472}", "float ln2 = {1}"), "its level does not grow by one with the doubling"),
        (("float eps = {0.000001}", "float eps = {0.5}"), "not chosen by a multiple of the size"),
        (("l = Log (e)", "er = Cast <to = 7> (e) ef = Cast <to = 1> (er) l = Log (ef)"),
         "not chosen by the root of width"),
        (("area = Mul (width, height)", "area = Max (width, height)"), "not chosen by the root of width"),
        (("width = Sub (right, left)",
          "wl = Cast <to = 6> (left) fl = Cast <to = 1> (wl) width = Sub (right, fl)"),
         "not chosen by the root of width"),
        (("f = Floor (d)", "f = Ceil (d)"), "Ceil f is no part of a choice by size"),
        (("col2 = {2}", "col2 = {3}"), "by the size of other boxes than those that are pooled"),
        (("g1 = Gather <axis = 0> (rois, j1)", "g1 = Gather <axis = 0> (rois, j0)"),
         "it pools other regions than its answers are written for"),
        (("g1 = Gather <axis = 0> (rois, j1)", "tw = Add (rois, rois) g1 = Gather <axis = 0> (tw, j1)"),
         "its levels pool regions of different tensors"),
        (("blank = ConstantOfShape (whole)", "blank = ConstantOfShape <value = float[1] {1}> (whole)"),
         "its levels are written into blank, which is not zero"),
        (("x1 = Unsqueeze <axes = [1]> (j1)", "jj = Abs (j1) x1 = Unsqueeze <axes = [1]> (jj)"),
         "x1 is no choice of a level"),
        (("o1 = Slice (g1, one, five, one)", "oo = Mul (g1, finest) o1 = Slice (oo, one, five, one)"),
         "it pools other regions than its answers are written for"),
    ],
)  # fmt: skip
def test_reasons_to_decline(rewrite: Rewrite, change: tuple[str, str], why: str) -> None:
    text = routing(align=ALIGN)
    old, new = change
    if old not in text:
        pytest.fail(f"{old} is not in the model")
    result = rewrite(_replaced(text, old, new.replace("'", '"')), ReplaceRoiExtractor(), compare=False)
    assert not result.applied
    assert len(result.declined) == 1
    assert why in result.declined[0]


def _replaced(text: str, old: str, new: str) -> str:
    """Replace in the nodes, and in the declared output where its size changes with them."""
    changed = text.replace(old, new)
    return changed.replace("float[7,2,3,3] y", "float[7,2,3,n] y") if "width = 2" in new else changed


def test_scales_that_are_no_ladder_are_declined(rewrite: Rewrite) -> None:
    result = rewrite(routing(scales=(0.25, 0.1)), ReplaceRoiExtractor(), compare=False)
    assert result.declined == ("its scales are 0.25, 0.1: not each half of the one before",)


def test_features_in_double_are_declined(rewrite: Rewrite) -> None:
    text = re.sub(r"\bfloat\b", "double", SINGLE.format(body=TABLE, width=5))
    result = rewrite(text, ReplaceRoiExtractor(), compare=False)
    assert result.declined == ("its features are DOUBLE, not float32 or float16",)


def test_regions_shifted_twice_are_declined(rewrite: Rewrite) -> None:
    text = SINGLE.format(body="u = Sub (rois, half) c = Cast <to = 7> (images)", width=4)
    result = rewrite(text.replace('"" : 11', '"" : 16'), ReplaceRoiExtractor(), compare=False)
    assert result.declined == ("its regions are shifted twice, in front of the pooling and by it",)


def test_a_mask_of_other_levels_is_declined(rewrite: Rewrite) -> None:
    text = routing(summed).replace("w1 = Mul (p1, z1)", "zz = Reshape (y0, whole) w1 = Mul (p1, zz)")
    result = rewrite(text, ReplaceRoiExtractor(), compare=False)
    assert result.declined == ("regions of level 1 are pooled nowhere: they stay zero",)


def test_tensors_of_the_routing_may_be_outputs(run_model: Any, model_of: Any) -> None:
    def exposed() -> ir.Model:
        model: ir.Model = model_of(routing())
        values = [value for node in model.graph for value in node.outputs if not value.is_graph_output()]
        types = infer_types(model)
        record_types({value: types[value] for value in values})
        model.graph.outputs.extend(value for value in values if value.shape is not None)
        return model

    before = run_model(exposed())
    model, report = run_pass(exposed(), ReplaceRoiExtractor())
    after = run_model(model)
    assert report.modified
    assert len(before) > 30
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=1e-5, err_msg=name)


SMALL = 0.5  # pixels, while a cell is 4 or 8 wide


def test_regions_below_one_cell_are_compared_with_what_the_network_computes(
    write_text: Write, tmp_path: Path
) -> None:
    source = write_text(routing(smallest=SMALL), "small.onnx")
    report = rewrite_file(source, tmp_path / "out.onnx", [PassStep("replace_roi_extractor")])
    assert report.verification.status is Status.PROVEN
    assert re.match(r"\d+ regions are smaller than one cell", report.verification.reason)
    source = write_text(routing(), "large.onnx")
    larger = rewrite_file(source, tmp_path / "larger.onnx", [PassStep("replace_roi_extractor")])
    assert larger.verification.reason == ""


@pytest.mark.parametrize(
    "change",
    [
        ("spatial_scale", [0.25, 0.25]),
        ("finest_scale", 10),
        ("sample_num", 1),
        ("aligned", 0),
    ],
)
def test_the_proof_sees_a_wrong_attribute_however_small_the_regions(
    write_text: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, Any]
) -> None:
    right = ReplaceRoiExtractor.rewrite

    def wrong(self: ReplaceRoiExtractor, model: ir.Model, site: Any) -> None:
        right(self, model, site)
        (node,) = (node for node in model.graph if node.op_type == "RoiExtractor")
        node.attributes[change[0]] = ir.node("Any", [], dict([change])).attributes[change[0]]

    monkeypatch.setattr(ReplaceRoiExtractor, "rewrite", wrong)
    source = write_text(routing(smallest=SMALL), "small.onnx")
    with pytest.raises(RewriteError, match="replace_roi_extractor is wrong: output y differs"):
        rewrite_file(source, tmp_path / "out.onnx", [PassStep("replace_roi_extractor")])


def test_the_proof_sees_that_one_level_serves_all(
    write_text: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ReplaceRoiExtractor.rewrite

    def wrong(self: ReplaceRoiExtractor, model: ir.Model, site: Any) -> None:
        right(self, model, site)
        (node,) = (node for node in model.graph if node.op_type == "RoiExtractor")
        node.replace_input_with(1, node.inputs[2])
        node.resize_inputs(2)
        node.attributes["spatial_scale"] = ir.AttrFloat32s("spatial_scale", [0.25])

    monkeypatch.setattr(ReplaceRoiExtractor, "rewrite", wrong)
    source = write_text(routing(smallest=SMALL), "small.onnx")
    with pytest.raises(RewriteError, match="replace_roi_extractor is wrong: output y differs"):
        rewrite_file(source, tmp_path / "out.onnx", [PassStep("replace_roi_extractor")])
