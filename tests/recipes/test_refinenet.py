"""RefineNet's recipe: what it says, and, narrowed, every stage of a pipeline in one go."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from graphopt.core.onnx_files import input_specs, load_model, output_specs
from graphopt.core.preprocessing import PadCentredTo
from graphopt.recipes.compilation import CompileOptions, compile_into
from graphopt.recipes.device_bundle import make_bundle
from graphopt.recipes.models.refinenet import RECIPE
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline


def test_pictures_are_padded_with_what_becomes_zero() -> None:
    (pad,) = [step for step in RECIPE.preprocessing if isinstance(step, PadCentredTo)]
    assert pad.value == pytest.approx((123.675, 116.28, 103.53))


@pytest.mark.shared
def test_the_recipe_fits_the_real_graph(shared_dir: Path) -> None:
    graph = onnx.load(shared_dir / "raw" / "refinenet.onnx").graph
    for specs, infos in ((RECIPE.inputs, graph.input), (RECIPE.outputs, graph.output)):
        for spec, info in zip(specs, infos, strict=True):
            assert spec.name == info.name
            assert spec.shape[1:] == tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)[1:]


@pytest.mark.torch
@pytest.mark.openvino
@pytest.mark.slow
def test_from_demo_to_the_device_box_and_back(
    narrow_refinenet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    run = tmp_path / "run"
    options = PipelineOptions(folder=run, demo=True, batches=(1, 3))
    report = run_pipeline(narrow_refinenet.RECIPE, options)
    assert report.problems == ()
    stages = [row.stage for row in report.stages]
    assert stages == ["torch", "raw", "rewritten", "fp16", "onnxruntime", "openvino", "atc"]
    assert all(row.verdict == "match" for row in report.stages[1:-1] if not row.estimate)
    assert [(check.batch, check.images, check.passed) for check in report.batches] == [
        (1, 2, True),
        (3, 5, True),
    ]
    ops = report.rewrite["ops_after"]
    assert ops["MaxPool"] == 13
    assert "BatchNormalization" not in ops
    raw = load_model(run / "raw" / "model.onnx")
    assert input_specs(raw)[0].shape == ("batch", 3, 128, 128)
    assert output_specs(raw)[0].shape == ("batch", 21, 32, 32)
    assert (run / "report.html").is_file()

    again = run_pipeline(narrow_refinenet.RECIPE, options)
    assert all(row.reused for row in again.stages)

    demo = run / "demo" / "data"
    box = make_bundle(str(run), tmp_path / "box", data=demo, batch=2)
    call = (box.folder / "narrow_refinenet_bs2.atc.sh").read_text()
    assert '--input_shape="input:2,3,128,128" --log=debug --soc_version=Ascend310P3' in call
    started = [sys.executable, "device_runner.py", "--backend", "onnxruntime"]
    done = subprocess.run(started, cwd=box.folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with_device = run_pipeline(
        narrow_refinenet.RECIPE, dataclasses.replace(options, results=box.folder / "results")
    )
    device = with_device.stages[-1]
    assert (device.stage, device.verdict, device.change) == ("device", "match", 0.0)

    matrix = CompileOptions(target="atc", soc="310P3", batches=RECIPE.batch_sizes, script_only=True)
    done_matrix = compile_into(tmp_path / "matrix", run / "rewritten" / "model.onnx", matrix)
    for path, size in zip(done_matrix.models, RECIPE.batch_sizes, strict=True):
        assert path.name == f"narrow_refinenet_bs{size}.onnx"
        model = load_model(path)
        assert output_specs(model)[0].shape == (size, 21, 32, 32)
        # Once the batch is fixed, no size is computed any more.
        assert not {"Shape", "Slice", "Concat"} & {node.op_type for node in model.graph}
