"""``graphopt export mmdet`` and what the other verbs do with its bundle."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import Detections
from graphopt.core.session import OnnxRuntimeSession

pytestmark = [pytest.mark.torch, pytest.mark.mmdet]

SIZE = (64, 96)
SHAPE = "1,3,64,96"
KINDS = ("retinanet", "fcos", "atss", "faster_rcnn", "cascade_rcnn")


def predicted(config: Path, checkpoint: Path, image: Any) -> tuple[Any, Any]:
    from graphopt.exporters.mmdet.detector import predicted
    from graphopt.recipes.mmdet_export import build_detector, load_detector_weights

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = build_detector(str(config), SIZE)
        load_detector_weights(module, checkpoint)
        dets, labels = predicted(module.model, image)[0]
    return dets.numpy(), labels.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_answers_what_mmdet_predicts(graphopt: Any, tiny: Any, tmp_path: Path, kind: str) -> None:
    config = tiny.write_config(tmp_path, kind)
    checkpoint = tiny.write_checkpoint(config, SIZE)
    out = tmp_path / "out"
    answer = graphopt(
        "export", "mmdet", "--config", config, "--checkpoint", checkpoint, "--shape", SHAPE, "-o", out
    )
    assert answer.code == 0, answer.err
    images = tiny.pictures(3, SIZE, seed=11).split(1)
    found = []
    with OnnxRuntimeSession(out / "model.onnx") as session:
        for image in images:
            result = session.run({"input": image.numpy()})
            wanted = predicted(config, checkpoint, image)
            compared = compare_detections(
                wanted, (result["dets"], result["labels"]), Detections(dets="dets", labels="labels")
            )
            assert compared.passed, compared.failure
            assert len(wanted[0]) >= 5
            found.append(wanted[0])
    # A suppression that is baked in would keep the boxes of the traced image.
    assert found[0].shape != found[1].shape or not np.allclose(found[0], found[1], atol=1)

    if kind not in ("atss", "cascade_rcnn"):
        return
    recipe = json.loads((out / "model.onnx.json").read_text())["recipe"]
    assert recipe == f"mmdet:{config}:64x96"
    answer = graphopt("apply", out / "model.onnx", "--recipe", recipe, "--verify", "off")
    assert answer.code == 0, answer.err
    kinds = [node.op_type for node in onnx.load(out / "model.opt.onnx").graph.node]
    assert kinds.count("BatchMultiClassNMS") == (2 if "rcnn" in kind else 1)
    assert kinds.count("RoiExtractor") == (3 if "rcnn" in kind else 0)
    answer = graphopt("validate", f"torch:{recipe}@{checkpoint}", out / "model.opt.onnx")
    assert answer.code == 0, answer.out
