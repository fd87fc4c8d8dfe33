"""FCOS and NAS-FPN from a checkpoint to a graph that answers what mmdet's own ``predict`` answers."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import Detections, DetectionTolerance
from graphopt.core.onnx_files import load_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.recipes.batches import batch_model
from graphopt.surgery.shapes.shape_inference import infer_types

pytestmark = [pytest.mark.torch, pytest.mark.mmdet, pytest.mark.slow]

NAMES = ["fcos", "nas_fpn"]
TIGHT = DetectionTolerance(box=1e-3, score=1e-5, why="float32 through calibrated weights: 5e-4 px, 6e-6")
DETECTIONS = Detections(dets="dets", labels="labels", limit=100, score_threshold=0.05, tolerance=TIGHT)
GONE = {"NonMaxSuppression", "NonZero", "Shape", "ScatterElements", "Identity", "Constant", "If", "Range"}


def _assert_same(wanted: tuple[Any, Any], dets: Any, labels: Any) -> None:
    compared = compare_detections(wanted, (dets, labels), DETECTIONS)
    assert compared.passed, compared.failure
    assert compared.paired >= 50
    assert len(compared.near_ties) <= 2


@pytest.mark.parametrize("stage", ["raw", "rewritten"])
@pytest.mark.parametrize("name", NAMES)
def test_the_graph_answers_what_mmdet_predicts(
    name: str, stage: str, one_stage: Callable[[str], Any]
) -> None:
    made = one_stage(name)
    seen = []
    with OnnxRuntimeSession(getattr(made, stage)) as session:
        for number in range(len(made.pictures)):
            found = session.run({"input": made.pictures[number : number + 1].numpy()})
            _assert_same(made.wanted[number], found["dets"], found["labels"])
            seen.append(found["dets"])
    # Not the boxes of the traced picture, whatever comes.
    assert all(not np.allclose(seen[0], other, atol=1) for other in seen[1:])


@pytest.mark.parametrize("batch", [2, 3])
def test_a_batch_of_fcos_is_answered_image_by_image(
    batch: int, one_stage: Callable[[str], Any], tmp_path: Path
) -> None:
    made = one_stage("fcos")
    batch_model(made.rewritten, tmp_path / "copy.onnx", batch)
    wanted = made.wanted[1:]
    for path in (made.raw, tmp_path / "copy.onnx"):
        with OnnxRuntimeSession(path) as session:
            found = session.run({"input": made.pictures[1 : 1 + batch].numpy()})
        assert found["dets"].shape == (batch, 100, 5)
        for image in range(batch):
            _assert_same(wanted[image], found["dets"][image], found["labels"][image])


@pytest.mark.parametrize("name", NAMES)
def test_the_passes_fire_and_leave_nothing_open(name: str, one_stage: Callable[[str], Any]) -> None:
    made = one_stage(name)
    assert made.report.verification.status.value == "proven"
    model = load_model(made.rewritten)
    counts = Counter(node.op_type for node in model.graph)
    assert not GONE & set(counts)
    assert [node.op_type for node in model.graph if node.domain] == ["BatchMultiClassNMS"]
    types = infer_types(model)
    assert all(types[value].static is not None for node in model.graph for value in node.outputs)
    # Look-ups of a batch keep theirs.
    assert ("Expand" in counts) == (name == "fcos")
    assert [value.name for value in model.graph.outputs] == [spec.name for spec in made.recipe.outputs]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_declined_that_should_fire(name: str, one_stage: Callable[[str], Any]) -> None:
    declined = {
        (item.name, found.node.op_type)
        for item in one_stage(name).report.passes
        for found in item.declined
        if item.name in ("replace_nms", "replace_merge_cells", "normalize_resize", "fold_constants")
    }
    assert declined == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_bundle_says_what_was_exported_and_how(name: str, one_stage: Callable[[str], Any]) -> None:
    made = one_stage(name)
    manifest = json.loads(made.raw.with_name("manifest.json").read_text(encoding="utf-8"))
    assert manifest["recipe"] == name
    assert "nasfpn" in manifest["settings"]["config"] or name == "fcos"
    assert manifest["settings"]["mmcv_operators"] in ("PyTorch", "compiled")
    assert [item["name"] for item in manifest["outputs"]] == [spec.name for spec in made.recipe.outputs]
    with OnnxRuntimeSession(made.raw) as session:
        assert [spec.shape for spec in session.outputs] == [spec.shape for spec in made.recipe.outputs]


def test_fcos_has_no_group_norm_and_an_open_batch(one_stage: Callable[[str], Any]) -> None:
    made = one_stage("fcos")
    kinds = {type(layer).__name__ for layer in made.module.model.modules()}
    assert "GroupNorm" not in kinds
    with OnnxRuntimeSession(made.raw) as session:
        assert session.inputs[0].shape == ("batch", 3, 128, 160)
        assert [spec.name for spec in session.outputs] == ["labels", "dets"]
