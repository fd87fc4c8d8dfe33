"""The files that were fed to a device: compared with the recipe's own, and run where they differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import DatasetError
from graphopt.recipes.drift import DriftOptions, measure_drift
from graphopt.recipes.drift_report import DriftReport
from graphopt.recipes.stages import parse_stage
from graphopt.runtime.prepare import prepare
from graphopt.validate.waterfall import WaterfallRow

Measure = Callable[..., DriftReport]
SHAPE = (3, 32, 16)


@pytest.fixture
def measure(small: Any, project: Path) -> Measure:
    """Measure the finished run in ``project``."""

    def run(**options: Any) -> DriftReport:
        return measure_drift(small.RECIPE, DriftOptions(run=project / "run", **options)).report

    return run


@pytest.fixture
def bins(small: Any, project: Path) -> Path:
    """The recipe's own inputs."""
    dataset = small.RECIPE.task.open_data(project / "data")
    return prepare(dataset, small.RECIPE.preprocessing, project / "fed", width=16, height=32).folder


def rows(report: DriftReport) -> dict[str, WaterfallRow]:
    return {row.stage: row for row in report.waterfall.rows}


def change(bins: Path, how: Callable[[Any], Any]) -> Path:
    for path in (bins / "input_bin").iterdir():
        how(np.fromfile(path, np.float32).reshape(SHAPE)).tofile(path)
    return bins


def device_results(project: Path, bins: Path) -> Path:
    """What a device in float32 would answer to the files."""
    folder = project / "answered"
    folder.mkdir()
    with parse_stage(str(project / "run" / "rewritten" / "model.onnx")).open() as session:
        for path in (bins / "input_bin").iterdir():
            fed = np.fromfile(path, np.float32).reshape(1, *SHAPE)
            (answer,) = session.run({session.inputs[0].name: fed}).values()
            answer.tofile(folder / f"{path.stem}_0.bin")
    return folder


def test_the_recipes_own_inputs_lose_nothing(measure: Measure, bins: Path) -> None:
    report = measure(inputs=bins)
    assert report.inputs["ok"] is True
    row = rows(report)["inputs"]
    assert row.metric is None
    assert row.note.startswith("equal to the recipe's own")


def test_a_file_that_differs_behind_equal_ones_is_seen(
    measure: Measure, bins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphopt.recipes.input_comparison.DEFAULT_LIMIT", 3)
    assert measure(inputs=bins).inputs["sentence"].startswith("7 inputs equal")
    *_, last = sorted((bins / "input_bin").iterdir())
    (np.fromfile(last, np.float32) - 2).tofile(last)
    report = measure(inputs=bins)
    assert report.inputs["ok"] is False
    assert report.inputs["sentence"].startswith("the first 6 inputs equal the recipe's, of the next 0 of 1")
    assert rows(report)["inputs"].metric is not None
    last.unlink()
    assert rows(measure(inputs=bins))["inputs"].note.endswith("but 1 image without a file")


def test_a_loss_at_the_input_is_told_from_one_on_the_device(
    measure: Measure, bins: Path, project: Path
) -> None:
    change(bins, lambda pixels: pixels - 2)
    report = measure(inputs=bins, results=device_results(project, bins))
    assert report.inputs["cause"] == "mean"
    found = rows(report)
    assert list(found).index("inputs") == list(found).index("rewritten") + 1
    assert found["device"].against == "inputs"
    assert found["device"].metric == found["inputs"].metric
    assert found["device"].loss is not None
    assert found["device"].loss.points == 0
    assert report.waterfall.path == ("raw", "rewritten", "inputs", "device")
    assert "answers most like inputs" in found["device"].note
    (again,) = [row for row in measure(inputs=bins).waterfall.rows if row.stage == "inputs"]
    assert again.metric == found["inputs"].metric


def test_changed_files_are_run_again(measure: Measure, bins: Path) -> None:
    change(bins, lambda pixels: pixels * 0)
    first = rows(measure(inputs=bins))["inputs"]
    change(bins, lambda pixels: pixels + 40)
    assert rows(measure(inputs=bins))["inputs"].metric != first.metric


def test_levels_go_through_what_the_device_does_to_them(measure: Measure, bins: Path) -> None:
    for path in (bins / "input_bin").iterdir():
        np.zeros(SHAPE, np.uint8).tofile(path)
    row = rows(measure(inputs=bins))["inputs"]
    assert row.metric is not None
    assert "the rewritten model on the given files" in row.note


def test_what_cannot_be_run_says_why(measure: Measure, bins: Path) -> None:
    one = next((bins / "input_bin").iterdir())
    change(bins, lambda pixels: pixels[::-1].copy())
    one.unlink()
    row = rows(measure(inputs=bins))["inputs"]
    assert row.metric is None
    assert "1 image without a file" in row.note
    for path in (bins / "input_bin").iterdir():
        np.zeros(99, np.float32).tofile(path)
    assert rows(measure(inputs=bins))["inputs"].note == "not run: size"
    with pytest.raises(DatasetError, match="does not exist"):
        measure(inputs=bins / "none")
