from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import FLOAT16_DETECTIONS, Detections
from graphopt.core.errors import UsageError
from graphopt.core.tensors import Array
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.replace_nms import ReplaceNms

Build = Callable[..., ir.Model]
Run = Callable[..., dict[str, Array]]

CONSTANTS = """
    float zero = {0}, float one = {1}, float half = {0.5}, float sides = {64}, float[1] iou = {0.5},
    int64[1] most = {9223372036854775807}, int64[1] at0 = {0}, int64[1] at1 = {1}, int64[1] at2 = {2},
    int64[1] at4 = {4}, int64[1] rows = {-1}, int64[2] column = {-1,1}, int64[2] quads = {-1,4},
    int64[1] limit = {4}, int64 last = {-1}, int64 nought = {0}, int64 unit = {1}, int64[3] each = {1,3,1}
"""
BOXES = """
    p = Slice (x, at0, at2, at1)  q = Abs (p)  r = Mul (q, sides)  u = Slice (x, at2, at4, at1)  v = Abs (u)
    w = Mul (v, sides)  e = Add (r, w)  b0 = Concat <axis = 1> (r, e)  boxes = Clip (b0, zero, sides)
"""
"""Corners and sizes of any input as boxes in an image of 64 x 64."""
LISTED = """
    b1 = Unsqueeze <axes = [1]> (boxes)  b2 = Tile (b1, each)  listed_boxes = Reshape (b2, quads)
    listed_scores = Reshape (scores, rows)
"""
KEPT = """
    mask = Greater (listed_scores, threshold)  n0 = NonZero (mask)  n1 = Transpose <perm = [1,0]> (n0)
    n2 = Squeeze <axes = [1]> (n1)  places = Cast <to = 7> (n2)
    some_boxes = Gather <axis = 0> (listed_boxes, places)
    some_scores = Gather <axis = 0> (listed_scores, places)
    some_classes = Gather <axis = 0> (classes, places)
"""
MOVED = """
    m0 = ReduceMax <keepdims = 0> (some_boxes)  step = Add (m0, one)  m1 = Cast <to = 1> (some_classes)
    m2 = Mul (m1, step)  m3 = Unsqueeze <axes = [1]> (m2)  moved = Add (some_boxes, m3)
"""
CHOSEN = """
    c0 = Unsqueeze <axes = [0]> (moved)  c1 = Unsqueeze <axes = [0]> (some_scores)
    c2 = Unsqueeze <axes = [0]> (c1)  chosen = NonMaxSuppression (c0, c2, most, iou)
    k0 = Gather <axis = 1> (chosen, at2)  k1 = Squeeze <axes = [1]> (k0)  keep = Cast <to = 7> (k1)
"""
TABLES = """
    t0 = Gather <axis = 0> (moved, keep)  t1 = Gather <axis = 0> (some_scores, keep)
    t2 = Reshape (t1, column)  t3 = Concat <axis = 1> (t0, t2)  t4 = Gather <axis = 0> (some_boxes, keep)
    t5 = Gather <axis = 1> (t3, last)  t6 = Unsqueeze <axes = [1]> (t5)  t7 = Concat <axis = -1> (t4, t6)
    found = Slice (t7, at0, limit, at0)  first = Slice (keep, at0, limit, at0)
    names = Gather <axis = 0> (some_classes, first)
"""
GRID = """
    mask = Greater (scores, threshold)  n0 = NonZero (mask)  pairs = Transpose <perm = [1,0]> (n0)
    rowed = Gather <axis = 1> (pairs, nought)  some_classes = Gather <axis = 1> (pairs, unit)
    some_boxes = Gather <axis = 0> (boxes, rowed)  some_scores = GatherND (scores, pairs)
"""
"""The places of scores [N, C] tell box and class."""
WHOLE = """
    some_boxes = Identity (listed_boxes)  some_scores = Identity (listed_scores)
    some_classes = Identity (classes)
"""
THREE_CLASSES = "int64[18] classes = {" + ",".join("0,1,2" for _ in range(6)) + "}"


