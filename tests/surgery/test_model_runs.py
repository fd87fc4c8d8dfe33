"""Running model files in a process of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core import child
from graphopt.core.errors import MissingBackendError
from graphopt.core.onnx_files import load_model
from graphopt.surgery.engine import model_runs
from graphopt.surgery.engine.lean_model import LeanModel, lean_model
from graphopt.surgery.engine.model_runs import one_line, run_models

Write = Callable[[str, str], Path]
FEED = {"x": np.array([1, -1], np.float32)}


def _model(write_text: Write, op: str) -> LeanModel:
    text = f'<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) {{ y = {op} (x) }}'
    path = write_text(text, f"{op}.onnx")
    return lean_model(load_model(path), path.with_name(f"{op}.bin"))


@pytest.mark.parametrize("real_child", [False, True])
def test_each_file_answers_or_says_why_not(
    write_text: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_child: bool
) -> None:
    if real_child:
        monkeypatch.undo()
    good, bad = run_models([_model(write_text, "Abs"), _model(write_text, "Nonsense")], [FEED], tmp_path)
    assert good.outputs[0]["y"].tolist() == [1, 1]
    assert good.error == ""
    assert "Nonsense" in bad.error
    assert bad.outputs == ()


def test_of_two_models_the_one_that_kills_the_process_is_found(
    write_text: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(function: Callable[..., Any], models: Any, feeds: Any, folder: str, **limits: Any) -> Any:
        if any(b"Neg" in model.structure for model in models):
            raise child.ChildCrashed("_run_all crashed with SIGSEGV")
        return function(models, feeds, folder)

    monkeypatch.setattr(child, "call", call)
    good, bad = run_models([_model(write_text, "Abs"), _model(write_text, "Neg")], [FEED], tmp_path)
    assert good.outputs[0]["y"].tolist() == [1, 1]
    assert bad.error == "_run_all crashed with SIGSEGV"


def test_a_missing_onnxruntime_is_not_a_fault_of_the_model(
    write_text: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: Any, **options: Any) -> Any:
        raise MissingBackendError("running an ONNX model needs the package onnxruntime")

    monkeypatch.setattr(model_runs, "OnnxRuntimeSession", missing)
    with pytest.raises(MissingBackendError):
        run_models([_model(write_text, "Abs")], [FEED], tmp_path)


def test_messages_of_native_code_become_one_short_line() -> None:
    text = "No Op registered for Magic\n==> Context: Bad node spec"
    assert one_line(text.replace("\n", " ")) == "No Op registered for Magic"
    assert one_line("first\n  second:\nthird") == "first second"
    assert len(one_line("x" * 1000)) == 300


def test_large_weights_stay_in_their_file_and_new_ones_are_spilled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    weights = {name: rng.standard_normal((40, 50)).astype(np.float32) for name in ("w", "v")}
    graph = onnx.parser.parse_graph(
        "g (float[3,40] x) => (float[3,50] y) { a = MatMul (x, w) y = Add (a, b) }"
    )
    graph.initializer.extend(onnx.numpy_helper.from_array(weights[n], n) for n in ("w",))
    graph.initializer.append(onnx.numpy_helper.from_array(np.ones(50, np.float32), "b"))
    path = tmp_path / "m.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path
    )
    model = load_model(path)
    feed: dict[str, Any] = {"x": rng.standard_normal((3, 40)).astype(np.float32)}
    stored = lean_model(load_model(Path("m.onnx")), tmp_path / "a.bin")
    assert [(weight.name, weight.path) for weight in stored.weights] == [("w", path)]
    assert len(stored.structure) < 1000
    model.graph.initializers["w"].const_value = ir.tensor(weights["v"], name="w")
    spilled = lean_model(model, tmp_path / "b.bin")
    assert [weight.path.name for weight in spilled.weights] == ["b.bin"]
    for run, name in zip(run_models([stored, spilled], [feed], tmp_path), ("w", "v"), strict=True):
        answer: Any = run.outputs[0]["y"]
        np.testing.assert_allclose(answer, feed["x"] @ weights[name] + 1, rtol=1e-4, atol=1e-5)
