"""Running model files in a process of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core import child
from graphopt.core.errors import MissingBackendError
from graphopt.surgery.engine import model_runs
from graphopt.surgery.engine.model_runs import run_files

Write = Callable[[str, str], Path]
FEED = {"x": np.array([1, -1], np.float32)}


def _model(write_text: Write, op: str) -> Path:
    text = f'<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) {{ y = {op} (x) }}'
    return write_text(text, f"{op}.onnx")


@pytest.mark.parametrize("real_child", [False, True])
def test_each_file_answers_or_says_why_not(
    write_text: Write, monkeypatch: pytest.MonkeyPatch, real_child: bool
) -> None:
    if real_child:
        monkeypatch.undo()
    good, bad = run_files([_model(write_text, "Abs"), _model(write_text, "Nonsense")], [FEED])
    assert good.outputs[0]["y"].tolist() == [1, 1]
    assert good.error == ""
    assert "Nonsense" in bad.error
    assert bad.outputs == ()


def test_of_two_models_the_one_that_kills_the_process_is_found(
    write_text: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(function: Callable[..., Any], paths: tuple[Path, ...], feeds: Any, **limits: Any) -> Any:
        if any("Neg" in path.name for path in paths):
            raise child.ChildCrashed("_run_all crashed with SIGSEGV")
        return function(paths, feeds)

    monkeypatch.setattr(child, "call", call)
    good, bad = run_files([_model(write_text, "Abs"), _model(write_text, "Neg")], [FEED])
    assert good.outputs[0]["y"].tolist() == [1, 1]
    assert bad.error == "_run_all crashed with SIGSEGV"


def test_a_missing_onnxruntime_is_not_a_fault_of_the_model(
    write_text: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: Any, **options: Any) -> Any:
        raise MissingBackendError("running an ONNX model needs the package onnxruntime")

    monkeypatch.setattr(model_runs, "OnnxRuntimeSession", missing)
    with pytest.raises(MissingBackendError):
        run_files([_model(write_text, "Abs")], [FEED])
