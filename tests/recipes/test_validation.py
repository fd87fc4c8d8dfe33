"""Stages that users name, and what their outputs are to each other."""

from pathlib import Path

import onnx.parser
import pytest

from graphopt.core.errors import UsageError
from graphopt.core.roles import parse_roles
from graphopt.recipes.validation import validate_stages

DETECTOR = """
<ir_version: 8, opset_import: ["" : 13]>
detector (float[1,4] x) => ({outputs})
<
  float[4,10] weight = {{0.3,-0.1,0.2,0.4,0.5,-0.2,0.6,0.1,0.1,-0.3,0.4,0.2,-0.5,0.3,0.2,0.1,-0.4,0.3,-0.2,
    0.6,-0.5,0.3,0.2,0.5,-0.1,0.2,0.2,0.4,-0.3,0.3,0.6,-0.2,0.1,0.2,-0.4,0.1,0.5,-0.3,0.2,0.1}},
  int64[2] rows = {{2, 5}}, float[5] scale = {{9, 9, 20, 20, 0.1}}, float[5] far = {{0, 0, 90, 80, 0.5}},
  int64[2] kinds = {{5, 6}}, int64[2] order = {{{order}}}, float[1,5] padding = {{0,0,0,0,0}},
  int64[1] none = {{0}}
>
{{
    dense = MatMul (x, weight)
    table = Reshape (dense, rows)
    small = Mul (table, scale)
    boxes = Add (small, far)
    {end}
}}
"""


def _write(path: Path, *, order: str = "0, 1", fixed: bool = False) -> Path:
    if fixed:
        outputs = "float[3,5] dets, int64[3] labels"
        end = """sorted = Gather <axis = 0> (boxes, order)  some = Gather <axis = 0> (kinds, order)
            dets = Concat <axis = 0> (sorted, padding)  labels = Concat <axis = 0> (some, none)"""
    else:
        outputs = "float[n,5] found, int64[n] classes"
        end = "found = Identity (boxes)  classes = Gather <axis = 0> (kinds, order)"
    onnx.save(onnx.parser.parse_model(DETECTOR.format(outputs=outputs, end=end, order=order)), path)
    return path


def test_outputs_of_any_name_are_detections_by_their_order(tmp_path: Path) -> None:
    raw = _write(tmp_path / "raw.onnx")
    fixed = _write(tmp_path / "fixed.onnx", fixed=True, order="1, 0")
    roles = parse_roles("detection:dets,labels")
    report = validate_stages([str(raw), str(fixed)], roles=roles)
    assert report.passed
    assert report.detections[0].paired == 4
    untold = validate_stages([str(raw), str(fixed)])
    assert (untold.passed, untold.are_named_apart, report.are_named_apart) == (False, True, False)
    wrong = _write(tmp_path / "wrong.onnx", order="1, 0")
    assert not validate_stages([str(raw), str(wrong)], roles=roles).passed


def test_outputs_called_as_their_roles_may_be_in_another_order(tmp_path: Path) -> None:
    raw, fixed = _write(tmp_path / "raw.onnx"), _write(tmp_path / "fixed.onnx", fixed=True)
    model = onnx.load(fixed)
    model.graph.output.reverse()
    onnx.save(model, fixed)
    assert validate_stages([str(raw), str(fixed)], roles=parse_roles("detection:dets,labels")).passed


def test_one_stage_whose_detections_are_known_is_enough(tmp_path: Path) -> None:
    raw = _write(tmp_path / "raw.onnx")
    fixed = _write(tmp_path / "fixed.onnx", fixed=True, order="1, 0")
    roles = parse_roles("detection:dets=dets,labels=labels")
    report = validate_stages([str(raw), str(fixed)], roles=roles)
    assert report.passed
    assert report.detections[0].name == "found, classes"


def test_roles_of_named_tensors_hold_for_stages_that_have_them(tmp_path: Path) -> None:
    raw, same = _write(tmp_path / "raw.onnx"), _write(tmp_path / "same.onnx")
    named = parse_roles("detection:dets=found,labels=classes")
    assert validate_stages([str(raw), str(same)], roles=named).detections
    with pytest.raises(UsageError, match="no stage has an output 'fond'; did you mean found"):
        validate_stages([str(raw), str(same)], roles=parse_roles("detection:dets=fond,labels=classes"))
