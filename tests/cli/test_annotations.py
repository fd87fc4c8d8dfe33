"""``--annotations`` wherever a data set is read; ``--workers`` wherever images are; what progress shows."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphopt.cli.options import Progress

Graphopt = Callable[..., Any]


@pytest.fixture
def apart(boxes: Any, tmp_path: Path) -> Path:
    """A folder with ``pinned.onnx``, ``again.onnx``, ``images`` and, elsewhere, ``labels.json``."""
    for name in ("pinned", "again"):
        boxes.write_onnx(tmp_path / f"{name}.onnx", pinned=True)
    coco = boxes.write_data(tmp_path / "data") / "coco"
    (coco / "val2017").rename(tmp_path / "images")
    (coco / "annotations" / "instances_val2017.json").rename(tmp_path / "labels.json")
    return tmp_path


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("pipeline", ("boxes", "--onnx", "pinned.onnx", "--targets", "onnxruntime", "--workers", "2")),
        ("evaluate", ("pinned.onnx", "--recipe", "boxes", "--workers", "2")),
        ("bundle", ("pinned.onnx", "--recipe", "boxes", "--workers", "2")),
        ("prepare", ("boxes", "--workers", "2")),
        ("validate", ("pinned.onnx", "again.onnx", "--recipe", "boxes")),
    ],
)
def test_labels_may_lie_elsewhere(
    graphopt: Graphopt, apart: Path, monkeypatch: pytest.MonkeyPatch, verb: str, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(apart)
    call = (verb, *options, "--data", "images")
    answer = graphopt(*call)
    assert answer.code == 2
    assert "--annotations" in answer.err
    answer = graphopt(*call, "--annotations", "labels.json")
    assert answer.code == 0, answer.err
    if verb == "pipeline":
        assert "--annotations labels.json" in answer.out  # what to type on the way back


def test_labels_without_images_are_refused(graphopt: Graphopt, apart: Path) -> None:
    model, labels = apart / "pinned.onnx", ("--annotations", apart / "labels.json")
    for call in (
        ("pipeline", "boxes", "--onnx", model, "--targets", "onnxruntime", "-o", apart / "run"),
        ("validate", model, apart / "again.onnx"),
    ):
        answer = graphopt(*call, *labels)
        assert answer.code == 2
        assert "--data" in answer.err


def test_no_worker_is_no_choice(graphopt: Graphopt, apart: Path) -> None:
    answer = graphopt("prepare", "boxes", "--data", apart, "--workers", "0")
    assert (answer.code, "--workers" in answer.err) == (2, True)


def test_progress_says_rate_and_time_left_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    def said(at: float, done: int, total: int) -> str:
        now[0] = at
        count(done, total)
        return capsys.readouterr().err.replace("\r\x1b[K", "")

    progress = Progress()
    count = progress.count("image")
    assert said(130.0, 20, 40) == "image 20/40"  # an earlier run left these
    assert said(132.0, 24, 40) == "image 24/40, 2.0/s, 8 s left"
    assert said(132.01, 25, 40) == ""  # too soon to be read
    assert said(140.0, 40, 40) == "image 40/40, 2.0/s, 0 s left"
    count = progress.count("torch: image")
    assert said(200.0, 1, 5000) == "torch: image 1/5000"
    assert said(204.0, 2, 5000) == "torch: image 2/5000, 0.25/s, 5 h 33 min left"
    assert said(204.0 + 4 * 4498, 4500, 5000) == "torch: image 4500/5000, 0.25/s, 33 min left"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    progress = Progress()
    progress.say("exporting")
    progress.count("image")(40, 40)
    progress.clear()
    assert capsys.readouterr() == ("", "")