def detector(
    *, opset: int = 11, outputs: str = "float[n,5] found, int64[n] names", threshold: str = "0.5"
) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[6,4] x, float[6,3] z) => ({outputs})
        <{CONSTANTS}, {THREE_CLASSES}, float threshold = {{{threshold}}}> {{
            {BOXES} scores = Sigmoid (z) {LISTED}{KEPT}{MOVED}{CHOSEN}{TABLES}
        }}"""


SUITABLE = f"""<ir_version: 8, opset_import: ["" : 11]>
    g (float[6,4] x, float[6,3] z) => (float[4,5] dets, int64[4] labels)
    <{CONSTANTS}, {THREE_CLASSES}, float threshold = {{0}}, float[6,4] apart =
        {{0,0,4,4, 9,0,14,5, 20,1,25,7, 30,0,34,4, 40,0,44,5, 50,0,55,6}}> {{
        near = Sigmoid (x)  b0 = Add (apart, near)  boxes = Clip (b0, zero, sides)  scores = Sigmoid (z)
        {LISTED}{KEPT}{MOVED}{CHOSEN}{TABLES.replace("found =", "dets =").replace("names =", "labels =")}
    }}"""
"""Boxes that never overlap, all of which count: there are always four detections."""
NO_NESTED = "its sizes are known in the main graph only"
DETECTIONS = Detections(dets="found", labels="names", limit=4, score_threshold=0.5, iou_threshold=0.5)


def pictures(seed: int, **shapes: tuple[int, ...]) -> dict[str, Array]:
    """Inputs that give overlapping boxes and spread scores."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(0.1, 0.6, shape).astype(np.float32)
        if name == "x"
        else rng.normal(0.5, 2, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


SHAPES: Mapping[str, tuple[int, ...]] = {"x": (6, 4), "z": (6, 3)}


class Compare:
    """Rewrites a model and compares the detections of both on several inputs."""

    def __init__(self, build: Build, run: Run) -> None:
        self._build, self._run = build, run

    def __call__(
        self,
        text: str,
        item: ReplaceNms | None = None,
        *,
        what: Detections = DETECTIONS,
        shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    ) -> ir.Model:
        model, report = run_pass(self._build(text), item or ReplaceNms())
        assert report.modified, report.declined
        paired = 0
        for seed in range(4):
            feeds = pictures(seed, **shapes)
            before, after = self._run(self._build(text), feeds), self._run(model, feeds)
            got = [after[{"found": "dets", "names": "labels"}.get(name, name)] for name in before]
            mine, its = list(before.values()), got
            compared = compare_detections((mine[0], mine[1]), (its[0], its[1]), what)
            assert compared.passed or compared.says_nothing, compared.failure
            assert not compared.dirty_padding
            paired += compared.paired
        assert paired > 4
        return model


def assert_same(
    before: Mapping[str, Array], after: Mapping[str, Array], what: Detections = DETECTIONS
) -> None:
    tables = (before["found"], before["names"]), (after["dets"], after["labels"])
    found = compare_detections(*tables, what)
    assert found.passed, found.failure


@pytest.fixture
def compare(model_of: Build, run_model: Run) -> Compare:
    return Compare(model_of, run_model)


def the_call(model: ir.Model) -> ir.Node:
    (found,) = [node for node in model.graph if node.op_type == "BatchMultiClassNMS"]
    assert found.domain == "npu"
    return found


def ops(model: ir.Model) -> set[str]:
    return {node.op_type for node in model.graph}


def test_the_whole_tail_becomes_one_operator_with_static_outputs(compare: Compare) -> None:
    model = compare(detector())
    call = the_call(model)
    assert not ops(model) & {"NonZero", "NonMaxSuppression", "Gather", "ReduceMax", "Greater", "Squeeze"}
    assert {name: item.value for name, item in call.attributes.items()} == {
        "iou_threshold": 0.5,
        "score_threshold": 0.5,
        "max_size_per_class": 4,
        "max_total_size": 4,
    }
    boxes = call.inputs[0]
    assert boxes is not None
    assert list(boxes.shape or ()) == [1, 6, 1, 4]
    assert [(value.name, list(value.shape or ())) for value in model.graph.outputs] == [
        ("dets", [4, 5]),
        ("labels", [4]),
    ]
    assert model.opset_imports["npu"] == 1


def declined(build: Build, text: str) -> str:
    _, report = run_pass(build(text), ReplaceNms())
    assert not report.modified
    (refusal,) = report.declined
    return refusal.why


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_the_operator_is_written_in_the_opset_of_the_model(opset: int, run_model: Run) -> None:
    proto = onnx.parser.parse_model(detector())
    if opset > 11:
        proto = onnx.version_converter.convert_version(proto, opset)
    model, report = run_pass(ir.from_proto(proto), ReplaceNms())
    assert report.modified
    feeds = pictures(1, **SHAPES)
    before, after = run_model(ir.from_proto(proto), feeds), run_model(model, feeds)
    assert_same(before, after)


OWN_BOXES = [
    (
        "b1 = Unsqueeze <axes = [1]> (boxes)  b2 = Tile (b1, each)",
        "b1 = Expand (wide, full)  b2 = Mul (b1, f)",
    ),
    ("boxes = Clip", "flat = Clip"),
    ("scores = Sigmoid", "wide = Unsqueeze <axes = [1]> (flat)  scores = Sigmoid"),
    ("float threshold", "int64[3] full = {6,3,4}, float[3,1] f = {1,0.9,0.7}, float threshold"),
]


def test_boxes_of_their_own_for_each_class(compare: Compare) -> None:
    text = changed(detector(), *OWN_BOXES)
    model = compare(text)
    boxes = the_call(model).inputs[0]
    assert boxes is not None
    assert list(boxes.shape or ()) == [1, 6, 3, 4]


def test_a_score_factor_is_multiplied_in_and_thresholded_with_it(compare: Compare) -> None:
    text = changed(detector(), ("scores = Sigmoid (z)", "s0 = Sigmoid (z)  scores = Mul (s0, centre)"))
    text = changed(text, ("float threshold", "float[6,1] centre = {1,0.9,0.8,0.9,1,0.7}, float threshold"))
    assert the_call(compare(text)).attributes["score_threshold"].value == 0.5


def test_a_threshold_on_the_scores_without_their_factor_becomes_a_mask(compare: Compare) -> None:
    text = changed(
        detector(threshold="0.4"),
        ("listed_scores = Reshape (scores", "f0 = Mul (scores, centre)  listed_scores = Reshape (f0"),
        ("mask =", "listed = Reshape (scores, rows)  mask ="),
        ("mask = Greater (listed_scores, threshold)", "mask = Greater (listed, threshold)"),
        ("float threshold", "float[6,1] centre = {1,0.6,0.8,0.9,0.5,0.7}, float threshold"),
    )
    model = compare(text, what=Detections(dets="found", labels="names", limit=4, iou_threshold=0.5))
    assert the_call(model).attributes["score_threshold"].value == 0
    assert "Greater" in ops(model)
    assert "NonZero" not in ops(model)


def test_scores_equal_to_the_threshold_stay_where_the_model_keeps_them(
    model_of: Build, run_model: Run
) -> None:
    text = changed(detector(threshold="0.5"), ("Greater (listed_scores, threshold)", "Not (less)"))
    text = changed(text, ("mask = Not", "less = Less (listed_scores, threshold)  mask = Not"))
    model, _ = run_pass(model_of(text), ReplaceNms())
    feeds = pictures(3, **SHAPES)
    feeds["z"] = np.zeros((6, 3), np.float32)
    before, after = run_model(model_of(text), feeds), run_model(model, feeds)
    assert before["found"].shape == (4, 5)
    assert (after["dets"][:, 4] == 0.5).all()


def test_boxes_that_may_be_negative_can_be_taken_as_apart(compare: Compare) -> None:
    text = changed(detector(), ("Clip (b0, zero, sides)", "Add (b0, zero)"))  # the pictures have none
    compare(text, ReplaceNms(unclipped=True))


CONFIDENT = """
    low = Less (sure, half)  high = Not (low)  f0 = NonZero (high)  f1 = Transpose <perm = [1,0]> (f0)
    rowed = Squeeze <axes = [1]> (f1)  own_boxes = Gather (boxes, rowed)  own_scores = Gather (chance, rowed)
    own_sure = Gather (sure, rowed)  all_boxes = Concat <axis = 0> (own_boxes, extra)
    all_scores = Concat <axis = 0> (own_scores, extra_scores)
    all_sure = Concat <axis = 0> (own_sure, one_sure)
    f2 = Unsqueeze <axes = [1]> (all_sure)  scores = Mul (all_scores, f2)  sizes = Shape (scores)
    f3 = Expand (numbers, sizes)  classes = Reshape (f3, rows)
"""
SURE = "f4 = ReduceMax <axes = [1], keepdims = 0> (z)  sure = Sigmoid (f4)"
FILTERED = (
    detector(threshold="0.3")
    .replace("scores = Sigmoid (z)", f"chance = Sigmoid (z)  {SURE} {CONFIDENT}")
    .replace("Unsqueeze <axes = [1]> (boxes)", "Unsqueeze <axes = [1]> (all_boxes)")
    .replace(THREE_CLASSES, "int64[1,3] numbers = {0,1,2}, float[1,4] extra = {3,4,30,50}")
    .replace("float threshold", "float[1] one_sure = {0.9}, float threshold")
    .replace("float threshold", "float[1,3] extra_scores = {0.9,0.2,0.6}, float threshold")
)
"""Only places of some confidence are looked at, as in YOLO's heads; a level without a filter joins them."""


def test_a_choice_of_rows_in_front_of_the_candidates_becomes_scores_of_zero(compare: Compare) -> None:
    what = Detections(dets="found", labels="names", limit=4, score_threshold=0.3, iou_threshold=0.5)
    model = compare(FILTERED, what=what)
    assert not ops(model) & {"NonZero", "Gather"}
    assert [node.op_type for node in model.graph].count("Where") == 3


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Mul (all_scores, f2)", "Sigmoid (all_scores)", "the number of its candidates"),
        ("threshold = {0.3}", "threshold = {-0.3}", "the number of its candidates"),
        ("f2 = Unsqueeze", "f5 = TopK_", "the number of its candidates"),
        (
            "own_sure = Gather (sure, rowed)",
            "own_sure = Cast <to = 1> (rowed)",
            "the number of its candidates",
        ),
        ("Clip (b0, zero, sides)", "Neg (b0)", "may be negative"),
    ],
)
def test_a_choice_of_rows_stays_where_rows_of_zeros_could_score(
    old: str, new: str, why: str, model_of: Build
) -> None:
    if new == "f5 = TopK_":
        new = "f5 = Slice (all_sure, at1, limit, at0)  f6 = Neg (f5)  f2 = Unsqueeze"
    assert why in declined(model_of, changed(FILTERED, (old, new)))


