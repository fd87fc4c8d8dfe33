"""What people read of a detector: the twelve figures, classes, worst images, boxes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Graphopt = Callable[..., Any]


def test_evaluate_says_figures_classes_and_worst_images(
    graphopt: Graphopt, boxes: Any, tmp_path: Path
) -> None:
    model, data = boxes.write_onnx(tmp_path / "raw.onnx"), boxes.write_data(tmp_path / "data")
    scored = ("evaluate", model, "--recipe", "boxes", "--data", data)
    answer = graphopt(*scored, "--pictures", tmp_path / "worst", "-o", tmp_path / "found.json")
    assert answer.code == 0
    for words in (
        "AP50",
        "AR100",
        "per class",
        "person",
        "not in the labels: 7",
        "worst images: 0000",
        "3 pict",
    ):
        assert words in answer.out
    answer = graphopt("evaluate", tmp_path / "found.json", *scored[2:], "--json")
    assert answer.code == 0
    assert answer.json["headline"] == answer.json["figures"]["AP"]
    assert len(answer.json["worst"]) == 3
    answer = graphopt(*scored, "--against", model, "--limit", 2)
    assert (answer.code, "on 2 images of data, answers of" in answer.out) == (0, True)
    assert "worst images" not in answer.out


def test_run_says_boxes(graphopt: Graphopt, boxes: Any, tmp_path: Path) -> None:
    model, data = boxes.write_onnx(tmp_path / "raw.onnx"), boxes.write_data(tmp_path / "data", images=1)
    image = next((data / "coco" / "val2017").iterdir())
    answer = graphopt("run", model, image, "--recipe", "boxes", "--json", "--pictures", tmp_path / "seen")
    first = answer.json["images"][0]["readings"][0]
    assert (first["label"], len(first["box"])) == ("person", 4)
    assert (tmp_path / "seen" / f"{image.stem}.png").is_file()


def test_wrong_use_is_said(graphopt: Graphopt, boxes: Any, tmp_path: Path) -> None:
    model, data = boxes.write_onnx(tmp_path / "raw.onnx"), boxes.write_data(tmp_path / "data", images=1)
    for arguments, words in (
        (("evaluate", model, "--data", data), "add --recipe NAME"),
        (("evaluate", model, "--recipe", "boxes", "--data", tmp_path / "none"), "does not exist"),
        (("evaluate", model, "--recipe", "boxes", "--data", data, "--annotations", model), "cannot be read"),
        (("evaluate", model, "--recipe", "boxes", "--data", data, "--box-mapping", "x"), "real"),
        (("evaluate", "found.json", "--recipe", "boxes", "--data", data), "does not exist"),
    ):
        answer = graphopt(*arguments)
        assert answer.code == 2
        assert words in answer.err
