"""The RefineNet demo really segments, and only because its masks are true."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import UsageError
from graphopt.exporters.checkpoint import read_checkpoint
from graphopt.recipes.demo_refinenet import make_refinenet_demo
from graphopt.recipes.evaluation import evaluate
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.tasks.segmentation import SegmentationTask

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("counts", [(0, 5), (5, 0)])
def test_refuses_impossible_counts(tmp_path: Path, counts: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        make_refinenet_demo(tmp_path, fit_images=counts[0], test_images=counts[1])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_narrow_demo_segments_unseen_scenes_far_better_than_chance(
    narrow_refinenet: Any, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint.pth.tar").write_text("of other pictures")
    demo = narrow_refinenet.RECIPE.needed_demo("a test")(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pth.tar", "data"]
    meta = read_checkpoint(demo.checkpoint).meta
    assert (meta["demo_seed"], meta["demo_images"]) == (7, 14)

    found = evaluate(f"torch:narrow_refinenet@{demo.checkpoint}", demo.data)
    assert found.score.samples == 5
    task, predictions = narrow_refinenet.RECIPE.task, found.predictions
    background = np.zeros_like(predictions.outputs["output"])
    background[:, 0] = 1
    constant = _score(task, found.dataset, predictions, background)
    shuffled = _score(task, found.dataset, predictions, np.roll(predictions.outputs["output"], 1, axis=0))
    assert found.score.headline > 0.5
    assert found.score.headline > 2.5 * max(constant.headline, shuffled.headline)
    assert found.score.figures["pixel_accuracy"] > constant.figures["pixel_accuracy"] + 0.05


def test_an_interrupted_demo_leaves_no_checkpoint(
    narrow_refinenet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "checkpoint.pth.tar").write_text("of other pictures")
    monkeypatch.setattr("graphopt.recipes.demo_refinenet.make_segmentation_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        narrow_refinenet.RECIPE.needed_demo("a test")(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def _score(task: SegmentationTask, dataset: Any, predictions: Predictions, logits: Any) -> Any:
    return task.score(dataset, Predictions(names=predictions.names, outputs={"output": logits}))
