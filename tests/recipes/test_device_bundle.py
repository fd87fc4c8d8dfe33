"""The folder for the device box: what is in it, and that its runner really runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.errors import DatasetError, OutputError, ToolFailure, UsageError
from graphopt.recipes.device_bundle import make_bundle, prepare_inputs
from graphopt.recipes.evaluation import evaluate
from graphopt.runtime.predictions import Predictions

PYTHONS = list(filter(None, (sys.executable, os.environ.get("GRAPHOPT_OLD_PYTHON"))))


def start(bundle: Path, *options: str, python: str = sys.executable) -> Any:
    return subprocess.run(
        [python, "device_runner.py", "--backend", "onnxruntime", *options],
        cwd=bundle,
        capture_output=True,
        text=True,
        timeout=120,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("no_atc")
@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: Path(path).name)
def test_from_a_run_to_results_that_score_the_same(
    small: Any, finished: Path, tmp_path: Path, python: str
) -> None:
    made = make_bundle(str(finished / "run"), tmp_path / "box", data=finished / "data", batch=2)
    assert made.commands == ("bash small_bs2.atc.sh", "python3 device_runner.py")
    assert list(made.files) == names(made.folder)
    assert names(tmp_path) == ["box"]
    done = start(made.folder, python=python)
    assert done.returncode == 0, done.stderr
    assert "ok   output1: 2 samples" in done.stdout
    scored = evaluate(str(made.folder / "results"), finished / "data", recipe_name="small")
    wanted = Predictions.load(finished / "run/predictions/rewritten.npz")
    assert scored.predictions.names == wanted.names
    got: Any = scored.predictions.outputs["output1"]
    expected: Any = wanted.outputs["output1"]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    content = json.loads((finished / "run/report.json").read_text())
    assert scored.score.figures == content["scores"]["rewritten"]["figures"]


@pytest.mark.usefixtures("no_atc")
def test_from_an_onnx_file_to_a_check_that_can_fail(small: Any, tmp_path: Path) -> None:
    model = small.write_onnx(tmp_path / "raw.onnx")
    with pytest.raises(UsageError, match="--recipe NAME"):
        make_bundle(str(model), tmp_path / "box")
    bundle = make_bundle(str(model), tmp_path / "box", recipe_name="small").folder
    assert names(bundle) == [
        "README.txt",
        "bundle.json",
        "device_runner.py",
        "golden.npz",
        "small_bs1.atc.sh",
        "small_bs1.onnx",
        "small_bs1.onnx.json",
    ]
    content = json.loads((bundle / "bundle.json").read_text())
    assert content["tolerance"]["onnxruntime"]["atol"] == small.RECIPE.tolerance.atol
    assert content["tolerance"]["acl"]["atol"] > content["tolerance"]["onnxruntime"]["atol"]
    assert content["prepared"] is None
    readme = (bundle / "README.txt").read_text()
    assert "bash small_bs1.atc.sh\n    python3 device_runner.py --check\n" in readme
    assert start(bundle, "--check").returncode == 0
    with np.load(bundle / "golden.npz") as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    arrays["output_0"][0, 3] += 0.01
    np.savez(bundle / "golden.npz", **arrays)
    done = start(bundle)
    assert done.returncode == 1, done.stderr
    assert "FAIL output1" in done.stdout
    assert "results" not in names(bundle)


@pytest.mark.torch
@pytest.mark.usefixtures("no_atc")
def test_the_golden_outputs_are_those_of_the_network(small: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from graphopt.core.golden import read_golden
    from graphopt.recipes.export import export_recipe

    checkpoint = small.write_checkpoint(tmp_path / "c.pth")
    data = small.write_data(tmp_path / "data")
    artefact = export_recipe(small.RECIPE, tmp_path / "raw", checkpoint=checkpoint, data=data)
    bundle = make_bundle(str(tmp_path / "raw"), tmp_path / "box").folder
    assert start(bundle, "--check").returncode == 0
    golden = read_golden(artefact.path.parent)
    module = small.RECIPE.build()
    small.RECIPE.load(module, checkpoint)
    with np.load(bundle / "golden.npz") as archive, torch.no_grad():
        answers = module(torch.from_numpy(archive["input_0"].copy())).numpy()
        np.testing.assert_allclose(archive["output_0"], answers, atol=1e-6)
        assert len(archive["input_0"]) == len(golden) == 2


def test_an_om_that_could_be_built_is_taken_along(
    small: Any, finished: Path, tmp_path: Path, fake_atc: Callable[[str], Path]
) -> None:
    fake_atc("success")
    made = make_bundle(str(finished / "run"), tmp_path / "box")
    assert made.commands == ("python3 device_runner.py --check",)
    assert {"small_bs1.om", "small_bs1.om.json"} <= set(made.files)
    models = json.loads((made.folder / "bundle.json").read_text())["models"]
    assert [len(item["sha256"]) for item in models] == [64, 64]


def test_the_log_of_a_failed_build_is_kept_and_nothing_else(
    small: Any, finished: Path, tmp_path: Path, fake_atc: Callable[[str], Path]
) -> None:
    fake_atc("failure")
    with pytest.raises(ToolFailure, match=r"the whole log is .*small_bs1\.atc\.log"):
        make_bundle(str(finished / "run"), tmp_path / "out" / "box")
    assert names(tmp_path / "out") == ["small_bs1.atc.log"]


@pytest.mark.usefixtures("no_atc")
def test_refusals_leave_nothing(small: Any, finished: Path, tmp_path: Path) -> None:
    run = str(finished / "run")
    (tmp_path / "box").mkdir()
    with pytest.raises(OutputError, match="--force"):
        make_bundle(run, tmp_path / "box")
    with pytest.raises(UsageError, match="from a run folder or an ONNX file"):
        make_bundle(str(finished / "data"), tmp_path / "other", recipe_name="small")
    with pytest.raises(DatasetError, match=r"label\.json"):
        make_bundle(run, tmp_path / "other", data=tmp_path)
    assert names(tmp_path) == ["box"]
    assert make_bundle(run, tmp_path / "box", force=True).files


def test_prepared_inputs_are_those_the_model_takes(small: Any, finished: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = prepare_inputs(
        small.RECIPE, finished / "data", tmp_path / "in", limit=3, on_progress=lambda *at: seen.append(at)
    )
    assert (done.samples, done.shape, seen[-1]) == (3, (3, 32, 16), (3, 3))
    assert (tmp_path / "in/small.info").read_text().splitlines()[1] == "1 ./input_bin/00002.bin 16 32"
    assert {path.stat().st_size for path in done.inputs.iterdir()} == {3 * 32 * 16 * 4}


@pytest.mark.usefixtures("no_atc")
def test_a_model_with_calls_brings_atcs_copy_and_one_that_any_onnxruntime_runs(
    small: Any, tmp_path: Path
) -> None:
    model = small.write_deformable_onnx(tmp_path / "raw.onnx")
    bundle = make_bundle(str(model), tmp_path / "box", recipe_name="small").folder
    assert {"small_bs1.atc.onnx", "small_bs1.atc.sh", "small_bs1.standard.onnx"} <= set(names(bundle))
    assert "--model=small_bs1.atc.onnx" in (bundle / "small_bs1.atc.sh").read_text()
    assert "DeformableConv2D" in {
        node.op_type for node in onnx.load(bundle / "small_bs1.atc.onnx").graph.node
    }
    standard = onnx.load(bundle / "small_bs1.standard.onnx")
    assert not standard.functions
    assert {node.domain for node in standard.graph.node} == {""}
    done = start(bundle, "--check")
    assert done.returncode == 0, done.stderr
