"""``graphopt export mmdet`` and what the other verbs do with its bundle."""

import json
import subprocess
import sys
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
NAME = "retinanet_r50_fpn_1x_coco"
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


@pytest.mark.slow
def test_an_open_batch_answers_as_single_images(graphopt: Any, tiny: Any, tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path, "retinanet")
    checkpoint = tiny.write_checkpoint(config, SIZE)
    out = tmp_path / "out"
    command = ("export", "mmdet", "--config", config, "--checkpoint", checkpoint, "--shape", SHAPE, "-o", out)
    answer = graphopt(*command, "--dynamic-batch", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["config"] == str(config)
    images = tiny.pictures(3, SIZE, seed=11)
    with OnnxRuntimeSession(out / "model.onnx") as session:
        together = session.run({"input": images.numpy()})
        assert together["dets"].shape == (3, 100, 5)
        for index, image in enumerate(images.split(1)):
            alone = session.run({"input": image.numpy()})
            assert np.allclose(alone["dets"][0], together["dets"][index], atol=1e-3)
    again = graphopt(*command)
    assert (again.code, "exists; use --force" in again.err) == (2, True)


@pytest.mark.slow
def test_a_configuration_that_is_code_and_a_checkpoint_that_fits_in_part(
    graphopt: Any, tiny: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from graphopt.exporters.mmdet.configs import packaged_configs

    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()\nmodel['bbox_head']['num_classes'] = sum([1, 2])"
    config = tiny.write_config(tmp_path, "retinanet", data=code)
    # mmengine 0.10 finds bases by name only with a setuptools of before 2025.
    config.write_text(config.read_text().replace("mmdet::", f"{packaged_configs()}/"))
    other = tiny.write_checkpoint(tiny.write_config(tmp_path, "fcos"), SIZE)
    np.savez(tmp_path / "golden.npz", input=tiny.pictures(2, SIZE).numpy())
    command = ("export", "mmdet", "--config", config, "--checkpoint", other, "--shape", SHAPE)

    refused = graphopt(*command)
    assert (refused.code, mark.exists()) == (2, False)
    assert "cannot be read without running code" in refused.err
    assert "graphopt export mmdet --exec-config" in refused.err
    refused = graphopt(*command, "--exec-config")
    assert refused.code == 2
    assert "missing (bbox_head.retina_cls.weight" in refused.err.replace("neck.fpn_convs.3.conv.weight, ", "")
    assert mark.exists()

    out = tmp_path / "out"
    answer = graphopt(
        *command, "--exec-config", "--partial", "--data", tmp_path / "golden.npz", "-o", out, "--json"
    )
    assert answer.code == 0, answer.err
    assert "keys are not used: bbox_head.conv_centerness.bias" in caplog.text
    assert "keys stay as they were:" in caplog.text
    assert json.loads((out / "model.onnx.json").read_text())["recipe"] == ""
    golden = np.load(out / "golden.npz")
    assert any(np.array_equal(golden[name], tiny.pictures(2, SIZE).numpy()[:1]) for name in golden.files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--config", "retinanet_r50_fpn_1x_cocoo", "--shape", SHAPE),
            "did you mean retinanet_r50_fpn_1x_coco",
        ),
        (("--config", "no/such.py", "--shape", SHAPE), "there is no configuration no/such.py"),
        (("--config", "retinanet_r50_fpn_1x_coco"), "Missing option '--shape'"),
        (("--config", "retinanet_r50_fpn_1x_coco", "--shape", "64,96"), "--shape 64,96 is not four numbers"),
        (
            ("--config", "retinanet_r50_fpn_1x_coco", "--shape", "2,3,64,96"),
            "--dynamic-batch for more images",
        ),
        (("--shape", SHAPE), "Missing option '--config'"),
        (
            ("--config", NAME, "--shape", SHAPE, "--checkpoint", "none.pth"),
            "none.pth: No such file",
        ),
    ],
)
def test_bad_usage_is_answered_in_one_line(
    graphopt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = graphopt("export", "mmdet", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["mmdet", "torch", "mmcv"])
def test_a_missing_package_is_named_with_its_remedy(tmp_path: Path, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from graphopt import cli; cli.main()"
    command = ("export", "mmdet", "--config", "retinanet_r50_fpn_1x_coco", "--shape", SHAPE)
    answer = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 3, answer.stderr
    assert missing in answer.stderr
    assert "pip install 'graphopt[mmdet]'" in answer.stderr
    assert not list(tmp_path.iterdir())
