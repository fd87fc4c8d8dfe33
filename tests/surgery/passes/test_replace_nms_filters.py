import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from graphopt.core.detections import Detections
from graphopt.core.tensors import Array

_SPEC = importlib.util.spec_from_file_location(
    "detector_models", Path(__file__).with_name("detector_models.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(models)
Build = Callable[..., ir.Model]
Run = Callable[..., dict[str, Array]]
THREE_CLASSES = models.THREE_CLASSES
detector = models.detector
ops = models.ops
declined = models.declined
changed = models.changed


@pytest.fixture
def compare(model_of: Build, run_model: Run) -> Any:
    return models.Compare(model_of, run_model)


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


def test_a_choice_of_rows_in_front_of_the_candidates_becomes_scores_of_zero(compare: Any) -> None:
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
