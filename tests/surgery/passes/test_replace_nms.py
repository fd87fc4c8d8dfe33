import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.detections import FLOAT16_DETECTIONS, Detections
from graphopt.core.errors import UsageError
from graphopt.core.tensors import Array
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.replace_nms import ReplaceNms

_SPEC = importlib.util.spec_from_file_location(
    "detector_models", Path(__file__).with_name("detector_models.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(models)
Build = Callable[..., ir.Model]
Run = Callable[..., dict[str, Array]]
CONSTANTS = models.CONSTANTS
LISTED = models.LISTED
KEPT = models.KEPT
MOVED = models.MOVED
CHOSEN = models.CHOSEN
TABLES = models.TABLES
GRID = models.GRID
WHOLE = models.WHOLE
THREE_CLASSES = models.THREE_CLASSES
SHAPES = models.SHAPES
OWN_BOXES = models.OWN_BOXES
STAGES = models.STAGES
detector = models.detector
pictures = models.pictures
assert_same = models.assert_same
the_call = models.the_call
ops = models.ops
declined = models.declined
changed = models.changed
SUITABLE = f"""<ir_version: 8, opset_import: ["" : 11]>
    g (float[6,4] x, float[6,3] z) => (float[4,5] dets, int64[4] labels)
    <{CONSTANTS}, {THREE_CLASSES}, float threshold = {{0}}, float[6,4] apart =
        {{0,0,4,4, 9,0,14,5, 20,1,25,7, 30,0,34,4, 40,0,44,5, 50,0,55,6}}> {{
        near = Sigmoid (x)  b0 = Add (apart, near)  boxes = Clip (b0, zero, sides)  scores = Sigmoid (z)
        {LISTED}{KEPT}{MOVED}{CHOSEN}{TABLES.replace("found =", "dets =").replace("names =", "labels =")}
    }}"""
"""Boxes that never overlap, all of which count: there are always four detections."""
NO_NESTED = "its sizes are known in the main graph only"


@pytest.fixture
def compare(model_of: Build, run_model: Run) -> Any:
    return models.Compare(model_of, run_model)


def test_the_whole_tail_becomes_one_operator_with_static_outputs(compare: Any) -> None:
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


def test_boxes_of_their_own_for_each_class(compare: Any) -> None:
    text = changed(detector(), *OWN_BOXES)
    model = compare(text)
    boxes = the_call(model).inputs[0]
    assert boxes is not None
    assert list(boxes.shape or ()) == [1, 6, 3, 4]


def test_a_score_factor_is_multiplied_in_and_thresholded_with_it(compare: Any) -> None:
    text = changed(detector(), ("scores = Sigmoid (z)", "s0 = Sigmoid (z)  scores = Mul (s0, centre)"))
    text = changed(text, ("float threshold", "float[6,1] centre = {1,0.9,0.8,0.9,1,0.7}, float threshold"))
    assert the_call(compare(text)).attributes["score_threshold"].value == 0.5


def test_a_threshold_on_the_scores_without_their_factor_becomes_a_mask(compare: Any) -> None:
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


def test_boxes_that_may_be_negative_can_be_taken_as_apart(compare: Any) -> None:
    text = changed(detector(), ("Clip (b0, zero, sides)", "Add (b0, zero)"))  # the pictures have none
    compare(text, ReplaceNms(unclipped=True))


def test_places_of_scores_in_two_axes_tell_box_and_class(compare: Any) -> None:
    text = changed(detector(), (KEPT, GRID), (LISTED, ""))
    assert the_call(compare(text)).attributes["max_total_size"].value == 4


def test_a_single_class_needs_no_offset(compare: Any) -> None:
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


def test_classes_may_be_whole_floats(compare: Any) -> None:
    names = "names = Gather <axis = 0> (some_classes, first)"
    text = changed(
        detector(), ("int64[18] classes", "float[18] classes"), (names, names.replace("names", "floats", 1))
    )
    compare(changed(text, ("(some_classes, first)", "(some_classes, first)  names = Cast <to = 7> (floats)")))


@pytest.mark.parametrize("reason", DECLINED)
def test_declined(reason: str, model_of: Build) -> None:
    assert reason in declined(model_of, changed(detector(), *DECLINED[reason]))


def test_the_half_precision_boundary_is_at_the_operator(model_of: Build, run_model: Run) -> None:
    model, _ = run_pass(model_of(detector()), ReplaceNms(boundary="fp16"))
    call = the_call(model)
    assert [value.dtype for value in call.inputs if value] == [ir.DataType.FLOAT16] * 2
    feeds = pictures(2, **SHAPES)
    before, after = run_model(model_of(detector()), feeds), run_model(model, feeds)
    assert after["dets"].dtype == np.float32
    what = Detections(dets="d", labels="l", limit=4, score_threshold=0.5, tolerance=FLOAT16_DETECTIONS)
    assert_same(before, after, what)


def test_shared_boxes_can_be_given_to_each_class(compare: Any) -> None:
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


def test_as_many_boxes_as_there_are_is_no_limit(compare: Any) -> None:
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
