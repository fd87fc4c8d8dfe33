"""Drift over a finished run: rows, what is read again and what is made, results, refusals."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.recipes import run_sources
from graphopt.recipes.drift import Drift, DriftOptions, measure_drift
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.run_sources import RunSources
from graphopt.recipes.scoring import Scorer
from graphopt.runtime.predictions import Predictions
from graphopt.validate.waterfall import WaterfallRow

Measure = Callable[..., Drift]
Results = Callable[..., Path]


@pytest.fixture
def measure(small: Any, project: Path) -> Measure:
    """Measure the finished run in ``project``."""

    def run(**options: Any) -> Drift:
        return measure_drift(small.RECIPE, DriftOptions(run=project / "run", **options))

    return run


def rows(drift: Drift) -> dict[str, WaterfallRow]:
    return {row.stage: row for row in drift.report.waterfall.rows}


def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of stages that really run."""
    found: list[str] = []
    whole = Scorer.run

    def spy(self: Scorer, label: str, *args: Any, **more: Any) -> Any:
        scored = whole(self, label, *args, **more)
        if not scored.reused:
            found.append(label)
        return scored

    monkeypatch.setattr(Scorer, "run", spy)
    return found


def flip(count: int) -> Callable[[Any], Any]:
    """Turn the sign of the attributes that most people have, in the first images."""

    def change(logits: Any) -> Any:
        logits[:count, :10] *= -1
        return logits

    return change