def test_places_of_scores_in_two_axes_tell_box_and_class(compare: Compare) -> None:
    text = changed(detector(), (KEPT, GRID), (LISTED, ""))
    assert the_call(compare(text)).attributes["max_total_size"].value == 4


def test_a_single_class_needs_no_offset(compare: Compare) -> None:
    text = changed(
        detector(),
        (MOVED, "moved = Identity (some_boxes)"),
        (THREE_CLASSES, "int64[6] classes = {0,0,0,0,0,0}"),
        ("float[6,3] z", "float[6,1] z"),
        ("int64[3] each = {1,3,1}", "int64[3] each = {1,1,1}"),
        ("names = Gather <axis = 0> (some_classes, first)", "n = Gather <axis = 0> (some_classes, first)"),
        ("int64[n] names", "float[n,1] other"),
        ("found = Slice", "other = Slice (t2, at0, limit, at0)  found = Slice"),
    )
    model, report = run_pass(compare._build(text), ReplaceNms())
    assert report.modified
    assert [value.name for value in model.graph.outputs] == ["found", "other"]
    assert list(model.graph.outputs[1].shape or ()) == [4, 1]


PICKED = "<axis = 0> (listed_boxes, places)"
OTHERS = "<axis = 0> (listed_boxes, o3)"
LATE = "late0 = Reshape (z, rows)  late = Cast <to = 7> (late0)  mask ="
OTHER = "o0 = Greater (listed_scores, half)  o1 = NonZero (o0)  o3 = Squeeze <axes = [0]> (o1)  mask ="
DECLINED = {
    "may be negative, and then those of different": [("Clip (b0, zero, sides)", "Neg (b0)")],
    "nothing limits the number of detections": [
        ("Slice (t7, at0, limit, at0)", "Identity (t7)"),
        ("Slice (keep, at0, limit, at0)", "Identity (keep)"),
    ],
    "hold different numbers of detections": [("Slice (keep, at0, limit", "Slice (keep, at0, at2")],
    "(center_point_box)": [("NonMaxSuppression (", "NonMaxSuppression <center_point_box = 1> (")],
    "the threshold of Greater": [
        ("Greater (listed_scores, threshold)", "Greater (listed_scores, mean)"),
        ("mask =", "mean = ReduceMean <keepdims = 0> (listed_scores)  mask ="),
    ],
    "below a threshold": [("mask = Greater", "mask = Less")],
    "compares nothing": [("Greater (listed_scores, threshold)", "Cast <to = 9> (listed_scores)")],
    "keep the boxes of different classes apart": [("m2 = Mul (m1, step)", "m2 = Mul (m1, one)")],
    "other columns": [("<axis = -1> (t4", "<axis = -1> (t0")],
    "places of candidates": [("Gather <axis = 0> (some_classes, first)", "Identity (first)")],
    "classes of its candidates (late)": [("(classes, places)", "(late, places)"), ("mask =", LATE)],
    "is not known": [("float[6,4] x, float[6,3] z", "float[k,4] x, float[k,3] z")],
    "do not come from one selection": [(PICKED, OTHERS), ("mask =", OTHER)],
    "overlap threshold is computed": [
        ("most, iou)", "most, late)"),
        ("chosen =", "late = ReduceMax <keepdims = 0> (scores)  chosen ="),
    ],
    "boxes per class is computed": [
        ("most, iou)", "late, iou)"),
        ("chosen =", "l0 = ReduceMax <keepdims = 0> (scores)  late = Cast <to = 7> (l0)  chosen ="),
    ],
    "keeps no box": [("c2, most, iou)", "c2)")],
    "rank of its scores": [
        ("float[6,3] z)", "float[6,3] z, int64[r] how)"),
        ("Unsqueeze <axes = [0]> (c1)", "Reshape (c1, how)"),
    ],
    "the number of its candidates (scores)": [
        ("float[6,4] x, float[6,3] z", "float[k,4] x, float[k,3] z"),
        (KEPT, WHOLE),
    ],
    "only the first of its candidates": [
        ("places = Cast <to = 7> (n2)", "n3 = Slice (n2, at0, limit, at0)  places = Cast <to = 7> (n3)"),
    ],
    "boxes and scores are not picked": [
        ("Gather <axis = 0> (listed_scores, places)", "Cast <to = 1> (places)")
    ],
    "not the four sides of a box are picked": [
        ("some_boxes = Gather", "s0 = Gather"),
        ("some_scores = Gather", "some_boxes = Gather <axis = 1> (s0, swap)  some_scores = Gather"),
        ("float threshold", "int64[4] swap = {1,0,3,2}, float threshold"),
    ],
    "has not one element for each": [
        ("Greater (listed_scores, threshold)", "Greater (best, threshold)"),
        ("mask =", "best = ReduceMax (listed_scores)  mask ="),
    ],
    "the sizes of the scores scores and their boxes": [
        (KEPT, GRID.replace("(boxes, rowed)", "(apart, rowed)")),
        (LISTED, "apart = Unsqueeze <axes = [1]> (boxes)"),
        ("(some_boxes, m3)", "(low_boxes, m3)"),
        ("ReduceMax <keepdims = 0> (some_boxes)", "ReduceMax <keepdims = 0> (low_boxes)"),
        ("m0 =", "low_boxes = Squeeze <axes = [1]> (some_boxes)  m0 ="),
    ],
    "not told by the place of a score": [
        (KEPT, GRID.replace("(pairs, unit)", "(pairs, nought)")),
        (LISTED, ""),
    ],
    "it has 1 classes for 18 candidates": [(KEPT, WHOLE), (THREE_CLASSES, "int64[1] classes = {2}")],
    "no small numbers from 0": [(KEPT, WHOLE), (THREE_CLASSES, THREE_CLASSES.replace("{0,", "{5000,"))],
    "not along its first axis": [
        ("found = Slice (t7", "whole = Slice (t7"),
        ("names =", "found = Transpose <perm = [1,0]> (whole)  names ="),
    ],
    "the score threshold of NonMaxSuppression": [
        ("most, iou)", "most, iou, late)"),
        ("chosen =", "late = ReduceMax <keepdims = 0> (scores)  chosen ="),
    ],
    "may be negative; the operator is told by a zero score": [
        ("scores = Sigmoid (z)", "scores = Identity (z)"),
        (KEPT, WHOLE),
    ],
}


