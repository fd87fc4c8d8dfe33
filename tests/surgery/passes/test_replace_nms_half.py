"""Two stages with a suppression in half precision: the reference rounds its proposals at the same place."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.tensors import Array
from graphopt.surgery import RewriteError, Samples, Status, Verify, rewrite_file
from graphopt.surgery.detection.half_reference import COUNTED
from graphopt.surgery.graph_pass import Site
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
Write = Callable[[str, str], Path]

STAGES = models.changed(
    models.STAGES,
    ("float sides = {64}", "float sides = {1300}"),
    ("h0 = MatMul (rois, weight)", "h1 = MatMul (rois, weight)  h0 = Sin (h1)"),
)
"""A picture in which float16 rounds by up to half a pixel, and a second stage that does not forgive it."""
SAMPLES = Samples(
    feeds=tuple(models.pictures(seed, **models.STAGE_SHAPES) for seed in range(4)), kind="pictures"
)


class Unmended(ReplaceNms):
    """Compares with the source as it is."""

    def mend_reference(self, model: ir.Model) -> Mapping[str, str]:
        del model
        return {}


class Unrounded(ReplaceNms):
    """Rounds the reference and not the result."""

    def rewrite(self, model: ir.Model, site: Site) -> None:
        ReplaceNms().rewrite(model, site)


class Wrong(ReplaceNms):
    """Changes the calls that it writes."""

    def rewrite(self, model: ir.Model, site: Site) -> None:
        super().rewrite(model, site)
        calls = [node for node in model.graph if node.op_type == "BatchMultiClassNMS"]
        self.spoil(model, calls[0])

    def spoil(self, model: ir.Model, call: ir.Node) -> None:
        raise NotImplementedError


class WrongThreshold(Wrong):
    def spoil(self, model: ir.Model, call: ir.Node) -> None:
        call.attributes["iou_threshold"] = ir.AttrFloat32("iou_threshold", 0.9)


class SwappedBoxes(Wrong):
    def spoil(self, model: ir.Model, call: ir.Node) -> None:
        boxes = call.inputs[0]
        assert boxes is not None
        producer = boxes.producer()
        if producer is None or producer.op_type == "Gather":
            return
        order = ir.tensor(np.array([1, 0, 3, 2]), name="swapped")
        model.graph.register_initializer(ir.Value(name="swapped", const_value=order))
        value = model.graph.initializers["swapped"]
        value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([4])
        node = ir.node("Gather", [boxes, value], {"axis": 3})
        node.outputs[0].name = "swapped boxes"
        node.outputs[0].type, node.outputs[0].shape = boxes.type, boxes.shape
        model.graph.insert_before(call, node)
        call.replace_input_with(0, node.outputs[0])


@pytest.fixture
def source(write_text: Write) -> Path:
    return write_text(STAGES, "stages.onnx")


@pytest.mark.parametrize("verify", [Verify.FINAL, Verify.EACH])
def test_the_reference_rounds_where_the_result_does_and_the_verdict_says_so(
    source: Path, tmp_path: Path, verify: Verify
) -> None:
    item = ReplaceNms(boundary="fp16")
    report = rewrite_file(source, tmp_path / "out.onnx", [item], samples=SAMPLES, verify=verify)
    found = report.verification
    assert found.status is Status.PROVEN, found.reason
    count, _, _ = found.reason.partition(" ")
    assert 0 < int(count) <= 4 * 8 * 4
    assert COUNTED in found.reason
    cost = found.reason.partition("beside the source as it is, the source so rounded has ")[2]
    assert "unpaired" in cost
    assert "evaluate the metric" in cost


def test_without_that_the_second_stage_answers_otherwise(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="the detections dets, labels differ"):
        rewrite_file(source, tmp_path / "out.onnx", [Unmended(boundary="fp16")], samples=SAMPLES)


def test_a_result_that_does_not_round_is_no_match_for_a_rounded_reference(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(RewriteError, match="the detections dets, labels differ"):
        rewrite_file(source, tmp_path / "out.onnx", [Unrounded(boundary="fp16")], samples=SAMPLES)


@pytest.mark.parametrize("wrong", [WrongThreshold, SwappedBoxes])
def test_mistakes_are_still_caught(source: Path, tmp_path: Path, wrong: type[ReplaceNms]) -> None:
    with pytest.raises(RewriteError, match="the detections dets, labels differ"):
        rewrite_file(source, tmp_path / "out.onnx", [wrong(boundary="fp16")], samples=SAMPLES)


@pytest.mark.parametrize(
    ("text", "options"),
    [(STAGES, {}), (models.detector(), {"boundary": "fp16"})],
    ids=["float32", "one stage"],
)
def test_the_reference_stays_as_it_is_where_no_proposals_are_rounded(
    text: str, options: dict[str, Any], model_of: Build
) -> None:
    model = model_of(text)
    before = len(model.graph)
    assert ReplaceNms(**options).mend_reference(model) == {}
    assert len(model.graph) == before


def test_only_those_who_choose_among_the_proposals_read_them_rounded(model_of: Build, run_model: Run) -> None:
    text = models.changed(STAGES, ("int64[n] names", "int64[n] names, float[8,4] all, float[k,4] shown"))
    text = models.changed(text, ("h1 =", "all = Neg (boxes)  shown = Relu (rois)  h1 ="))
    model = model_of(text)
    (counter,) = ReplaceNms(boundary="fp16").mend_reference(model)
    count = next(value for node in model.graph for value in node.outputs if value.name == counter)
    count.shape = ir.Shape([1])
    model.graph.outputs.append(count)
    feeds = models.pictures(0, **models.STAGE_SHAPES)
    got, plain = run_model(model, feeds), run_model(model_of(text), feeds)
    np.testing.assert_array_equal(got["all"], plain["all"])
    boxes = np.negative(plain["all"])
    assert got[counter] == [(boxes != boxes.astype(np.float16)).sum()]
    np.testing.assert_array_equal(got["shown"], got["shown"].astype(np.float16))
    assert (plain["shown"] != plain["shown"].astype(np.float16)).any()


def test_boxes_that_rounding_makes_flat_keep_their_places(source: Path, tmp_path: Path) -> None:
    feeds = [models.pictures(seed, **models.STAGE_SHAPES) for seed in range(4)]
    for feed in feeds:
        feed["x"][::2, 2:] = 1e-5
        feed["x"][::2, :2] = 0.91
        feed["z"][::2, 0] = 9
    report = rewrite_file(
        source,
        tmp_path / "out.onnx",
        [ReplaceNms(boundary="fp16")],
        samples=Samples(feeds=tuple(feeds), kind="thin boxes"),
    )
    assert report.verification.status is Status.PROVEN