def test_stored_predictions_are_used_and_nothing_is_lost(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = ran(monkeypatch)
    drift = measure()
    found = rows(drift)
    assert {"raw", "rewritten", "onnxruntime"}.isdisjoint(again)
    assert found["raw"].metric == found["rewritten"].metric == found["onnxruntime"].metric
    assert found["rewritten"].loss is not None
    assert found["rewritten"].loss.points == 0
    assert drift.report.ok
    assert drift.report.truth == "labels"
    assert drift.report.sample_kind == "7 images of data"


def test_a_stage_that_is_missing_is_told(measure: Measure) -> None:
    found = rows(measure())
    assert found["torch"].metric is None
    assert "--checkpoint" in found["torch"].note
    assert "not compiled" in found["openvino"].note
    assert list(found)[:3] == ["torch", "raw", "rewritten"]
    assert "fp16-nms" not in found  # attributes have no suppression
    assert any("--results" in note for note in measure().report.notes)


def test_a_planted_loss_is_named_in_its_row(measure: Measure, write_results: Results) -> None:
    drift = measure(results=write_results(flip(7)))
    report, found = drift.report, rows(drift)
    assert report.waterfall.path == ("raw", "rewritten", "device")
    device = found["device"]
    assert device.loss is not None
    assert device.loss.points > 1
    assert not device.loss.within_noise
    assert report.waterfall.total is not None
    assert report.waterfall.total.points == pytest.approx(device.loss.points)
    assert "enter at device" in report.waterfall.sentence
    assert report.differing == "raw and device"
    assert len(report.disagreements) == 7
    assert "10 attributes changed" in report.disagreements[0].text
    assert report.ok  # nobody asked for a verdict


def test_the_gate_judges_every_row(measure: Measure, write_results: Results) -> None:
    results = write_results(flip(6))
    assert measure(results=results, max_drop=99).report.ok
    report = measure(results=results, max_drop=0.3).report
    assert not report.ok
    assert "device loses" in report.problems[0]
    assert report.to_json()["ok"] is False


def test_results_that_are_no_numbers_fail_without_a_gate(measure: Measure, write_results: Results) -> None:
    def spoil(logits: Any) -> Any:
        logits[2] = np.nan
        return logits

    report = measure(results=write_results(spoil)).report
    assert not report.ok
    assert "device could not be scored" in report.problems[0]
    assert "NaN" in {row.stage: row for row in report.waterfall.rows}["device"].note


def test_missing_and_foreign_results_are_named(measure: Measure, write_results: Results) -> None:
    folder = write_results()
    (folder / "00003_0.bin").unlink()
    with pytest.raises(DatasetError, match="00003"):
        measure(results=folder)
    folder = write_results(name="more")
    (folder / "elsewhere_0.bin").write_bytes((folder / "00001_0.bin").read_bytes())
    with pytest.raises(DatasetError, match="elsewhere"):
        measure(results=folder)


def test_a_limit_cuts_what_was_stored_and_leaves_the_run_alone(
    measure: Measure, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (project / "run" / "run.json").read_bytes()
    again = ran(monkeypatch)
    report = measure(limit=3).report
    assert report.samples == 3
    assert {"raw", "rewritten", "onnxruntime"}.isdisjoint(again)
    assert (project / "run" / "run.json").read_bytes() == before


def test_other_images_are_run_beside(
    small: Any, measure: Measure, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small.write_data(project / "other", count=4)
    before = (project / "run" / "run.json").read_bytes()
    again = ran(monkeypatch)
    report = measure(data=data).report
    assert {"raw", "rewritten"} <= set(again)
    assert report.samples == 4
    again.clear()
    assert measure(data=data).report.samples == 4
    assert {"raw", "rewritten"}.isdisjoint(again)
    assert (project / "run" / "run.json").read_bytes() == before


def test_a_changed_model_is_run_again(
    small: Any, measure: Measure, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = ran(monkeypatch)
    small.write_onnx(project / "run" / "rewritten" / "model.onnx", scale=-1.0)
    found = rows(measure())
    assert again[0] == "rewritten"
    assert found["rewritten"].loss is not None
    assert found["rewritten"].loss.points != 0


def test_without_labels_the_first_stage_stands_for_them(
    measure: Measure, project: Path, write_results: Results
) -> None:
    results = write_results(flip(6))
    report = measure(data=project / "data" / "images", results=results).report
    assert report.truth == "answers of raw"
    found = {row.stage: row for row in report.waterfall.rows}
    assert found["raw"].metric == 1
    assert found["device"].loss is not None
    assert found["device"].loss.points > 1
    assert measure(against="rewritten").report.truth == "answers of rewritten"
    with pytest.raises(UsageError, match=r"no answers of 'torch' .*--checkpoint"):
        measure(against="torch")


def test_a_run_without_known_images_asks_for_them(measure: Measure, project: Path) -> None:
    (project / "run" / "sources.json").unlink()
    with pytest.raises(UsageError, match="--data DIR"):
        measure()
    assert rows(measure(data=project / "data"))["rewritten"].metric is not None
    (project / "run" / "sources.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        measure()


def test_a_recipe_that_changed_since_the_run_is_compared_with_nothing(
    measure: Measure, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project / "run"
    monkeypatch.setattr(run_sources, "own_version", lambda _: "new")
    sources = dataclasses.replace(RunSources.load(run), recipe="old")
    sources.save(run)
    with pytest.raises(UsageError, match=r"changed since the run .* run graphopt pipeline again"):
        measure()
    dataclasses.replace(sources, recipe="new").save(run)
    assert rows(measure())["rewritten"].metric is not None


def test_sources_inside_a_run_move_with_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "demo").mkdir(parents=True)
    RunSources(checkpoint=run / "demo" / "c.pth", data=tmp_path / "data", limit=3).save(run)
    moved = run.rename(tmp_path / "moved")
    found = RunSources.load(moved)
    assert found.checkpoint == moved / "demo" / "c.pth"
    assert found.data == tmp_path / "data"
    assert (found.limit, found.annotations) == (3, None)


def test_a_cause_that_the_results_betray_is_said(measure: Measure, write_results: Results) -> None:
    drift = measure(results=write_results(lambda logits: np.roll(logits, -1, axis=0)))
    (cause,) = drift.report.causes
    assert (cause.stage, cause.against) == ("device", "rewritten")
    assert cause.text.startswith("consistent with answers of other images, +1 places on")
    assert measure(results=write_results(name="right")).report.causes == ()


def test_masks_have_a_waterfall_too(colours: Any, tmp_path: Path) -> None:
    options = PipelineOptions(
        folder=tmp_path / "run",
        onnx=colours.write_onnx(tmp_path / "raw.onnx"),
        data=colours.write_data(tmp_path / "data"),
        targets=("onnxruntime",),
        batches=(),
        estimates=False,
    )
    run_pipeline(colours.RECIPE, options)
    stored = Predictions.load(tmp_path / "run" / "predictions" / "rewritten.npz")
    folder = tmp_path / "results"
    folder.mkdir()
    for name, logits in zip(stored.names, stored.outputs["output"], strict=True):
        logits[:, :, ::-1].tofile(folder / f"{Path(name).stem}_0.bin")
    report = measure_drift(colours.RECIPE, DriftOptions(run=tmp_path / "run", results=folder)).report
    assert report.waterfall.metric == "mean IoU"
    assert report.waterfall.path == ("raw", "rewritten", "device")
    assert "enter at device" in report.waterfall.sentence
    assert "of the pixels (" in report.disagreements[0].text
    assert [cause.text.partition(" (")[0] for cause in report.causes] == [
        "consistent with masks mirrored left to right"
    ]
    assert {row.stage: row.metric for row in report.waterfall.rows}["fp16"] is not None
