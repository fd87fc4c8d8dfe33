"""Suppressions that are told the classes: what is made of their answer is tried, not read."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import Detections
from graphopt.core.onnx_files import from_proto, to_proto
from graphopt.core.operator_bodies import attached
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.replace_nms import ReplaceNms


def build(text: str) -> ir.Model:
    import onnx

    return from_proto(onnx.parser.parse_model(text))


def run(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    with attached(model):
        proto = to_proto(model)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        return session.run(dict(feeds))


def pictures(seed: int, **shapes: tuple[int, ...]) -> dict[str, Array]:
    """Inputs that give overlapping boxes and spread scores."""
    rng = np.random.default_rng(seed)
    ranges: dict[str, Callable[[tuple[int, ...]], Any]] = {
        "x": lambda shape: rng.uniform(0.1, 0.6, shape),
        "z": lambda shape: rng.normal(0.5, 2, shape),
    }
    return {name: ranges[name](shape).astype(np.float32) for name, shape in shapes.items()}


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def declined(text: str) -> str:
    _, report = run_pass(build(text), ReplaceNms())
    assert not report.modified
    (refusal,) = report.declined
    return refusal.why


def assert_same(before: Mapping[str, Array], after: Mapping[str, Array], what: Detections) -> None:
    found = compare_detections((before["found"], before["names"]), (after["dets"], after["labels"]), what)
    assert found.passed, found.failure
    assert not found.dirty_padding


BATCHED = """<ir_version: 8, opset_import: ["" : 11]>
    g (float[2,7,4] x, float[2,7,3] z) => (float[2,n,5] found, int64[2,n] names)
    <int64[1] most = {50}, float[1] iou = {0.3}, float[1] above = {0.4}, int64[1] at2 = {2},
     int64[1] at4 = {4}, float sides = {64}, int64[1] column0 = {0}, int64[1] column1 = {1},
     int64[1] column2 = {2},
     int64 classes = {3}, int64 count = {7}, int64[1] all = {42}, int64[1] rows = {-1},
     int64[2] images = {2,21},
     int64[1] five = {5}, int64[3] each = {1,3,1}, int64[2] quads = {-1,4}, int64[2,1] starts = {0,21}> {
        p = Slice (x, column0, at2, at2)  q = Abs (p)  r = Mul (q, sides)  u = Slice (x, at2, at4, at2)
        v = Abs (u)  w = Mul (v, sides)  e = Add (r, w)  boxes = Concat <axis = 2> (r, e)
        scores = Sigmoid (z)
        turned = Transpose <perm = [0,2,1]> (scores)
        chosen = NonMaxSuppression (boxes, turned, most, iou, above)
        b0 = Gather <axis = 1> (chosen, column0)  b1 = Mul (b0, classes)
        c0 = Gather <axis = 1> (chosen, column1)  b2 = Add (b1, c0)  b3 = Mul (b2, count)
        n0 = Gather <axis = 1> (chosen, column2)  b4 = Add (b3, n0)
        places = Reshape (b4, rows)  many = Shape (places)
        nothing = ConstantOfShape (all)  ones = ConstantOfShape <value = float[1] {1}> (many)
        marks = ScatterElements <axis = 0> (nothing, places, ones)  s0 = Reshape (turned, rows)
        s1 = Mul (s0, marks)  s2 = Reshape (s1, images)  best, order = TopK (s2, five)
        t0 = Tile (boxes, each)  t1 = Reshape (t0, quads)  t2 = Add (order, starts)
        t3 = Gather <axis = 0> (t1, t2)  t4 = Unsqueeze <axes = [2]> (best)
        found = Concat <axis = 2> (t3, t4)  names = Div (order, count)
    }"""
"""Two images at once; the suppression is told the classes, and its answer is looked up in a mask."""
SHAPES = {"x": (2, 7, 4), "z": (2, 7, 3)}
DETECTIONS = Detections(dets="found", labels="names", limit=5, score_threshold=0.4, iou_threshold=0.3)


def test_a_batch_is_done_by_one_operator() -> None:
    model, report = run_pass(build(BATCHED), ReplaceNms())
    assert report.modified, report.declined
    (call,) = [node for node in model.graph if node.op_type == "BatchMultiClassNMS"]
    shapes = [list(value.shape or ()) for value in call.inputs if value is not None]
    assert shapes == [[2, 7, 1, 4], [2, 7, 3]]
    assert [list(value.shape or ()) for value in model.graph.outputs] == [[2, 5, 5], [2, 5]]
    ops = {node.op_type for node in model.graph}
    assert not ops & {"ScatterElements", "NonMaxSuppression", "TopK", "Transpose"}
    for seed in range(4):
        feeds = pictures(seed, **SHAPES)
        assert_same(run(build(BATCHED), feeds), run(model, feeds), DETECTIONS)


def test_only_the_best_boxes_of_each_image_can_be_looked_at() -> None:
    model, _ = run_pass(build(BATCHED), ReplaceNms(max_candidates=6))
    for seed in range(4):
        feeds = pictures(seed, **SHAPES)
        feeds["z"][0, 2], feeds["z"][1, 5] = -9, -9  # nobody looks at them
        assert_same(run(build(BATCHED), feeds), run(model, feeds), DETECTIONS)


ONE_IMAGE = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[1,8,4] x, float[1,3,8] z) => (float[n,4] corners, float[n] chance, int64[n] names)
    <int64[1] most = {2}, float[1] iou = {0.3}, float[1] above = {0.4}, int64[1] at2 = {2},
     int64[1] at4 = {4}, float sides = {64}, int64[1] at0 = {0}, int64 one = {1}, int64 two = {2},
     int64[1] six = {6}> {
        p = Slice (x, at0, at2, at2)  q = Abs (p)  r = Mul (q, sides)  u = Slice (x, at2, at4, at2)
        v = Abs (u)  w = Mul (v, sides)  e = Add (r, w)  boxes = Concat <axis = 2> (r, e)
        scores = Sigmoid (z)
        chosen = NonMaxSuppression (boxes, scores, most, iou, above)
        s0 = GatherND (scores, chosen)  size = Shape (s0)  most_rows = Min (size, six)
        chance, order = TopK (s0, most_rows)  sorted = Gather <axis = 0> (chosen, order)
        names = Gather <axis = 1> (sorted, one)  n0 = Gather <axis = 1> (sorted, two)
        listed = Squeeze (boxes, at0)  corners = Gather <axis = 0> (listed, n0)
    }"""
