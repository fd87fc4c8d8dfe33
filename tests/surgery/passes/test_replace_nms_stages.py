import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.detections import Detections
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
SHAPES = models.SHAPES
OWN_BOXES = models.OWN_BOXES
STAGES = models.STAGES
ROIS = models.ROIS
STAGE_SHAPES = models.STAGE_SHAPES
detector = models.detector
pictures = models.pictures
assert_same = models.assert_same
ops = models.ops
declined = models.declined
changed = models.changed


@pytest.fixture
def compare(model_of: Build, run_model: Run) -> Any:
    return models.Compare(model_of, run_model)


def test_both_stages_become_operators_and_missing_proposals_add_nothing(
    compare: Any, run_model: Run, model_of: Build
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
    feeds: dict[str, Array] = pictures(seed, **STAGE_SHAPES)
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
