"""A rewrite of a detector is proven when its detections are the same set, and refused when they are not."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.comparison import FLOAT32_REORDERED
from graphopt.core.detections import Detections, DetectionTolerance
from graphopt.core.onnx_files import load_model, write_model
from graphopt.core.tensors import TensorSpec
from graphopt.surgery import RewriteError, Status, Verify, rewrite_file
from graphopt.surgery.engine.detection_verdicts import (
    add_detections,
    in_source,
    judge_sets,
)
from graphopt.surgery.graph_edits import add_constant
from graphopt.surgery.graph_pass import Declined, GraphPass, Site

Write = Callable[[str, str], Path]
WHAT = Detections(dets="dets", labels="labels")

# The rows whose score is above 0.4, best first: how many there are depends on the picture.
DETECTOR = """
<ir_version: 8, opset_import: ["" : 13]>
detector (float[1,3,8,6] x) => (float[n,5] found, int64[n] classes)
<
  int64[2] rows = {16, 9}, float[9,5] weight = {0.3,-0.1,0.2,0.4,0.5,-0.2,0.6,0.1,0.1,-0.3,0.4,0.2,-0.5,0.3,
    0.2,0.1,-0.4,0.3,-0.2,0.6,-0.5,0.3,0.2,0.5,-0.1,0.2,0.2,0.4,-0.3,0.3,0.6,-0.2,0.1,0.2,-0.4,0.1,0.5,-0.3,
    0.2,0.1,-0.3,0.2,0.4,0.1,0.5},
  int64[16] kinds = {0,1,2,3,4,0,1,2,3,4,0,1,2,3,4,0}, int64[1] all = {16},
  float[5] grow = {100,80,30,20,1}, float threshold = {0.4},
  int64[1] zero = {0}, int64[1] two = {2}, int64[1] four = {4}, int64[1] five = {5}, int64[1] one = {1}
