"""A recipe that lacks parts: what still works, and what is said about the rest."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graphopt.core.errors import PreconditionError
from graphopt.recipes.describe import describe
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.recipe import Recipe


@pytest.fixture
def bare(small: Any) -> Recipe:
    """The small recipe with nothing but its graph's inputs, outputs and passes."""
    recipe: Recipe = small.RECIPE
    return dataclasses.replace(
        recipe, build=None, load=None, make_demo=None, task=None, preprocessing=(), published=()
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"demo": True}, "--demo needs what the recipe small lacks: make_demo"),
        ({"checkpoint": Path("c.pth")}, "--checkpoint needs what the recipe small lacks: build"),
        ({"onnx": Path("m.onnx"), "data": Path("d")}, "--data needs .* lacks: preprocessing"),
    ],
)
def test_a_missing_part_is_named_before_anything_is_made(
    bare: Recipe, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(PreconditionError, match=said):
        run_pipeline(bare, PipelineOptions(folder=tmp_path / "run", targets=("onnxruntime",), **options))
    assert not (tmp_path / "run").exists()


def test_without_a_task_stages_are_compared_but_not_scored(small: Any, bare: Recipe, tmp_path: Path) -> None:
    raw = small.write_onnx(tmp_path / "raw.onnx")
    options = PipelineOptions(folder=tmp_path / "run", onnx=raw, targets=("onnxruntime",), batches=(1,))
    report = run_pipeline(bare, options)
    assert report.ok
    assert report.metric == ""
    assert {row.stage: row.verdict for row in report.stages}["rewritten"] == "match"
    assert all(row.metric is None and row.flips is None for row in report.stages)


def test_the_description_says_what_is_not_there(bare: Recipe) -> None:
    content = describe(bare)
    assert content["lacks"] == ["build", "load", "make_demo", "preprocessing", "task"]
    assert content["metric"] == ""


@pytest.mark.parametrize(("rows", "first"), [(None, "detections"), (7, 7)])
def test_a_detector_answers_in_its_own_order_with_rows_open_where_they_vary(
    boxes: Any, rows: int | None, first: int | str
) -> None:
    module: Any = SimpleNamespace(rows=rows, order=("labels", "dets"))
    labels, dets = boxes.RECIPE.answers_of(module)
    assert (dets.name, dets.shape) == ("dets", (first, 5))
    assert (labels.name, labels.shape) == ("labels", (first,))


def test_any_other_module_answers_what_the_recipe_says(boxes: Any) -> None:
    module: Any = SimpleNamespace()
    assert boxes.RECIPE.answers_of(module) == boxes.RECIPE.outputs
