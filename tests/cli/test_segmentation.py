"""What people read of a segmentation model: classes with their areas and IoU."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphopt import cli


@pytest.fixture
def call(
    colours: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["graphopt", *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handler would outlive the test
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert isinstance(stop.value.code, int)
        return stop.value.code, capsys.readouterr().out

    return run


def test_evaluate_and_run_speak_of_classes(
    call: Callable[..., tuple[int, str]], colours: Any, tmp_path: Path
) -> None:
    model, data = colours.write_onnx(tmp_path / "raw.onnx"), colours.write_data(tmp_path / "data")
    scored = ("evaluate", model, "--recipe", "colours", "--data", data)
    code, out = call(*scored)
    assert code == 0
    for words in (
        "mean_iou",
        "pixel_accuracy",
        "per class",
        "IoU",
        "aeroplane",
        "raw.onnx on 7 images of data",
    ):
        assert words in out
    code, out = call(*scored, "-o", tmp_path / "miou.txt", "--json")
    content = json.loads(out)
    assert (code, content["figures"]["mean_iou"]) == (0, content["headline"])
    assert (tmp_path / "miou.txt").read_text() == f"miou: {content['headline']:.6f}\n"
    image = data / f"VOCdevkit/VOC2012/JPEGImages/{colours.STEMS[0]}.jpg"
    code, out = call("run", model, image, "--recipe", "colours", "--pictures", tmp_path / "seen")
    assert (code, "area" in out, "background" in out) == (0, True, True)
    assert (tmp_path / f"seen/{colours.STEMS[0]}.png").is_file()


def test_a_folder_in_another_layout_is_named(
    call: Callable[..., tuple[int, str]], colours: Any, tmp_path: Path
) -> None:
    model = colours.write_onnx(tmp_path / "raw.onnx")
    code, out = call("evaluate", model, "--recipe", "colours", "--data", tmp_path, "--json")
    assert (code, json.loads(out)["error"]["type"]) == (2, "DatasetError")
    assert "VOCdevkit/VOC2012" in json.loads(out)["error"]["message"]
