from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import OutputError, UsageError, VerificationError
from graphopt.core.lineage import read_lineage
from graphopt.core.onnx_files import load_model
from graphopt.core.tensors import TensorSpec
from graphopt.surgery.parts import concatenation, joining
from graphopt.surgery.parts.concatenation import join_files
from graphopt.surgery.report import Samples, Status

Write = Callable[[str, str], Path]

FRONT = """<ir_version: 8, opset_import: ["" : 13]>
front (float[N,3,5] x) => (float[N,3,5] f, float[N,3,5] aux) { f = Exp (x)  aux = Neg (x) }"""
BACK = """<ir_version: 8, opset_import: ["" : 13]>
back (float[1,3,5] f, int64[1] which) => (float[1,5] y) {
    g = Gather <axis = 1> (f, which)  s = Constant <value_ints = [1, 5]> ()  y = Reshape (g, s) }"""


@pytest.fixture
def parts(write_text: Write) -> list[Path]:
    return [write_text(FRONT, "front.onnx"), write_text(BACK, "back.onnx")]


def samples(specs: tuple[TensorSpec, ...]) -> Samples:
    feed = {"x": np.ones((1, 3, 5), np.float32), "which": np.array([2])}
    assert [spec.name for spec in specs] == ["x", "which"]
    return Samples(feeds=(feed,), kind="given")


def test_the_whole_is_proven_on_given_inputs(parts: list[Path], tmp_path: Path) -> None:
    made = join_files(parts, tmp_path / "out.onnx", connect={}, samples_for=samples)
    assert made.verification.status is Status.PROVEN
    assert [item.name for item in made.verification.comparisons] == ["aux", "y"]
    assert made.links == (("front:f", "back:f"),)
    model = load_model(tmp_path / "out.onnx")
    assert [step.name for step in read_lineage(model)] == ["concat"]
    sidecar = Artefact.load(tmp_path / "out.onnx")
    assert sidecar is not None
    assert [item["name"] for item in sidecar.settings["concat"]["models"]] == ["front.onnx", "back.onnx"]


def test_open_sizes_are_tried_as_a_fixed_part_needs_them(write_text: Write, tmp_path: Path) -> None:
    back = """<ir_version: 8, opset_import: ["" : 13]>
    back (float[1,3,5] f) => (float[15] y) { s = Constant <value_ints = [15]> ()  y = Reshape (f, s) }"""
    paths = [write_text(FRONT, "front.onnx"), write_text(back, "back.onnx")]
    made = join_files(paths, tmp_path / "out.onnx", connect={})
    assert made.verification.status is Status.PROVEN


def test_a_whole_that_differs_is_not_written(
    parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*args: object, **kwargs: object) -> object:
        joined = joining.join_models(*args, **kwargs)  # type: ignore[arg-type]
        exp = next(node for node in joined.model.graph if node.op_type == "Exp")
        exp.op_type = "Abs"
        return joined

    monkeypatch.setattr(concatenation, "join_models", wrong)
    with pytest.raises(VerificationError, match="differs from its parts: output y"):
        join_files(parts, tmp_path / "out.onnx", connect={}, samples_for=samples)
    assert not (tmp_path / "out.onnx").exists()


def test_a_whole_that_cannot_run_is_unproven(write_text: Write, tmp_path: Path) -> None:
    odd = """<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]>
    odd (float[N,3,5] f) => (float[N,3,5] z) { y = vendor.Odd (f)  z = Exp (y) }"""
    paths = [write_text(FRONT, "front.onnx"), write_text(odd, "odd.onnx")]
    with pytest.raises(VerificationError, match=r"unproven: the source does not run: odd\.onnx"):
        join_files(paths, tmp_path / "out.onnx", connect={})
    made = join_files(paths, tmp_path / "out.onnx", connect={}, allow_unproven=True)
    assert made.verification.status is Status.UNPROVEN
    assert isinstance(load_model(tmp_path / "out.onnx"), ir.Model)


def test_refuses_one_model_and_an_output_that_is_an_input(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two"):
        join_files(parts[:1], tmp_path / "out.onnx", connect={})
    with pytest.raises(OutputError, match="is the input"):
        join_files(parts, parts[1], connect={}, force=True)


def test_the_same_file_twice(write_text: Write, tmp_path: Path) -> None:
    path = write_text(
        """<ir_version: 8, opset_import: ["" : 13]>
        twice (float[3,5] x) => (float[3,5] y) <float[5] w = {1,2,3,4,5}> { y = Mul (x, w) }""",
        "twice.onnx",
    )
    made = join_files([path, path], tmp_path / "out.onnx", connect={})
    assert made.verification.status is Status.PROVEN
    assert made.links == (("twice:y", "twice_2:x"),)
