"""Faster R-CNN DCN from a checkpoint to stages with as many rows as there are, and stages with a hundred."""

import dataclasses
import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from graphopt.core.golden import read_golden
from graphopt.core.session import OnnxRuntimeSession, Session
from graphopt.recipes.export import export_recipe
from graphopt.recipes.named_outputs import predict_named
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.rewrite import rewrite
from graphopt.recipes.row_comparison import compare_predictions
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.preprocess import preprocess
from graphopt.validate.stages import compare_sessions

pytestmark = [pytest.mark.torch, pytest.mark.mmdet, pytest.mark.slow]

CONFIG = "faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco"
SIDE = 128
ROWS = 100
BACKGROUND, THRESHOLD = 9.0, 0.5
"""Logit of the background and least score with which fewer objects are found than fit."""


@dataclass(frozen=True)
class Run:
    """A small detector, thin, with its stages."""

    recipe: Recipe
    bundle: Path
    raw: Path
    rewritten: Path
    report: Any
    dataset: Any
    sessions: dict[str, Session]


def _calm() -> ModuleType:
    path = Path(__file__).parents[2] / "exporters" / "mmdet" / "calm_detectors.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """From a checkpoint and a data set to all stages."""
    import torch

    from graphopt.exporters.torch_session import TorchSession
    from graphopt.recipes.detector_parts import network
    from graphopt.recipes.models.faster_rcnn_dcn import faster_rcnn_dcn_recipe
    from graphopt.runtime.datasets.synthetic_coco import write_coco

    folder, calm = tmp_path_factory.mktemp("frcnn"), _calm()
    changes = {**calm.thin(CONFIG), "test_cfg.rcnn.score_thr": THRESHOLD}
    recipe = dataclasses.replace(
        faster_rcnn_dcn_recipe(SIDE), build=network(CONFIG, (SIDE, SIDE), changes=changes)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = recipe.needed_build("a test")()
        calm.calm(module, (SIDE, SIDE))
    with torch.no_grad():
        module.model.roi_head.bbox_head.fc_cls.bias[-1] = BACKGROUND
    checkpoint = folder / "epoch_12.pth"
    torch.save({"meta": {"epoch": 12}, "state_dict": module.model.state_dict()}, checkpoint)
    coco = write_coco(
        folder, train=1, val=4, seed=3, objects=(8, 14), sizes=((160, 120), (120, 160), (128, 128), (150, 90))
    )
    raw = export_recipe(recipe, folder / "bundle", checkpoint=checkpoint, data=coco).path
    report = rewrite(raw, folder / "rewritten.onnx", recipe.passes)
    loaded = recipe.needed_module("a test", checkpoint)
    with (
        OnnxRuntimeSession(raw) as first,
        OnnxRuntimeSession(folder / "rewritten.onnx") as second,
        TorchSession(loaded, recipe.inputs, recipe.answers_of(loaded)) as network_itself,
    ):
        yield Run(
            recipe=recipe,
            bundle=folder / "bundle",
            raw=raw,
            rewritten=folder / "rewritten.onnx",
            report=report,
            dataset=recipe.needed_task("a test").open_data(coco),
            sessions={"torch": network_itself, "raw": first, "rewritten": second},
        )
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def predictions(run: Run) -> dict[str, Predictions]:
    """What each stage says of all images."""
    return {name: predict_named(item, run.dataset, run.recipe) for name, item in run.sessions.items()}


def test_the_recipes_passes_are_proven_on_its_own_export(run: Run) -> None:
    assert run.report.verification.status.value == "proven"
    fired = {report.name: len(report.applied) for report in run.report.passes}
    assert (fired["replace_dcn"], fired["replace_roi_extractor"], fired["replace_nms"]) == (13, 1, 2)


def test_network_and_raw_graph_answer_with_what_is_found(run: Run) -> None:
    found = [len(answers["dets"]) for _, answers in read_golden(run.bundle)]
    assert all(5 <= rows < ROWS for rows in found), found
    (feeds, _), *_ = read_golden(run.bundle)
    for name, rows in (("torch", found[0]), ("raw", found[0]), ("rewritten", ROWS)):
        dets, labels = (run.sessions[name].run(feeds)[item] for item in ("dets", "labels"))
        assert (dets.shape, labels.shape) == ((rows, 5), (rows,)), name
    assert not run.sessions["rewritten"].run(feeds)["dets"][found[0] :].any()


def test_rows_are_filled_up_so_that_stages_are_compared_and_scored_alike(
    run: Run, predictions: dict[str, Predictions]
) -> None:
    task = run.recipe.needed_task("a test")
    scores = {}
    for name, item in predictions.items():
        assert item.outputs["dets"].shape == (len(run.dataset), ROWS, 5), name
        assert item.outputs["labels"].shape == (len(run.dataset), ROWS), name
        scores[name] = task.score(run.dataset, item).headline
        compared = compare_predictions(predictions["torch"].outputs, item.outputs, run.recipe)
        assert all(one.passed for one in compared), (name, compared)
    assert scores["raw"] == pytest.approx(scores["torch"], abs=1e-6)
    assert scores["rewritten"] == pytest.approx(scores["torch"], abs=1e-6)
    assert (predictions["torch"].outputs["dets"][:, -1] == 0).all()


def test_a_lost_row_is_noticed_though_others_are_filled_up(
    run: Run, predictions: dict[str, Predictions]
) -> None:
    dets = predictions["raw"].outputs["dets"].copy()
    dets[0, 0] = 0
    outputs = {"dets": dets, "labels": predictions["raw"].outputs["labels"]}
    compared = compare_predictions(predictions["torch"].outputs, outputs, run.recipe)
    assert not all(one.passed for one in compared)


def test_sessions_are_compared_whatever_their_rows(run: Run) -> None:
    feeds = [
        {"input": preprocess(sample.path, run.recipe.preprocessing)[np.newaxis]} for sample in run.dataset
    ]
    report = compare_sessions(
        run.sessions["torch"],
        {"raw": run.sessions["raw"], "rewritten": run.sessions["rewritten"]},
        feeds,
        run.recipe.tolerance,
        sample_kind="scenes",
        outputs=run.recipe.outputs,
    )
    assert report.passed
