"""A model that calls a target's operator goes everywhere that others go."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.recipes.evaluation import evaluate
from graphopt.recipes.inference import bench, read_images
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.validation import validate_stages


@pytest.fixture
def model(small: Any, tmp_path: Path) -> Path:
    small.write_data(tmp_path / "data")
    path: Path = small.write_deformable_onnx(tmp_path / "deformed.onnx")
    return path


def test_its_images_are_read_scored_and_timed(model: Path, tmp_path: Path) -> None:
    images = [tmp_path / "data/images/00001.png"]
    (found,) = read_images(str(model), images, recipe_name="small")
    assert found.readings
    scored = evaluate(str(model), tmp_path / "data", recipe_name="small")
    (rows,) = scored.predictions.outputs.values()
    assert np.isfinite(rows).all()
    (timing,) = bench(str(model), seconds=0.05, recipe_name="small")
    assert timing.throughput > 0


@pytest.mark.usefixtures("no_atc")
def test_a_pipeline_rewrites_proves_compiles_and_scores_it(small: Any, model: Path, tmp_path: Path) -> None:
    options = PipelineOptions(
        folder=tmp_path / "run",
        onnx=model,
        data=tmp_path / "data",
        targets=("onnxruntime", "atc"),
        batches=(1,),
    )
    report = run_pipeline(small.RECIPE, options)
    assert report.ok, report.problems
    rewritten = onnx.load(tmp_path / "run/rewritten/model.onnx")
    assert [item.name for item in rewritten.functions] == ["DeformableConv2D"]
    for_atc = onnx.load(tmp_path / "run/compiled/atc/small_bs1.atc.onnx")
    assert not for_atc.functions
    assert ("", "DeformableConv2D") in {(node.domain, node.op_type) for node in for_atc.graph.node}
    assert validate_stages([str(model), f"{tmp_path / 'run'}#compiled"]).passed