ROUNDED = "whole = Cast <to = 6> ({0})  back = Cast <to = 1> (whole)"
ROUNDINGS = {
    "the score that it answers": ("t2 = Reshape (t1", f"{ROUNDED.format('t1')}  t2 = Reshape (back"),
    "the box that it answers": ("found = Slice (t7", f"{ROUNDED.format('t7')}  found = Slice (back"),
    "the boxes that it compares": (
        "c0 = Unsqueeze <axes = [0]> (moved",
        "{0}  c0 = Unsqueeze <axes = [0]> (back",
    ),
    "the scores that it compares": (
        "c1 = Unsqueeze <axes = [0]> (some_scores",
        "{1}  c1 = Unsqueeze <axes = [0]> (back",
    ),
}


@pytest.mark.parametrize("what", ROUNDINGS)
def test_what_is_rounded_to_whole_numbers_is_declined(what: str, model_of: Build) -> None:
    old, new = ROUNDINGS[what]
    new = new.format(ROUNDED.format("moved"), ROUNDED.format("some_scores"))
    assert declined(model_of, changed(detector(), (old, new)))


def test_classes_may_be_whole_floats(compare: Compare) -> None:
    names = "names = Gather <axis = 0> (some_classes, first)"
    text = changed(
        detector(), ("int64[18] classes", "float[18] classes"), (names, names.replace("names", "floats", 1))
    )
    compare(changed(text, ("(some_classes, first)", "(some_classes, first)  names = Cast <to = 7> (floats)")))


