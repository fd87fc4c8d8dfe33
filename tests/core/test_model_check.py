"""The ONNX checker's opinion of a file, asked for in a child process."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from graphopt.core import child, onnx_files
from graphopt.core.child import ChildCrashed
from graphopt.core.errors import InvalidModelError
from graphopt.core.onnx_files import check_model_file, save_model

Linear = Callable[..., onnx.ModelProto]


def test_a_good_model_has_no_complaint(tmp_path: Path, everything: onnx.ModelProto) -> None:
    onnx.save(everything, tmp_path / "good.onnx")
    assert check_model_file(tmp_path / "good.onnx") is None


def test_external_data_need_no_copy(tmp_path: Path, everything: onnx.ModelProto) -> None:
    model = onnx_files.from_proto(everything)
    save_model(model, tmp_path / "two.onnx", force=False, limit=40_000)
    assert check_model_file(tmp_path / "two.onnx") is None


def test_wrong_shapes_are_found(tmp_path: Path, linear: Linear) -> None:
    proto = linear()
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    onnx.save(proto, tmp_path / "bad.onnx")
    complaint = check_model_file(tmp_path / "bad.onnx")
    assert complaint is not None
    assert "7" in complaint


def test_unknown_operators_are_found(tmp_path: Path, linear: Linear) -> None:
    proto = linear()
    proto.graph.node[0].op_type = "Ad"
    onnx.save(proto, tmp_path / "bad.onnx")
    assert "No Op registered for Ad" in str(check_model_file(tmp_path / "bad.onnx"))


def test_old_models_must_list_their_weights(tmp_path: Path, linear: Linear) -> None:
    onnx.save(linear(ir_version=3), tmp_path / "bad.onnx")
    with pytest.raises(InvalidModelError, match="wants the initializer 'w' among the graph inputs"):
        check_model_file(tmp_path / "bad.onnx")


def test_the_death_of_the_checker_is_a_complaint(
    tmp_path: Path, linear: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: object, **options: object) -> None:
        raise ChildCrashed("complaint_about crashed with SIGSEGV")

    monkeypatch.setattr(child, "call", die)
    onnx.save(linear(), tmp_path / "good.onnx")
    assert check_model_file(tmp_path / "good.onnx") == (
        "the ONNX checker died: complaint_about crashed with SIGSEGV"
    )


def test_weights_are_not_read_for_it(tmp_path: Path, linear: Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def measure(function: object, path: Path, **options: object) -> None:
        sizes.append(path.stat().st_size)

    monkeypatch.setattr(child, "call", measure)
    onnx.save(linear(elements=100_000), tmp_path / "good.onnx")
    assert check_model_file(tmp_path / "good.onnx") is None
    assert sizes[0] < 1000
