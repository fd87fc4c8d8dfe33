"""A finished run of the small recipe, made once and copied for each test that changes it."""

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.recipes import models
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.pipeline_report import PipelineReport
from graphopt.runtime.predictions import Predictions

FAKES = Path(__file__).resolve().parents[1] / "fakes"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``raw.onnx``, ``data`` and ``run``; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "__path__", [*models.__path__, str(FAKES / "recipes")])
        small: Any = importlib.import_module("graphopt.recipes.models.small")
        small.write_onnx(folder / "raw.onnx")
        small.write_data(folder / "data")
        report = run_pipeline(small.RECIPE, _options(folder))
    assert report.ok, report.problems
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """An own copy of ``finished``, in another place."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


@pytest.fixture
def pipeline(small: Any, project: Path) -> Callable[..., PipelineReport]:
    """Run the small recipe again in ``project``; options replace those of the finished run."""

    def run(**changes: Any) -> PipelineReport:
        return run_pipeline(small.RECIPE, _options(project, **changes))

    return run


@pytest.fixture
def write_results(project: Path) -> Callable[..., Path]:
    """Write what ais_bench would write for the data set, from the rewritten model's predictions."""

    def write(change: Callable[[Any], Any] = lambda logits: logits, name: str = "results") -> Path:
        predictions = Predictions.load(project / "run" / "predictions" / "rewritten.npz")
        logits = change(predictions.outputs["output1"].copy())
        folder = project / name
        folder.mkdir()
        for sample, row in zip(predictions.names, logits, strict=True):
            row.astype(np.float32).tofile(folder / f"{Path(sample).stem}_0.bin")
        return folder

    return write


@pytest.fixture
def fake_atc(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Put the fake atc on the PATH and return its place; see tests/fakes/atc for what it can do."""

    def behave(mode: str) -> Path:
        folder = tmp_path_factory.mktemp("bin")
        program = Path(shutil.copy(FAKES / "atc", folder / "atc"))
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_ATC", mode)
        return program

    return behave


@pytest.fixture
def no_atc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no program to be found, also where CANN is installed."""
    monkeypatch.setattr(shutil, "which", lambda name: None)


def _options(folder: Path, **changes: Any) -> PipelineOptions:
    options: dict[str, Any] = {
        "folder": folder / "run",
        "onnx": folder / "raw.onnx",
        "data": folder / "data",
        "targets": ("onnxruntime",),
        "batches": (1, 2),
    }
    return PipelineOptions(**{**options, **changes})
