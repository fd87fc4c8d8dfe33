"""Half precision at the suppression is a row of its own, apart from what the device loses besides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from graphopt.core.onnx_files import from_proto, write_model
from graphopt.recipes.drift import DriftOptions, measure_drift
from graphopt.recipes.drift_report import DriftReport
from graphopt.recipes.run_folder import RunFolder
from graphopt.recipes.run_sources import RunSources
from graphopt.recipes.stages import parse_stage
from graphopt.runtime.preprocess import preprocess

Measure = Callable[..., DriftReport]
ROWS, CLASSES, FAR = 7, 80, 2000.0
"""So far out float16 counts whole pixels: boxes of a dozen of them suffer."""


def write_detector(path: Path, *, height: int, width: int) -> None:
    """Seven boxes that move with the brightness, far from the origin while they are suppressed."""
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 30, (ROWS, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 18, (ROWS, 2))], axis=1) + FAR
    scores = np.zeros((1, ROWS, CLASSES))
    scores[0, np.arange(ROWS), [0, 2, 5, 8, 18, 58, 62]] = 0.95 - 0.1 * np.arange(ROWS)
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
        far (float[1,3,{height},{width}] image) => (float[{ROWS},5] dets, int64[{ROWS}] labels)
        {{
            mean = ReduceMean <keepdims = 0> (image)
            moved = Mul (mean, way)
            shifted = Add (boxes, moved)
            found, best, classes, count = npu.BatchMultiClassNMS <max_size_per_class = 5,
                max_total_size = {ROWS},
                iou_threshold = 0.9, score_threshold = 0.05> (shifted, scores)
            near = Sub (found, far)
            column = Unsqueeze <axes = [2]> (best)
            rows = Concat <axis = 2> (near, column)
            dets = Squeeze <axes = [0]> (rows)
            numbers = Squeeze <axes = [0]> (classes)
            labels = Cast <to = 7> (numbers)
        }}
    """)
    values = {
        "boxes": boxes.reshape(1, ROWS, 1, 4).astype(np.float32),
        "scores": scores.astype(np.float32),
        "way": np.full(4, 9.0, np.float32),
        "far": np.array(FAR, np.float32),
    }
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    write_model(from_proto(proto), path)


@pytest.fixture
def run(boxes: Any, tmp_path: Path) -> Path:
    """A run of that detector on twelve scenes."""
    folder = tmp_path / "run"
    runs = RunFolder(folder, "boxes")
    for stage in ("raw", "rewritten"):
        (folder / stage).mkdir()
        write_detector(folder / stage / "model.onnx", height=boxes.HEIGHT, width=boxes.WIDTH)
    runs.stage("made by hand", {}, dict, outputs=())
    RunSources(data=boxes.write_data(tmp_path / "data", images=12)).save(folder)
    return folder


@pytest.fixture
def measure(boxes: Any, run: Path) -> Measure:
    def call(**options: Any) -> DriftReport:
        return measure_drift(boxes.RECIPE, DriftOptions(run=run, against="raw", **options)).report

    return call


def results(boxes: Any, run: Path, stage: str) -> Path:
    """What a device would write that computes like an estimate."""
    folder = run.parent / "results"
    folder.mkdir()
    with parse_stage(f"{stage}:{run / 'rewritten' / 'model.onnx'}", recipe_name="boxes").open() as session:
        for sample in boxes.RECIPE.task.open_data(run.parent / "data"):
            fed = preprocess(sample.path, boxes.RECIPE.preprocessing)[np.newaxis]
            answer = session.run({session.inputs[0].name: fed})
            for number, name in enumerate(("dets", "labels")):
                answer[name].tofile(folder / f"{Path(sample.name).stem}_{number}.bin")
    return folder


def test_a_loss_at_the_suppression_is_named(boxes: Any, run: Path, measure: Measure) -> None:
    report = measure(results=results(boxes, run, "fp16-nms"))
    rows = {row.stage: row for row in report.waterfall.rows}
    half, device = rows["fp16-nms"], rows["device"]
    assert half.estimate
    assert half.against == "rewritten"
    assert half.loss is not None
    assert half.loss.points > 1
    assert not half.loss.within_noise
    assert device.against == "fp16-nms"
    assert device.loss is not None
    assert device.loss.points == 0
    assert report.waterfall.path == ("raw", "rewritten", "fp16-nms", "device")
    assert report.waterfall.sentence.endswith("enter at fp16-nms (an estimate)")


def test_estimates_fail_no_gate(measure: Measure) -> None:
    report = measure(max_drop=0.1)
    rows = {row.stage: row for row in report.waterfall.rows}
    assert rows["fp16-nms"].loss is not None
    assert rows["fp16-nms"].loss.points > 0.1
    assert rows["fp16"].against == "rewritten"
    assert report.ok
    assert report.waterfall.path[-1] in ("fp16-nms", "fp16")
