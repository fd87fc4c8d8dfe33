"""The pipeline's rows of half precision, its column of memory, and detectors scored against the reference."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from graphopt.core import peak_memory
from graphopt.core.errors import InvalidModelError
from graphopt.recipes import half_estimate
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.pipeline_report import PipelineReport, StageRow
from graphopt.recipes.scoring import Scored
from graphopt.runtime.task import Score

Run = Callable[..., PipelineReport]


def rows(report: PipelineReport) -> dict[str, StageRow]:
    return {row.stage: row for row in report.stages}


def test_half_precision_is_a_row_that_calls_itself_an_estimate(finished: Path) -> None:
    content = json.loads((finished / "run/report.json").read_text())
    assert content["ok"]
    row = next(row for row in content["stages"] if row["stage"] == "fp16")
    assert (row["verdict"], row["failed"], row["estimate"]) == ("estimate", False, True)
    assert row["note"] == "estimate: tensors in float16, sums in float32"
    assert 0 < row["max_error"] < 0.05
    page = (finished / "run/report.html").read_text(encoding="utf-8")
    assert "fp16 (estimate)" in page
    largest = max(row["max_error"] or 0 for row in content["stages"] if not row["estimate"])
    assert f"<b>{largest:.2g}</b><span>largest error against raw" in page


def test_it_can_be_left_out(pipeline: Run) -> None:
    report = pipeline(estimates=False)
    assert list(rows(report)) == ["raw", "rewritten", "onnxruntime"]
    assert "half precision was not estimated (--no-estimates)" in report.notes


def test_answers_that_overflow_are_told_and_fail_nothing(small: Any, pipeline: Run, project: Path) -> None:
    small.write_onnx(project / "raw.onnx", scale=1e6)
    report = pipeline()
    row = rows(report)["fp16"]
    assert report.ok
    assert row.verdict == "estimate: not finite"
    assert "not scored: " in row.note
    assert row.metric is None


def test_an_estimate_that_cannot_be_made_is_a_note(
    small: Any, pipeline: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InvalidModelError("no such kernel")

    monkeypatch.setattr(half_estimate, "half_precision_copy", refuse)
    small.write_onnx(project / "raw.onnx", scale=0.9)
    report = pipeline()
    assert report.ok
    assert "fp16" not in rows(report)
    assert "fp16 was not estimated: no such kernel" in report.notes


@pytest.mark.parametrize(("is_estimate", "failed"), [(True, False), (False, True)])
def test_a_lost_metric_fails_only_stages_that_ran(small: Any, is_estimate: bool, failed: bool) -> None:
    def scored(label: str, headline: float, **others: Any) -> Scored:
        score = Score(headline=headline, figures={}, samples=1)
        plain: dict[str, Any] = {
            "predictions": None,
            "seconds": 1.0,
            "bytes": 1,
            "sha256": "",
            "reused": False,
        }
        return Scored(label=label, score=score, **plain, **others)

    row = scored("fp16", 0.5, is_estimate=is_estimate).row(scored("raw", 0.9), small.RECIPE, 0.3)
    assert row.change == pytest.approx(-40)
    assert row.drop_failed is failed


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_memory_is_measured_once_and_shown_again(pipeline: Run, project: Path) -> None:
    before = json.loads((project / "run/report.json").read_text())["stages"]
    assert all(row["peak_bytes"] >= 0 for row in before)
    assert before[0]["peak_bytes"] > 1000  # a small model may run in what was held already
    report = pipeline()
    assert all(row.reused for row in report.stages)
    assert [row.peak_bytes for row in report.stages] == [row["peak_bytes"] for row in before]
    assert f"{before[0]['peak_bytes'] / 1e6:.0f}</td>" in (project / "run/report.html").read_text()


def test_memory_is_unknown_where_the_system_does_not_tell(
    pipeline: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_memory, "_RESET", project / "none" / "such")
    report = pipeline(limit=3)
    assert [row.peak_bytes for row in report.stages] == [None] * 4


@pytest.fixture
def suppressing(boxes: Any, tmp_path: Path) -> Path:
    """The pinned graph of the recipe ``boxes`` with a suppression that nobody reads."""
    path = tmp_path / "pinned.onnx"
    boxes.write_onnx(path, pinned=True)
    model = onnx.load(path)
    some = onnx.parser.parse_graph(
        "g () => (int64[n,3] kept) < float[1,2,4] b = {0,0,9,9,1,1,8,8}, float[1,1,2] s = {0.8,0.7} > "
        "{ kept = NonMaxSuppression (b, s) }"
    )
    model.graph.node.extend(some.node)
    model.graph.initializer.extend(some.initializer)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("suppresses", [True, False])
def test_detectors_get_a_row_for_their_suppression_and_a_score_against_the_reference(
    boxes: Any, suppressing: Path, tmp_path: Path, suppresses: bool
) -> None:
    source = suppressing if suppresses else boxes.write_onnx(tmp_path / "plain.onnx", pinned=True)
    options = PipelineOptions(
        folder=tmp_path / "run",
        onnx=source,
        data=boxes.write_data(tmp_path / "data"),
        targets=("onnxruntime",),
        batches=(1,),
    )
    report = run_pipeline(boxes.RECIPE, options)
    found = rows(report)
    estimates = ["fp16", "fp16-nms"] if suppresses else ["fp16"]
    assert list(found) == ["raw", "rewritten", *estimates, "onnxruntime"]
    assert report.ok, report.problems
    assert found["raw"].agreement is None
    assert found["rewritten"].agreement == found["onnxruntime"].agreement == 1
    assert 0.9 < (found["fp16"].agreement or 0) <= 1
    assert found["fp16"].max_error
    if suppresses:
        assert (found["fp16-nms"].agreement, found["fp16-nms"].max_error) == (1, 0)
    assert "against raw" in (tmp_path / "run/report.html").read_text()