@pytest.mark.parametrize("reason", DECLINED)
def test_declined(reason: str, model_of: Build) -> None:
    assert reason in declined(model_of, changed(detector(), *DECLINED[reason]))


STAGES = f"""<ir_version: 8, opset_import: ["" : 11]>
    g (float[8,4] x, float[8,3] z) => (float[n,5] found, int64[n] names)
    <{CONSTANTS}, float threshold = {{0.4}}, int64[8] levels = {{0,0,0,0,1,1,1,1}}, float[1] iou1 = {{0.02}},
     float[4,2] weight = {{0.02,-0.03, 0.01,0.03, -0.02,0.02, 0.02,-0.01}}, int64[3] twice = {{1,2,1}},
     int64[1,2] numbers = {{0,1}}, int64[1] five = {{5}}> {{
        {BOXES}
        a0 = Slice (z, at0, at1, at1)  a1 = Reshape (a0, rows)  objectness = Sigmoid (a1)
        a2 = ReduceMax <keepdims = 0> (boxes)  a3 = Add (a2, one)  a4 = Cast <to = 1> (levels)
        a5 = Mul (a4, a3)
        a6 = Unsqueeze <axes = [1]> (a5)  a7 = Add (boxes, a6)  a8 = Unsqueeze <axes = [0]> (a7)
        a9 = Unsqueeze <axes = [0,1]> (objectness)  d0 = NonMaxSuppression (a8, a9, most, iou1)
        d1 = Gather <axis = 1> (d0, at2)  d2 = Squeeze <axes = [1]> (d1)  d3 = Gather (boxes, d2)
        d4 = Gather (objectness, d2)  d5 = Reshape (d4, column)  d6 = Concat <axis = 1> (d3, d5)
        proposals = Slice (d6, at0, five, at0)
        rois = Slice (proposals, at0, at4, at1)  h0 = MatMul (rois, weight)  scores = Sigmoid (h0)
        b1 = Unsqueeze <axes = [1]> (rois)  b2 = Tile (b1, twice)  listed_boxes = Reshape (b2, quads)
        listed_scores = Reshape (scores, rows)  sizes = Shape (scores)  s0 = Expand (numbers, sizes)
        classes = Reshape (s0, rows) {KEPT}{MOVED}{CHOSEN}{TABLES}
    }}"""