"""Several outputs, two boxes of a class at most, scores of classes first, as YOLO models are exported."""


def test_separate_outputs_of_one_image_and_a_limit_of_each_class() -> None:
    model, report = run_pass(build(ONE_IMAGE), ReplaceNms())
    assert report.modified, report.declined
    (call,) = [node for node in model.graph if node.op_type == "BatchMultiClassNMS"]
    assert call.attributes["max_size_per_class"].value == 2
    assert call.attributes["max_total_size"].value == 6
    assert [(v.name, list(v.shape or ())) for v in model.graph.outputs] == [
        ("corners", [6, 4]),
        ("chance", [6]),
        ("names", [6]),
    ]
    for seed in range(4):
        feeds = pictures(seed, x=(1, 8, 4), z=(1, 3, 8))
        before, after = run(build(ONE_IMAGE), feeds), run(model, feeds)
        rows = len(before["chance"])
        for name, array in before.items():
            assert np.abs(np.subtract(after[name][:rows], array)).max(initial=0) < 1e-5
            assert not after[name][rows:].any()


SMALL = """b0 = Squeeze (boxes, at0)  b1 = Gather <axis = 1> (chosen, two)  b2 = Gather <axis = 0> (b0, b1)
    w0 = Slice (b2, at0, at1, at1)  w1 = Slice (b2, at2, at3, at1)  w2 = Sub (w1, w0)  w3 = Squeeze (w2, at1)
    w4 = Less (w3, four)  w5 = Not (w4)  w6 = Cast <to = 1> (w5)  s1 = Mul (s0, w6)"""


