"""What people read of ``drift``, and what they are told when they use it wrongly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.runtime.predictions import Predictions

Graphopt = Callable[..., Any]


@pytest.fixture
def run(boxes: Any, tmp_path: Path) -> Path:
    """A run of seven fixed boxes on three scenes."""
    options = PipelineOptions(
        folder=tmp_path / "run",
        onnx=boxes.write_onnx(tmp_path / "raw.onnx", pinned=True),
        data=boxes.write_data(tmp_path / "data"),
        targets=("onnxruntime",),
        batches=(),
    )
    run_pipeline(boxes.RECIPE, options)
    return options.folder


def write_results(run: Path, *, shift: float = 0.0) -> Path:
    """Write what ais_bench would, boxes moved to the right."""
    stored = Predictions.load(run / "predictions" / "rewritten.npz")
    folder = run.parent / "results"
    folder.mkdir()
    dets = stored.outputs["dets"] + np.array([shift, 0, shift, 0, 0])
    for name, labels, rows in zip(stored.names, stored.outputs["labels"], dets, strict=True):
        labels.astype(np.int64).tofile(folder / f"{Path(name).stem}_0.bin")
        rows.astype(np.float32).tofile(folder / f"{Path(name).stem}_1.bin")
    return folder


def test_the_table_says_each_loss_and_the_last_line_where(graphopt: Graphopt, run: Path) -> None:
    results = write_results(run, shift=6.0)
    drift = ("drift", run, "--results", results, "--against", "raw", "--worst", 2)
    page = run.parent / "drift.html"
    answer = graphopt(*drift, "--pictures", run.parent / "seen", "--html", page)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[-1].startswith("100.00 of the 100.00 points of box mAP between raw and device")
    assert lines[-1].endswith("enter at device")
    for words in ("points lost", "truth: answers of raw", "fp16-nms", "new (", "note: intervals"):
        assert words in answer.out
    assert sum(" lost (" in line for line in lines) == 2
    assert len(list((run.parent / "seen").iterdir())) == 2
    text = page.read_text()
    assert lines[-1] in text
    assert text.count("<img ") == 6  # three images, both stages
    assert "http" not in text.replace("data:image", "")
    answer = graphopt(*drift, "--html", page)
    assert (answer.code, "drift.html" in answer.err) == (2, True)
    answer = graphopt(*drift, "--json", "--max-drop", 5)
    assert answer.code == 1
    assert answer.json["verb"] == "drift"
    assert answer.json["path"] == ["raw", "rewritten", "device"]
    assert answer.json["rows"][2]["loss"]["points"] == 0
    assert len(answer.json["disagreements"]) == 3


def test_a_recipe_makes_its_run_once(graphopt: Graphopt, boxes: Any, tmp_path: Path) -> None:
    model = boxes.write_onnx(tmp_path / "raw.onnx", pinned=True)
    data = boxes.write_data(tmp_path / "data")
    run = ("--run", tmp_path / "made")
    answer = graphopt("drift", "boxes", *run)
    assert (answer.code, "--checkpoint FILE, --onnx RAW or --demo" in answer.err) == (2, True)
    assert not (tmp_path / "made").exists()
    assert graphopt("drift", "boxes", *run, "--onnx", model, "--data", data).code == 0
    answer = graphopt("drift", "boxes", *run)
    assert (answer.code, "nothing is lost" in answer.out) == (0, True)


def test_wrong_use_is_said(graphopt: Graphopt, run: Path, tmp_path: Path) -> None:
    for arguments, words in (
        (("drift", "boxs"), "boxes"),
        (("drift", tmp_path), "no run.json"),
        (("drift", run, "--run", run), "leave --run out"),
        (("drift", run, "--demo"), "leave --onnx and --demo out"),
        (("drift", run, "--results", tmp_path / "none"), "does not exist"),
        (("drift", run, "--against", "rw"), "raw"),
        (("drift", run, "--data", tmp_path / "none"), "does not exist"),
        (("drift", run, "--checkpoint", tmp_path / "none"), "does not exist"),
    ):
        answer = graphopt(*arguments)
        assert (answer.code, words in answer.err) == (2, True), (arguments, answer)