"""Proposals of two levels, at most five, whose boxes are judged again."""
ROIS = "int64[n] names"
STAGE_SHAPES = {"x": (8, 4), "z": (8, 3)}


def test_both_stages_become_operators_and_missing_proposals_add_nothing(
    compare: Compare, run_model: Run, model_of: Build
) -> None:
    what = Detections(dets="found", labels="names", limit=4, score_threshold=0.4, iou_threshold=0.5)
    model = compare(STAGES, what=what, shapes=STAGE_SHAPES)
    first, second = [node for node in model.graph if node.op_type == "BatchMultiClassNMS"]
    assert first.attributes["max_total_size"].value == 5
    assert first.attributes["score_threshold"].value == 0
    assert second.attributes["max_total_size"].value == 4
    assert not ops(model) & {"NonZero", "NonMaxSuppression", "Shape"}
    shown = changed(STAGES, (ROIS, f"{ROIS}, float[k,4] rois"))
    counts = [len(run_model(model_of(shown), pictures(seed, **STAGE_SHAPES))["rois"]) for seed in range(4)]
    assert min(counts) < 5, "no picture of the test has missing proposals"


@pytest.mark.parametrize(
    "mixing",
    [
        "Softmax <axis = 0> (h0)",
        "Softmax <axis = -2> (h0)",
        "ReduceMean <axes = [0]> (h0)",
        "ReduceMax <keepdims = 0> (h0)",
        "CumSum (h0, nought)",
    ],
)
def test_a_second_stage_that_puts_proposals_together_is_declined(mixing: str, model_of: Build) -> None:
    text = changed(STAGES, ("Sigmoid (h0)", "Sigmoid (h2)"))
    text = changed(text, ("scores = Sigmoid (h2", f"h1 = {mixing}  h2 = Mul (h0, h1)  scores = Sigmoid (h2"))
    _, report = run_pass(model_of(text), ReplaceNms())
    assert "puts rows of proposals together" in report.declined[0].why


def test_proposals_that_are_compared_with_each_other_are_declined(model_of: Build) -> None:
    compared = "r0 = Transpose (rois)  r1 = MatMul (rois, r0)  r2 = ReduceMax <axes = [1]> (r1)"
    text = changed(STAGES, ("scores = Sigmoid (h0)", f"{compared}  h2 = Add (h0, r2)  scores = Sigmoid (h2)"))
    _, report = run_pass(model_of(text), ReplaceNms())
    assert "MatMul r1 puts rows of proposals together" in report.declined[0].why


