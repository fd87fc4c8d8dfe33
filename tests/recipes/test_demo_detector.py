"""Demo detectors really detect, alike in every runtime, and the same for one seed."""

import functools
import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import Detections
from graphopt.core.errors import UsageError
from graphopt.exporters.checkpoint import read_checkpoint
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.demo_detector import make_detector_demo
from graphopt.recipes.models.faster_rcnn_dcn import faster_rcnn_dcn_recipe
from graphopt.recipes.models.fcos import fcos_recipe
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.recipe import Demo, Recipe
from graphopt.runtime.preprocess import preprocess

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.meshgrid"),
    pytest.mark.torch,
    pytest.mark.mmdet,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("torch", "mmdet", "cv2")),
        reason="mmdet and OpenCV are not installed",
    ),
]
RECIPES = {"fcos": lambda: fcos_recipe(96, 128), "faster_rcnn_dcn": lambda: faster_rcnn_dcn_recipe(128)}
COUNTS = {"fit_images": 16, "test_images": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that makes the demo of a small recipe, once."""

    @functools.cache
    def make(name: str) -> tuple[Recipe, Demo]:
        recipe = RECIPES[name]()
        return recipe, make_detector_demo(recipe, tmp_path_factory.mktemp(name), **COUNTS)

    return make


@pytest.mark.parametrize("counts", [{"fit_images": 9}, {"test_images": 0}])
def test_refuses_impossible_counts(tmp_path: Path, counts: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least"):
        make_detector_demo(RECIPES["fcos"](), tmp_path, **counts)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_it_detects_in_unseen_images_what_mmdet_and_the_export_agree_on(made: Any, name: str) -> None:
    import torch

    from graphopt.exporters.mmdet.detector import predicted

    recipe, demo = made(name)
    module = recipe.needed_module("a test", demo.checkpoint)
    dataset = recipe.task.open_data(demo.data)
    assert len(dataset) == COUNTS["test_images"]
    classes: set[int] = set()
    for sample in dataset:
        image = torch.from_numpy(preprocess(sample.path, recipe.preprocessing))[None]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted, labels = predicted(module.model, image)[0]
            answer = dict(zip((spec.name for spec in recipe.outputs), module(image), strict=True))
        rows = answer["dets"].reshape(-1, 5)
        kept = rows[:, 4] > 0
        assert 20 <= len(wanted) <= 100  # all that is kept: at this size images differ a lot
        classes.update(labels.tolist())
        compared = compare_detections(
            (wanted.numpy(), labels.numpy()),
            (rows[kept].numpy(), answer["labels"].reshape(-1)[kept].numpy()),
            Detections(dets="dets"),
        )
        assert compared.passed, compared.failure
    assert len(classes) > 2


@pytest.mark.slow
def test_scores_mean_something(made: Any) -> None:
    """The labels of other images are met by chance only."""
    import torch

    recipe, demo = made("faster_rcnn_dcn")
    from graphopt.runtime.predictions import Predictions

    module = recipe.needed_module("a test", demo.checkpoint)
    dataset = recipe.task.open_data(demo.data)
    rows = np.zeros((len(dataset), 100, 6), np.float32)
    for place, sample in enumerate(dataset):
        with torch.no_grad():
            dets, labels = module(torch.from_numpy(preprocess(sample.path, recipe.preprocessing))[None])
        rows[place, : len(dets), :5], rows[place, : len(dets), 5] = dets, labels

    def score(order: Any) -> float:
        outputs = {"dets": rows[order][..., :5], "labels": rows[order][..., 5].astype(np.int64)}
        return float(recipe.task.score(dataset, Predictions(names=dataset.names, outputs=outputs)).headline)

    assert score([0, 1, 2]) > 0.03
    assert score([0, 1, 2]) > 3 * score([1, 2, 0])


@pytest.mark.slow
def test_one_seed_makes_the_same_weights(made: Any, tmp_path: Path) -> None:
    recipe, demo = made("fcos")
    again = make_detector_demo(recipe, tmp_path, **COUNTS)
    other = make_detector_demo(recipe, tmp_path / "other", **COUNTS, seed=8)
    first, second, third = (_digest(item.checkpoint) for item in (demo, again, other))
    assert first == second != third


def _digest(checkpoint: Path) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(read_checkpoint(checkpoint).tensors().items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("config", ["retinanet_r50_fpn_1x_coco", "faster-rcnn_r50_fpn_1x_coco"])
def test_the_pipeline_keeps_what_the_demo_detects(config: str, tmp_path: Path) -> None:
    recipe = find_recipe(f"mmdet:{config}:96x128")
    options = PipelineOptions(
        folder=tmp_path / "run", demo=True, targets=("onnxruntime",), batches=(1,), limit=2, estimates=False
    )
    report = run_pipeline(recipe, options)
    assert report.ok, report.problems
    rows = {row.stage: row for row in report.stages}
    assert list(rows) == ["torch", "raw", "rewritten", "onnxruntime"]
    assert (rows["torch"].metric or 0) > 0
    for name in ("raw", "rewritten", "onnxruntime"):
        error = rows[name].max_error
        assert error is not None
        assert error < 1e-2  # pixels
    again = run_pipeline(recipe, options)
    assert all(row.reused for row in again.stages)
