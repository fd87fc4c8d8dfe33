"""Small detectors in ONNX text, inputs for them, and how two of them are compared."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import Detections
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


def the_call(model: ir.Model) -> ir.Node:
    (found,) = [node for node in model.graph if node.op_type == "BatchMultiClassNMS"]
    assert found.domain == "npu"
    return found


def ops(model: ir.Model) -> set[str]:
    return {node.op_type for node in model.graph}


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


OWN_BOXES = [
    (
        "b1 = Unsqueeze <axes = [1]> (boxes)  b2 = Tile (b1, each)",
        "b1 = Expand (wide, full)  b2 = Mul (b1, f)",
    ),
    ("boxes = Clip", "flat = Clip"),
    ("scores = Sigmoid", "wide = Unsqueeze <axes = [1]> (flat)  scores = Sigmoid"),
    ("float threshold", "int64[3] full = {6,3,4}, float[3,1] f = {1,0.9,0.7}, float threshold"),
]


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