def test_missing_proposals_are_copies_of_the_best_one(model_of: Build, run_model: Run) -> None:
    text = changed(STAGES, (ROIS, f"{ROIS}, float[k,4] shown"), ("h0 =", "shown = Relu (rois)  h0 ="))
    model, _ = run_pass(model_of(text), ReplaceNms())
    tables = [run_model(model, pictures(seed, **STAGE_SHAPES))["shown"] for seed in range(4)]
    assert all(float(table[:, 2].min()) > 0 for table in tables)
    assert any((row == table[0]).all() for table in tables for row in table[1:])


def test_proposals_that_are_an_output_are_filled_with_zeros(model_of: Build, run_model: Run) -> None:
    text = changed(STAGES, (ROIS, f"{ROIS}, float[k,4] rois"))
    model, _ = run_pass(model_of(text), ReplaceNms())
    tables = [run_model(model, pictures(seed, **STAGE_SHAPES))["rois"] for seed in range(4)]
    assert any((table[-1] == 0).all() for table in tables)
    assert all((table[0] > 0).any() for table in tables)


def flat_pictures(seed: int) -> dict[str, Array]:
    """As ``pictures``, but half of the boxes have no area, the best one among them."""
    feeds = pictures(seed, **STAGE_SHAPES)
    feeds["x"][:4, 2] = 0
    feeds["z"][0, 0] = 9
    return feeds


def test_flat_proposals_take_their_places_as_in_the_model(model_of: Build, run_model: Run) -> None:
    text = changed(STAGES, ("limit = {4}", "limit = {12}"))  # room for whatever the proposals become
    model, _ = run_pass(model_of(text), ReplaceNms())
    for seed in range(4):
        feeds = flat_pictures(seed)
        before, after = run_model(model_of(text), feeds), run_model(model, feeds)
        assert_same(before, after, Detections(dets="found", labels="names"))


@pytest.mark.parametrize("changes", [[], OWN_BOXES], ids=["shared boxes", "boxes of each class"])
@pytest.mark.parametrize("options", [{}, {"per_class_boxes": True}, {"max_candidates": 5}], ids=str)
def test_rows_that_the_model_reads_on_are_the_same_ones(
    changes: list[tuple[str, str]], options: dict[str, Any], model_of: Build, run_model: Run
) -> None:
    text = changed(detector(threshold="0"), *changes, ("int64[n] names", "int64[n] names, float[n,5] more"))
    text = changed(text, ("names = Gather", "more = Abs (found)  names = Gather"))
    model, report = run_pass(model_of(text), ReplaceNms(**options))
    assert report.modified, report.declined
    for seed in range(4):
        feeds = pictures(seed, **SHAPES)
        feeds["x"][::2, 3] = 0
        feeds["z"][5] = -9  # the worst candidate of all
        before, after = run_model(model_of(text), feeds), run_model(model, feeds)
        assert (before["more"][:, 3] == before["more"][:, 1]).any(), "no flat box is among the rows"
        np.testing.assert_array_equal(after["more"], before["more"])
        np.testing.assert_array_equal(after["labels"], before["names"])


def test_flat_proposals_may_give_their_places_to_others(model_of: Build, run_model: Run) -> None:
    model, _ = run_pass(model_of(STAGES), ReplaceNms(drop_flat=True))
    other, _ = run_pass(model_of(STAGES), ReplaceNms())
    assert len(model.graph) < len(other.graph)
    pairs = [[run_model(item, flat_pictures(seed))["dets"] for item in (model, other)] for seed in range(4)]
    assert any((one != two).any() for one, two in pairs)


def test_fewer_proposals_can_be_asked_for(model_of: Build, run_model: Run) -> None:
    split = "part = Split <axis = 0, split = [5]> (rois)  h0 = MatMul (part"
    text = changed(STAGES, ("h0 = MatMul (rois", split))
    model, _ = run_pass(model_of(text), ReplaceNms(max_proposals=3))
    first = next(node for node in model.graph if node.op_type == "BatchMultiClassNMS")
    assert first.attributes["max_total_size"].value == first.attributes["max_size_per_class"].value == 3
    assert "Split" not in ops(model)
    assert run_model(model, pictures(0, **STAGE_SHAPES))["dets"].shape == (4, 5)


