"""``validate RECIPE --inputs DIR``: equal, named, refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Graphopt = Callable[..., Any]


@pytest.fixture
def fed(graphopt: Graphopt, boxes: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A data set, and what ``prepare`` makes of it."""
    data = boxes.write_data(tmp_path / "data", images=2)
    assert graphopt("prepare", "boxes", "--data", data, "-o", tmp_path / "fed").code == 0
    return data, tmp_path / "fed"


def test_what_prepare_wrote_is_equal(graphopt: Graphopt, fed: tuple[Path, Path]) -> None:
    data, folder = fed
    answer = graphopt("validate", "boxes", "--inputs", folder, "--data", data)
    assert answer.code == 0
    assert "2 inputs equal to the recipe's, bit by bit" in answer.out
    assert "verdict: exact" in answer.out
    assert "note:" not in answer.out
    answer = graphopt("validate", "boxes", "--inputs", folder, "--data", data, "--samples", "1")
    assert "note: 1 of 2 files were compared; --samples 2 compares all" in answer.out
    answer = graphopt("validate", "boxes", "--inputs", folder, "--data", data, "--samples", "1", "--json")
    assert (answer.json["images"], answer.json["files"]) == (1, 2)


def test_a_difference_is_named_and_exits_1(graphopt: Graphopt, fed: tuple[Path, Path]) -> None:
    data, folder = fed
    for path in (folder / "input_bin").iterdir():
        np.fromfile(path, np.float32).reshape(3, -1)[::-1].copy().tofile(path)
    answer = graphopt("validate", "--recipe", "boxes", "--inputs", folder, "--data", data)
    assert answer.code == 1
    assert "verdict: DIFFERENT (channel_order)" in answer.out
    images = next((data / "coco").glob("val*"))  # a plain folder of images will do
    answer = graphopt("validate", "boxes", "--inputs", folder, "--data", images, "--json")
    assert answer.code == 1
    assert answer.json["ok"] is False
    assert answer.json["cause"] == "channel_order"


def test_wrong_use_is_said(graphopt: Graphopt, fed: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = fed
    for arguments, words in (
        (("validate", "boxes", "--inputs", folder), "--data IMAGES"),
        (("validate", "boxes", "fcos", "--inputs", folder, "--data", data), "one recipe"),
        (("validate", "boxes", "--inputs", tmp_path / "none", "--data", data), "does not exist"),
        (("validate", "boxe", "--inputs", folder, "--data", data), "boxes"),
        (("validate",), "Missing argument"),
    ):
        answer = graphopt(*arguments)
        assert answer.code == 2, arguments
        assert words in answer.err
