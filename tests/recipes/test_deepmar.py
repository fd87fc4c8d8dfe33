"""DeepMAR itself, reduced: checkpoint, stages, batch sizes, device box and back, in one go."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.exporters.demo_fit import save_checkpoint
from graphopt.exporters.demo_weights import calibrate_batchnorm, seed_module
from graphopt.recipes.device_bundle import make_bundle
from graphopt.recipes.models.deepmar import RECIPE
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.datasets.synthetic_pedestrians import write_synthetic_peta
from graphopt.runtime.preprocess import preprocess


def write_checkpoint(path: Path, data: Path) -> Path:
    """Seeded weights as the demo has them, without its fit: every other attribute is likely."""
    module: Any = RECIPE.needed_build("a test")()
    seed_module(module, 7)
    calibrate_batchnorm(
        module, [np.stack([preprocess(s.path, RECIPE.preprocessing) for s in PetaDataset(data)])]
    )
    state = module.state_dict()
    state["classifier.bias"][::2] = 1.0
    state["classifier.bias"][1::2] = -1.0
    save_checkpoint(path, state)
    return path


@pytest.mark.torch
@pytest.mark.openvino
@pytest.mark.slow
def test_from_checkpoint_to_the_device_box_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("openvino")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    run, data = tmp_path / "run", tmp_path / "data"
    write_synthetic_peta(data, count=3, seed=7)
    options = PipelineOptions(
        folder=run,
        checkpoint=write_checkpoint(tmp_path / "checkpoint.pth.tar", data),
        data=data,
        batches=(1, 2),
        targets=("onnxruntime", "openvino"),
    )
    report = run_pipeline(RECIPE, options)
    assert report.problems == ()
    exact = [row for row in report.stages if not row.estimate]
    assert [row.stage for row in exact] == ["torch", "raw", "rewritten", "onnxruntime", "openvino"]
    assert all(row.verdict == "match" and row.flips == 0 for row in exact[1:])
    assert [(check.batch, check.images, check.passed) for check in report.batches] == [(2, 3, True)]
    assert report.rewrite["nodes_after"] <= 122
    assert "Pad" not in report.rewrite["ops_after"]
    assert (run / "report.html").is_file()

    box = make_bundle(str(run), tmp_path / "box", data=data, batch=2)
    call = (box.folder / "deepmar_bs2.atc.sh").read_text()
    assert '--input_shape="actual_input_1:2,3,224,224" --log=error --soc_version=Ascend310P3' in call
    started = [sys.executable, "device_runner.py", "--backend", "onnxruntime"]
    done = subprocess.run(started, cwd=box.folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    again = run_pipeline(RECIPE, dataclasses.replace(options, results=box.folder / "results"))
    assert again.ok
    assert all(row.reused for row in again.stages[:-1])
    device = again.stages[-1]
    assert (device.stage, device.verdict, device.flips, device.change) == ("device", "match", 0, 0.0)