def test_the_half_precision_boundary_is_at_the_operator(model_of: Build, run_model: Run) -> None:
    model, _ = run_pass(model_of(detector()), ReplaceNms(boundary="fp16"))
    call = the_call(model)
    assert [value.dtype for value in call.inputs if value] == [ir.DataType.FLOAT16] * 2
    feeds = pictures(2, **SHAPES)
    before, after = run_model(model_of(detector()), feeds), run_model(model, feeds)
    assert after["dets"].dtype == np.float32
    what = Detections(dets="d", labels="l", limit=4, score_threshold=0.5, tolerance=FLOAT16_DETECTIONS)
    assert_same(before, after, what)


def test_shared_boxes_can_be_given_to_each_class(compare: Compare) -> None:
    model = compare(detector(), ReplaceNms(per_class_boxes=True))
    assert "Tile" in ops(model)


def test_only_the_best_candidates_can_be_looked_at(model_of: Build, run_model: Run) -> None:
    model, _ = run_pass(model_of(detector()), ReplaceNms(max_candidates=2))
    boxes = the_call(model).inputs[0]
    assert boxes is not None
    feeds = pictures(0, **SHAPES)
    best = feeds["z"].max(1).argsort()[::-1][:2]
    feeds["z"][[row for row in range(6) if row not in best]] = -9  # nobody looks at them
    before, after = run_model(model_of(detector()), feeds), run_model(model, feeds)
    assert_same(before, after)


def test_fewer_of_a_class_can_be_asked_for(model_of: Build) -> None:
    model, _ = run_pass(model_of(detector()), ReplaceNms(max_per_class=2))
    assert the_call(model).attributes["max_size_per_class"].value == 2
    assert the_call(model).attributes["max_total_size"].value == 4


def test_names_can_be_kept(model_of: Build) -> None:
    item = ReplaceNms(keep_names=True)
    assert item.output_names(model_of(detector())) is None
    model, _ = run_pass(model_of(detector()), item)
    assert [value.name for value in model.graph.outputs] == ["found", "names"]


def test_other_tensors_called_dets_make_room_and_inputs_do_not(model_of: Build) -> None:
    inner = changed(detector(), ("boxes = Clip (b0", "dets = Identity (b0)  boxes = Clip (dets"))
    model, _ = run_pass(model_of(inner), ReplaceNms())
    assert [value.name for value in model.graph.outputs] == ["dets", "labels"]
    taken = detector().replace("float[6,4] x", "float[6,4] dets").replace("Slice (x", "Slice (dets")
    model, _ = run_pass(model_of(taken), ReplaceNms())
    assert [value.name for value in model.graph.outputs] == ["found", "names"]


def test_the_engine_is_told_which_outputs_are_detections(model_of: Build) -> None:
    model, item = model_of(STAGES), ReplaceNms()
    assert item.output_names(model) == {"dets": "found", "labels": "names"}
    found = item.detections(model)
    assert found is not None
    assert (found.dets, found.labels, found.limit, found.iou_threshold) == ("found", "names", 4, 0.5)
    assert found.score_threshold == pytest.approx(0.4)
    half = ReplaceNms(boundary="fp16").detections(model)
    assert half is not None
    assert half.tolerance is FLOAT16_DETECTIONS


def test_more_rows_than_new_kernels_give_are_reported(model_of: Build) -> None:
    many = "float[900,4] x, float[900,3] z"
    text = changed(detector(), ("float[6,4] x, float[6,3] z", many), ("limit = {4}", "limit = {1500}"))
    text = text.replace(THREE_CLASSES, "int64[2700] classes = {" + ",".join(["0,1,2"] * 900) + "}")
    _, report = run_pass(model_of(text), ReplaceNms())
    assert "newest kernels give no more than 1000" in report.applied[0].what


def test_as_many_boxes_as_there_are_is_no_limit(compare: Compare) -> None:
    many = "m8 = Shape (moved)  many = Gather <axis = 0> (m8, at0)  chosen ="
    model = compare(changed(detector(), ("most, iou)", "many, iou)"), ("chosen =", many)))
    assert the_call(model).attributes["max_size_per_class"].value == 4


def test_what_another_suppression_left_is_declined(model_of: Build) -> None:
    before = """n0 = Unsqueeze <axes = [0]> (listed_boxes)  n1 = Unsqueeze <axes = [0,1]> (listed_scores)
        n2 = NonMaxSuppression (n0, n1, most, iou)  n3 = Gather <axis = 1> (n2, at2)
        places = Squeeze <axes = [1]> (n3)
        """
    kept = before + KEPT[KEPT.index("some_boxes =") :]
    _, report = run_pass(model_of(changed(detector(), (KEPT, kept))), ReplaceNms())
    assert "chosen by another NonMaxSuppression" in " ".join(item.why for item in report.declined)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(UsageError, match="max_proposals is -1"):
        ReplaceNms(max_proposals=-1)
