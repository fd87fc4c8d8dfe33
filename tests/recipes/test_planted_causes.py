"""Each planted cause of lost points is read off drift: the row where it enters, and its name."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.recipes import models
from graphopt.recipes.pipeline import run_pipeline
from graphopt.recipes.pipeline_options import PipelineOptions
from graphopt.runtime.datasets.synthetic_coco import write_coco

pytest.importorskip("cv2")
pytest.importorskip("pycocotools")
HERE = Path(__file__).resolve().parent


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


causes: Any = _load("planted_causes")
mutants: Any = _load("detector_mutants")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A finished run of the small deformable detector on drawn scenes; its own raw answers are true."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "__path__", [*models.__path__, str(HERE.parent / "fakes" / "recipes")])
        recipe = importlib.import_module("graphopt.recipes.models.deformable").RECIPE
        _load("small_detector").write_small_detector(folder / "raw.onnx")
        sizes = ((130, 70), (60, 120), (115, 85))
        write_coco(folder / "data", train=1, val=6, seed=4, sizes=sizes, objects=(6, 9))
        options = PipelineOptions(
            folder=folder / "run",
            onnx=folder / "raw.onnx",
            data=folder / "data",
            targets=("onnxruntime",),
            batches=(1,),
            estimates=False,
        )
        report = run_pipeline(recipe, options)
        assert (folder / "run" / "rewritten" / "model.onnx").is_file(), report.problems
        yield causes.Bench(recipe, folder / "run", folder / "work", against="raw")


@pytest.mark.parametrize(
    ("cause", "named"),
    [
        ("BGR for RGB", "channel_order"),
        ("wrong mean", "mean"),
        ("nearest resize", "resize_kernel"),
        ("padding on the wrong side", "padding_side"),
        ("half-pixel shift", "half_pixel_shift"),
    ],
)
def test_a_wrong_input_enters_at_the_inputs_and_is_named(bench: Any, cause: str, named: str) -> None:
    found = bench.fed(cause)
    assert found.named == named, found.report.inputs
    assert found.enters == "inputs"
    assert found.lost > 1
    assert found.rows["device"] == 0


def test_a_wrong_class_map_enters_at_the_device(bench: Any) -> None:
    found = bench.answered("wrong class map", lambda outputs: [outputs[0], outputs[1] + 1])
    assert found.enters == "device"
    assert found.lost > 50
    assert "one" in found.named


def test_swapped_offsets_enter_at_the_rewritten_model(bench: Any) -> None:
    found = bench.rewrote("swapped offsets", mutants.offsets_swapped)
    assert found.enters == "rewritten"
    assert found.rows["rewritten"] > 1


def test_half_precision_at_the_suppression_enters_there(bench: Any) -> None:
    found = bench.ran_as("fp16 NMS", "fp16-nms")
    (device,) = [row for row in found.report.waterfall.rows if row.stage == "device"]
    assert device.against == "fp16-nms"
    assert found.rows["device"] == pytest.approx(0, abs=1e-9)
    assert np.isfinite(found.rows["fp16-nms"])