>
{
    flat = Reshape (x, rows)
    dense = MatMul (flat, weight)
    sigmoid = Sigmoid (dense)
    grown = Mul (sigmoid, grow)
    corner = Slice (grown, zero, two, one)
    size = Slice (grown, two, four, one)
    score = Slice (grown, four, five, one)
    end = Add (corner, size)
    unsorted = Concat <axis = 1> (corner, end, score)
    flat_score = Squeeze (score, one)
    best, order = TopK (flat_score, all)
    boxes = Gather <axis = 0> (unsorted, order)
    sorted_kinds = Gather <axis = 0> (kinds, order)
    [keep] kept = Greater (best, threshold)
    found = Compress <axis = 0> (boxes, kept)
    classes = Compress <axis = 0> (sorted_kinds, kept)
}
"""


@dataclass(frozen=True, kw_only=True)
class FixRows(GraphPass):
    """Answer with sixteen rows in another order, zeros where there is no detection; or do that wrongly."""

    name: ClassVar[str] = "fix_rows"
    mistake: str = ""
    limit: int | None = 16
    allowed: DetectionTolerance = WHAT.tolerance
    silent: bool = False

    def output_names(self, model: ir.Model) -> Mapping[str, str] | None:
        return {"dets": "found", "labels": "classes"} if self._applies(model) else None

    def detections(self, model: ir.Model) -> Detections | None:
        if self.silent:
            return None
        return Detections(dets="found", labels="classes", limit=self.limit, tolerance=self.allowed)

    def _applies(self, model: ir.Model) -> bool:
        return any(node.op_type == "Compress" for node in model.graph)

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        if self._applies(model):
            yield Site(node=next(n for n in model.graph if n.name == "keep"), what="sixteen rows")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        graph = model.graph
        values = {value.name: value for node in graph for value in node.outputs}
        dets, labels = self._wrong(model, site.node, values["boxes"], values["sorted_kinds"])
        threshold = 0.5 if self.mistake == "threshold" else 0.4
        site.node.replace_input_with(
            1, add_constant(model, site.node, np.array(threshold, np.float32), "limit")
        )
        kept = site.node.outputs[0]
        order = add_constant(model, site.node, np.arange(16, dtype=np.int64)[::-1].copy(), "backwards")
        for value, dtype, name, shape in (
            (dets, ir.DataType.FLOAT, "dets", [16, 5]),
            (labels, ir.DataType.INT64, "labels", [16]),
        ):
            mask = ir.node("Cast", [kept], {"to": dtype.value})
            axes = add_constant(model, site.node, np.array([1], np.int64), f"{name}_axis")
            wide = [ir.node("Unsqueeze", [mask.outputs[0], axes])] if len(shape) > 1 else []
            product = ir.node("Mul", [value, (wide or [mask])[-1].outputs[0]])
            last = ir.node("Gather", [product.outputs[0], order], {"axis": 0})
            last.outputs[0].name = name
            last.outputs[0].type, last.outputs[0].shape = ir.TensorType(dtype), ir.Shape(shape)
            graph.extend([mask, *wide, product, last])
            graph.outputs.append(last.outputs[0])
        del graph.outputs[:2]
        graph.remove([node for node in graph if node.op_type == "Compress"], safe=True)

    def _wrong(
        self, model: ir.Model, keep: ir.Node, dets: ir.Value, labels: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        numbers: dict[str, Any] = {
            "box": np.array([0.5, 0, 0.5, 0, 0], np.float32),
            "score": np.array([0, 0, 0, 0, 0.001], np.float32),
            "labels": np.array(1, np.int64),
            "nan": np.array(np.nan, np.float32),
        }
        if self.mistake not in numbers:
            return dets, labels
        added = ir.node(
            "Add",
            [
                labels if self.mistake == "labels" else dets,
                add_constant(model, keep, numbers[self.mistake], "mistake"),
            ],
        )
        model.graph.append(added)
        return (dets, added.outputs[0]) if self.mistake == "labels" else (added.outputs[0], labels)


@pytest.fixture
def detector(write_text: Write) -> Path:
    return write_text(DETECTOR, "detector.onnx")


def test_the_same_set_in_other_rows_is_proven(detector: Path, tmp_path: Path) -> None:
    report = rewrite_file(detector, tmp_path / "o.onnx", [FixRows()])
    verification = report.verification
    assert verification.status is Status.PROVEN
    (found,) = verification.detections
    assert found.paired == found.reference == found.candidate > 4
    assert found.padding == 32 - found.candidate
    assert found.dirty_padding == 0
    assert found.images == verification.samples == 2
    assert [item.name for item in verification.comparisons] == ["dets, labels"]
    assert json.loads(json.dumps(report.to_json()))["verification"]["detections"][0]["passed"]


def test_later_verbs_learn_which_outputs_are_detections(detector: Path, tmp_path: Path) -> None:
    rewrite_file(detector, tmp_path / "o.onnx", [FixRows()])
    made = Artefact.load(tmp_path / "o.onnx")
    assert made is not None
    assert [(spec.name, spec.role, spec.dtype) for spec in made.outputs] == [
        ("dets", "dets", "float32"),
        ("labels", "labels", "int64"),
    ]


def test_number_by_number_the_same_rewrite_is_a_failure(detector: Path, tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="fix_rows is wrong: output dets: shape differs"):
        rewrite_file(detector, tmp_path / "o.onnx", [FixRows(silent=True)])


@pytest.mark.parametrize(
    ("mistake", "why"),
    [
        ("box", "its partner is 0.5 px off"),
        ("score", "differs by 0.001 in score"),
        ("labels", "the other side calls it class"),
        ("threshold", "the other side lacks it"),
        ("nan", "candidate, image 0: .* not finite"),
    ],
)
@pytest.mark.parametrize("verify", [Verify.FINAL, Verify.EACH])
def test_every_mistake_is_found_and_its_pass_named(
    detector: Path, tmp_path: Path, mistake: str, why: str, verify: Verify
) -> None:
    with pytest.raises(RewriteError, match=f"fix_rows is wrong: the detections dets, labels differ: .*{why}"):
        rewrite_file(detector, tmp_path / "o.onnx", [FixRows(mistake=mistake)], verify=verify)
    assert not (tmp_path / "o.onnx").exists()


def test_a_pass_may_state_wider_bounds(detector: Path, tmp_path: Path) -> None:
    wide = DetectionTolerance(box=0.6, score=1e-4, why="half a pixel")
    report = rewrite_file(detector, tmp_path / "o.onnx", [FixRows(mistake="box", allowed=wide)])
    (found,) = report.verification.detections
    assert found.box == pytest.approx(0.5, rel=1e-3)
    assert found.tolerance is wide


def test_a_detector_that_detects_nothing_is_unproven(detector: Path, tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match=r"unproven: the source detects nothing \(dets, labels\)"):
        rewrite_file(_never(detector), tmp_path / "o.onnx", [FixRows()])


def _never(detector: Path) -> Path:
    """Let scores be too small for any detection: the last column of the growth is a thousandth."""
    model = load_model(detector)
    value = model.graph.initializers["grow"]
    value.const_value = ir.tensor(np.array([100, 80, 30, 20, 0.001], np.float32), name="grow")
    path = detector.with_name("never.onnx")
    write_model(model, path)
    return path


def test_roles_let_detections_be_compared_as_sets(detector: Path, tmp_path: Path) -> None:
    known = [
        TensorSpec(name="found", shape=(), dtype="", role="dets"),
        TensorSpec(name="classes", shape=(), dtype="", role="labels"),
    ]
    report = rewrite_file(detector, tmp_path / "o.onnx", [FixRows(silent=True)], known_outputs=known)
    assert report.verification.status is Status.PROVEN
    assert report.verification.detections
    wrong = FixRows(silent=True, mistake="labels")
    with pytest.raises(RewriteError, match="the detections dets, labels differ"):
        rewrite_file(detector, tmp_path / "p.onnx", [wrong], known_outputs=known)


def _samples(*counts: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    return [
        {
            "dets": np.array([[i, 2, i + 9, 30, 0.9 - i / 50] for i in range(count)], np.float32).reshape(
                -1, 5
            ),
            "labels": np.arange(count),
            "heat": rng.standard_normal((2, 3)),
        }
        for count in counts
    ]


def test_other_outputs_are_still_compared_number_by_number() -> None:
    expected, got = _samples(4, 5), _samples(4, 5)
    assert judge_sets(expected, got, FLOAT32_REORDERED, [WHAT]).status is Status.PROVEN
    got[1]["heat"] = got[1]["heat"] + 1
    verdict = judge_sets(expected, got, FLOAT32_REORDERED, [WHAT])
    assert verdict.status is Status.FAILED
    assert "output heat differs" in verdict.reason


def test_an_input_without_detections_is_noted() -> None:
    verdict = judge_sets(_samples(4, 0), _samples(4, 0), FLOAT32_REORDERED, [WHAT])
    assert verdict.status is Status.PROVEN
    assert verdict.reason == "1 of 2 inputs show no detection"


def test_one_wrong_image_of_several_is_a_failure() -> None:
    verdict = judge_sets(_samples(4, 5), _samples(4, 4), FLOAT32_REORDERED, [WHAT])
    assert verdict.status is Status.FAILED
    assert "in image 1" in verdict.reason


def test_a_missing_output_is_missing_and_no_empty_set() -> None:
    expected, got = _samples(4), _samples(4)
    del got[0]["labels"]
    verdict = judge_sets(expected, got, FLOAT32_REORDERED, [WHAT])
    assert verdict.status is Status.FAILED
    assert "labels: missing" in verdict.reason


def test_names_lead_back_to_the_source() -> None:
    what = in_source(WHAT, {"dets": "1361", "labels": "1368"})
    assert (what.dets, what.labels) == ("1361", "1368")
    assert in_source(Detections(dets="dets"), {"dets": "1361"}).labels == ""


def test_what_several_passes_say_is_put_together() -> None:
    wide = DetectionTolerance(box=1, score=1e-3, why="half precision")
    first = Detections(dets="dets", labels="labels", limit=100, iou_threshold=0.5, tolerance=wide)
    (both,) = add_detections([first], Detections(dets="dets", labels="labels", score_threshold=0.05))
    assert (both.limit, both.iou_threshold, both.score_threshold) == (100, 0.5, 0.05)
    assert both.tolerance is wide
    assert len(add_detections([first], Detections(dets="others"))) == 2


def test_corners_in_reversed_order_are_told_from_a_source_that_detects_nothing() -> None:
    rows = np.array([[30, 40, 10, 20, 0.9], [35, 45, 15, 25, 0.8]], np.float32)
    answers = [{"dets": rows, "labels": np.array([1, 2])}]
    found = judge_sets(answers, answers, FLOAT32_REORDERED, [WHAT])
    assert found.status is Status.UNPROVEN
    assert "none has an area (4 rows of both sides" in found.reason
    assert "x1, y1, x2, y2" in found.reason
    assert "detects nothing" not in found.reason
