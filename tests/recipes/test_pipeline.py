"""The whole way on the small recipe: verdicts, what runs again after a change, gate, refusals."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import OutputError, UsageError
from graphopt.recipes import pipeline as module
from graphopt.recipes import run_sources
from graphopt.recipes.batches import batch_model
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.pipeline_report import PipelineReport, StageRow
from graphopt.recipes.scoring import Scorer
from graphopt.runtime.predictions import Predictions

Run = Callable[..., PipelineReport]
Results = Callable[..., Path]


def rows(report: PipelineReport) -> dict[str, StageRow]:
    return {row.stage: row for row in report.stages}


def stages(project: Path) -> dict[str, Any]:
    content = json.loads((project / "run" / "run.json").read_text())
    return {item["name"]: item for item in content["stages"]}


def done_again(project: Path) -> set[str]:
    return {name for name, item in stages(project).items() if not item["reused"]}


def pretend_other_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (module, run_sources):
        monkeypatch.setattr(place, "environment", lambda: {"onnxruntime": "99"})


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


EVALUATED = {"predict-raw", "predict-rewritten", "predict-fp16", "predict-onnxruntime", "check-2"}
ALL = {"raw", "rewritten", "compiled-onnxruntime", "batch-2", *EVALUATED}


# verdicts


@pytest.mark.torch
@pytest.mark.openvino
@pytest.mark.usefixtures("no_atc")
def test_a_checkpoint_goes_all_the_way(small: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("openvino")
    options = PipelineOptions(
        folder=tmp_path / "run",
        checkpoint=small.write_checkpoint(tmp_path / "c.pth"),
        data=small.write_data(tmp_path / "data"),
        batches=(1, 2),
        limit=5,
    )
    first = run_pipeline(small.RECIPE, options)
    assert (first.ok, first.problems, first.reference) == (True, (), "torch")
    found = rows(first)
    assert list(found) == ["torch", "raw", "rewritten", "fp16", "onnxruntime", "openvino", "atc"]
    exact = [row for row in found.values() if not row.estimate]
    assert [row.verdict for row in exact] == ["reference", *["match"] * 4, ""]
    assert all(row.flips == 0 and row.change == 0 for row in exact[1:5])
    assert len({row.metric for row in exact[:5]}) == 1
    assert "atc is not installed" in found["atc"].note
    assert (tmp_path / "run/compiled/atc/small_bs2.atc.sh").is_file()
    (check,) = first.batches
    assert (check.batch, check.images, check.passed) == (2, 5, True)
    assert "last batch 1 of 2" in check.text

    before = stages(tmp_path)
    second = run_pipeline(small.RECIPE, options)
    assert second.ok
    assert all(row.reused for row in second.stages)
    assert done_again(tmp_path) == set()
    assert [row.sha256 for row in second.stages] == [row.sha256 for row in first.stages]

    small.write_checkpoint(options.checkpoint, scale=0.5)
    third = run_pipeline(small.RECIPE, options)
    assert third.ok
    assert done_again(tmp_path) == set(before)
    assert rows(third)["torch"].sha256 != found["torch"].sha256


@pytest.mark.torch
def test_a_raw_graph_is_held_against_the_checkpoint(small: Any, pipeline: Run, project: Path) -> None:
    pytest.importorskip("torch")
    wrong = small.write_checkpoint(project / "other.pth", scale=1.01)
    report = pipeline(checkpoint=wrong)
    assert report.reference == "torch"
    assert {name for name, row in rows(report).items() if row.failed} == {"raw", "rewritten", "onnxruntime"}
    assert "raw differs from torch" in report.problems[0]


@pytest.mark.torch
def test_an_output_of_another_name_is_known_by_what_it_holds(small: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    options = PipelineOptions(
        folder=tmp_path / "run",
        onnx=small.write_onnx(tmp_path / "raw.onnx", output="logits"),
        checkpoint=small.write_checkpoint(tmp_path / "c.pth"),
        targets=(),
    )
    report = run_pipeline(small.RECIPE, options)
    assert report.ok
    assert rows(report)["raw"].verdict == "match"


def test_a_raw_graph_is_its_own_reference(finished: Path) -> None:
    content = json.loads((finished / "run" / "report.json").read_text())
    assert content["reference"] == "raw"
    verdicts = [row["verdict"] for row in content["stages"]]
    assert verdicts == ["reference", "match", "estimate", "match"]
    assert content["metric"] == "instance accuracy"
    assert content["sample_kind"] == "7 images of data"
    assert 0.3 < content["stages"][0]["metric"] < 0.9
    assert content["rewrite"]["nodes_before"] - content["rewrite"]["nodes_after"] == 2


def test_without_data_stages_are_compared_and_that_is_said(small: Any, tmp_path: Path) -> None:
    options = PipelineOptions(
        folder=tmp_path / "run", onnx=small.write_onnx(tmp_path / "raw.onnx"), targets=()
    )
    report = run_pipeline(small.RECIPE, options)
    assert report.ok
    assert (report.metric, report.batches, report.scores) == ("", (), {})
    assert rows(report)["rewritten"].verdict == "match"
    assert report.sample_kind == "2 seeded structured inputs"
    assert any("not scored" in note for note in report.notes)
    assert "DATA" in " ".join(report.commands)


# what runs again


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda project: None, set()),
        (lambda project: spoil(project / "run/raw/model.onnx"), {"raw"}),
        (lambda project: spoil(project / "run/rewritten/model.onnx"), {"rewritten"}),
        (lambda project: spoil(project / "run/rewritten/model_bs2.onnx"), {"batch-2"}),
        (lambda project: spoil(project / "run/predictions/raw.npz"), {"predict-raw"}),
        (
            lambda project: (project / "run/compiled/onnxruntime/small.ort.onnx").unlink(),
            {"compiled-onnxruntime"},
        ),
        (
            lambda project: (project / "run/compiled/onnxruntime/stray").touch(),
            {"compiled-onnxruntime"},
        ),
        (
            lambda project: Image.new("RGB", (9, 9), "red").save(project / "data/images/00003.png"),
            EVALUATED,
        ),
    ],
    ids=["nothing", "raw", "rewritten", "batch", "predictions", "deleted", "stray", "image"],
)
def test_a_change_runs_exactly_the_right_stages_again(
    pipeline: Run, project: Path, change: Callable[[Path], object], expected: set[str]
) -> None:
    before = {name: item["files"] for name, item in stages(project).items()}
    change(project)
    assert pipeline().ok
    assert done_again(project) == expected
    if expected != EVALUATED:
        assert {name: item["files"] for name, item in stages(project).items()} == before


def test_another_raw_graph_runs_everything_again(small: Any, pipeline: Run, project: Path) -> None:
    small.write_onnx(project / "raw.onnx", scale=0.9)
    assert pipeline().ok
    assert done_again(project) == ALL


def test_another_version_of_a_tool_runs_everything_again(
    pipeline: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_other_tools(monkeypatch)
    report = pipeline()
    assert report.ok
    assert report.environment == {"onnxruntime": "99"}
    assert done_again(project) == ALL


def test_fewer_images_run_again_but_not_what_made_the_models(pipeline: Run, project: Path) -> None:
    report = pipeline(limit=3)
    assert report.samples == 3
    assert done_again(project) == EVALUATED
    assert report.batches[0].images == 3


@pytest.mark.parametrize("other_tools", [False, True])
def test_false_predictions_of_the_right_form_are_not_believed(
    pipeline: Run, project: Path, monkeypatch: pytest.MonkeyPatch, other_tools: bool
) -> None:
    if other_tools:
        pretend_other_tools(monkeypatch)
    place = project / "run/predictions/rewritten.npz"
    true = Predictions.load(place)
    with np.load(place) as archive:
        arrays = {name: archive[name] for name in archive.files}
    false = {name: -a if a.dtype == np.float32 else a for name, a in arrays.items()}
    np.savez(place, **false)
    assert not np.array_equal(Predictions.load(place).outputs["output1"], true.outputs["output1"])
    assert pipeline().ok
    assert done_again(project) == (ALL if other_tools else {"predict-rewritten"})
    np.testing.assert_array_equal(Predictions.load(place).outputs["output1"], true.outputs["output1"])


def test_an_interrupted_evaluation_goes_on(
    pipeline: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Scorer.run

    def stop_at_rewritten(self: Scorer, label: str, *args: Any, **options: Any) -> Any:
        if label == "rewritten":
            raise KeyboardInterrupt
        return real(self, label, *args, **options)

    monkeypatch.setattr(Scorer, "run", stop_at_rewritten)
    with pytest.raises(KeyboardInterrupt):
        pipeline(limit=4)
    monkeypatch.setattr(Scorer, "run", real)
    assert pipeline(limit=4).ok
    assert done_again(project) == EVALUATED - {"predict-raw"}


# the gate


def test_results_that_agree_pass(pipeline: Run, write_results: Results) -> None:
    report = pipeline(results=write_results())
    assert report.ok
    device = rows(report)["device"]
    assert (device.verdict, device.flips, device.change) == ("match", 0, 0.0)
    assert "read from" in device.note


def test_half_precision_is_judged_by_the_metric_alone(pipeline: Run, write_results: Results) -> None:
    report = pipeline(results=write_results(lambda logits: logits * np.float32(1.01)))
    device = rows(report)["device"]
    assert (device.verdict, device.failed, device.flips) == ("values differ", False, 0)
    assert report.ok


def worse(logits: Any) -> Any:
    logits[:3] = -np.abs(logits[:3])  # nobody has any attribute
    return logits


def test_a_lost_metric_fails_and_is_named(pipeline: Run, write_results: Results) -> None:
    results = write_results(worse)
    report = pipeline(results=results)
    device = rows(report)["device"]
    assert device.change is not None
    assert device.change < -10
    assert (report.ok, device.drop_failed) == (False, True)
    assert report.problems == (
        f"device loses {-device.change:.2f} points of instance accuracy, more than 0.3",
    )
    assert pipeline(results=results, max_drop=-device.change + 0.1).ok


def test_results_of_a_model_with_a_larger_batch_are_read(
    small: Any, pipeline: Run, project: Path, write_results: Results
) -> None:
    results = write_results()
    small.write_onnx(project / "raw.onnx", batch=2)
    report = pipeline(results=results, batches=(1, 2, 4))
    assert report.ok, report.problems
    assert rows(report)["device"].flips == 0
    assert [check.batch for check in report.batches] == [1, 4]  # 2 is the model's own


def test_results_of_other_images_are_refused(pipeline: Run, write_results: Results) -> None:
    results = write_results()
    (results / "00002_0.bin").rename(results / "00999_0.bin")
    with pytest.raises(ValueError, match="00999"):
        pipeline(results=results)


# batch sizes


def test_a_batch_that_disagrees_fails(
    small: Any, pipeline: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = small.write_onnx(project / "wrong.onnx", scale=1.05)

    def plant(source: Path, output: Path, size: int, **options: Any) -> Any:
        return batch_model(wrong, output, size, **options)

    monkeypatch.setattr(module, "batch_model", plant)
    report = pipeline(batches=(1, 3))
    assert not report.ok
    (check,) = report.batches
    assert (check.batch, check.passed) == (3, False)
    assert check.max_error is not None
    assert check.max_error > 0.01
    assert report.problems == (check.text,)
    assert "DIFFERENT" in check.text


# what is missing


def test_a_missing_backend_is_noted_and_the_rest_goes_on(
    pipeline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    report = pipeline(targets=("onnxruntime", "openvino"))
    assert report.ok
    assert "openvino" not in rows(report)
    assert any("not compiled for openvino" in note and "pip install" in note for note in report.notes)


def test_without_jinja2_no_old_page_stays(
    pipeline: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (project / "run/report.html").is_file()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    report = pipeline()
    assert report.ok
    assert any("report.html was not written" in note for note in report.notes)
    assert not (project / "run/report.html").exists()
    assert json.loads((project / "run/report.json").read_text())["ok"] is True


# refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "say where the model comes from"),
        ({"demo": True, "checkpoint": Path("c")}, "--demo brings its own"),
        ({"demo": True, "onnx": Path("m")}, "--demo brings its own"),
        ({"demo": True, "data": Path("d")}, "--demo brings its own"),
        ({"onnx": Path("m"), "results": Path("r")}, "--results needs --data"),
        ({"onnx": Path("m"), "targets": ("onnxruntime", "tensorrt")}, "unknown target 'tensorrt'"),
    ],
)
def test_options_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PipelineOptions(folder=Path("run"), **changes)


def test_the_checkpoint_must_exist(small: Any, tmp_path: Path) -> None:
    options = PipelineOptions(folder=tmp_path / "run", checkpoint=tmp_path / "none.pth")
    with pytest.raises(UsageError, match=r"none\.pth does not exist"):
        run_pipeline(small.RECIPE, options)


@pytest.mark.parametrize("kind", ["file", "full", "other recipe"])
def test_a_folder_that_is_no_run_of_this_recipe(small: Any, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "run"
    wanted: dict[str, Any] = {
        "file": (OutputError, "is a file"),
        "full": (UsageError, "not empty and not a run"),
        "other recipe": (UsageError, "a run of deepmar, not of small"),
    }
    if kind == "file":
        folder.write_text("precious")
    else:
        folder.mkdir()
        name = "run.json" if kind == "other recipe" else "thesis.txt"
        (folder / name).write_text('{"run_version": 1, "recipe": "deepmar", "stages": []}')
    before = sorted(tmp_path.rglob("*"))
    error, message = wanted[kind]
    with pytest.raises(error, match=message):
        run_pipeline(small.RECIPE, PipelineOptions(folder=folder, onnx=tmp_path / "raw.onnx"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("no_atc")
def test_a_model_that_atc_would_refuse_fails_the_run_but_has_its_script(
    pipeline: Callable[..., PipelineReport], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("graphopt.recipes.compilation.refusal", lambda checked: "ATC would refuse it")
        report = pipeline(targets=("atc",))
    assert not report.ok
    assert report.problems == ("ATC would refuse it",)
    assert (project / "run/compiled/atc/small_bs1.atc.sh").is_file()
    assert not pipeline(targets=("atc",)).ok  # the stage is reused, and so is what it found