@pytest.mark.parametrize(
    ("makes", "reads"),
    [
        ("g0 = Gather <axis = 0> (listed, n0)  corners = Clip (g0, zero, far)", "(s0, most_rows)"),
        ("g0 = Greater (s0, higher)  g1 = Cast <to = 1> (g0)  s1 = Mul (s0, g1)", "(s1, most_rows)"),
        (SMALL, "(s1, most_rows)"),
    ],
    ids=["clips boxes", "has a threshold of its own", "leaves small boxes out"],
)
def test_a_tail_that_does_more_to_some_boxes_only_is_declined(makes: str, reads: str) -> None:
    corners = "corners = Gather <axis = 0> (listed, n0)"
    before = "chance, order = TopK"
    change = (corners, makes) if "corners" in makes else (before, f"{makes} {before}")
    constants = "float zero = {0}, float far = {2000}, float higher = {0.41}, float four = {4}"
    numbers = "int64[1] at1 = {1}, int64[1] at3 = {3}, int64[1] six"
    text = changed(ONE_IMAGE, change, ("(s0, most_rows)", reads), ("int64[1] six", f"{constants}, {numbers}"))
    assert "not what the operator answers" in declined(text)


def test_a_tail_without_a_limit_is_declined() -> None:
    text = changed(ONE_IMAGE, ("Min (size, six)", "Identity (size)"), ("most = {2}", "most = {99}"))
    text = changed(text, ("[1,8,4]", "[1,90,4]"), ("[1,3,8]", "[1,3,90]"))  # some boxes overlap
    assert "nothing limits the number" in declined(text)


OUTSIDE = "also = Abs (z)  t5 = ReduceMax (also)  t4 = Uns"
DECLINED = {
    "dets are not what the operator answers": [("s1 = Mul (s0", "s1 = Add (s0")],
    "labels are not what the operator answers": [("Div (order, count)", "Mod (order, count)")],
    "scores are not what the operator answers": [("Div (order, count)", "Cast <to = 1> (order)")],
    "candidates of negative scores count": [("above = {0.4}", "above = {-0.4}")],
    "also reads z": [
        ("t4 = Uns", OUTSIDE),
        ("(t3, t4)", "(t3, t6)"),
        ("<axes = [2]> (best)", "<axes = [2]> (best)  t6 = Add (t4, t5)"),
    ],
    "are not known": [("float[2,7,4] x", "float[2,k,4] x")],
    "no boxes, scores and labels": [("found = Concat <axis = 2> (t3, t4)", "found = Identity (t3)")],
    "different numbers of detections": [
        ("names = Div (order, count)", "d0 = Div (order, count)  names = Slice (d0, column0, at2, column1)"),
    ],
    "does not run on made-up candidates": [("places = Reshape (b4, rows)", "places = Reshape (b4, five)")],
    "is no table of detections": [
        ("found = Concat", "t9 = Concat"),
        ("names =", "found = Unsqueeze <axes = [3]> (t9)  names ="),
    ],
}


@pytest.mark.parametrize("reason", DECLINED)
def test_a_tail_that_answers_otherwise_is_declined(reason: str) -> None:
    text = changed(BATCHED, *DECLINED[reason]).replace("float[2,n,5] found", "float[a,b,c] found")
    assert reason in declined(text.replace("int64[2,n] names", "int64[d,e] names"))


def test_what_nobody_reads_is_no_hindrance() -> None:
    text = changed(BATCHED, ("names = Div", "spare = Neg (marks)  more = Abs (spare)  names = Div"))
    model, report = run_pass(build(text), ReplaceNms())
    assert len(report.applied) == 1
    assert not {"NonMaxSuppression", "Neg"} & {node.op_type for node in model.graph}
