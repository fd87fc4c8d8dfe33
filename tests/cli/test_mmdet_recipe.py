"""A recipe made of a configuration, wherever a recipe's name is taken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.coco import COCO_CLASSES
from graphopt.runtime.datasets.synthetic_coco import write_coco

pytestmark = [pytest.mark.torch, pytest.mark.mmdet, pytest.mark.slow]

SIZE = (64, 96)
NAME = "retinanet_r50_fpn_1x_coco"


@pytest.fixture(scope="module")
def made(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """A recipe's name, its checkpoint and a data set."""
    pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("retinanet")
    config = tiny.write_config(folder, "retinanet", classes=COCO_CLASSES[:30])
    write_coco(folder / "coco", train=1, val=3, seed=5, sizes=((160, 120), (90, 120)), objects=(10, 14))
    return f"mmdet:{config}:64x96", tiny.write_checkpoint(config, SIZE), folder / "coco"


def test_a_pipeline_and_the_verbs_behind_it(
    graphopt: Any, made: tuple[str, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, checkpoint, data = made
    monkeypatch.chdir(tmp_path)
    command = ("pipeline", recipe, "--checkpoint", checkpoint, "--data", data, "--targets", "onnxruntime,atc")
    answer = graphopt(*command, "--json")
    assert answer.code == 0, answer.out[-2000:] + answer.err
    run = tmp_path / "out" / "retinanet_64x96"
    rows = {row["stage"]: row for row in answer.json["stages"]}
    assert [rows[name]["verdict"] for name in ("raw", "rewritten", "onnxruntime")] == ["match"] * 3
    assert answer.json["metric"] == "box mAP"
    assert (run / "report.html").is_file()
    assert (run / "compiled" / "atc" / "retinanet_64x96_bs1.onnx").is_file()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    torch_stage = f"torch:{recipe}@{checkpoint}"
    answer = graphopt("evaluate", f"{run}#rewritten", "--data", data, "--against", torch_stage, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["figures"]["AP"] > 0.99
    assert graphopt("validate", torch_stage, f"{run}#raw", f"{run}#rewritten").code == 0
    assert recipe in graphopt("inspect", run / "rewritten" / "model.onnx").out
    image = next(data.rglob("val2017/*.jpg"))
    answer = graphopt("run", f"{run}#rewritten", image, "--json")
    assert answer.code == 0, answer.err
    answer = graphopt("prepare", recipe, "--data", data)
    assert answer.code == 0, answer.err
    inputs = sorted((tmp_path / "elsewhere" / "retinanet_64x96-inputs" / "input_bin").iterdir())
    assert [path.stat().st_size for path in inputs] == [3 * 64 * 96 * 4] * 3
    answer = graphopt("bundle", run, "--data", data)
    assert answer.code == 0, answer.err
    bundle = tmp_path / "elsewhere" / "retinanet_64x96-device"
    assert (bundle / "retinanet_64x96_bs1.atc.sh").is_file()
    assert np.load(bundle / "golden.npz")["input_0"].shape[-3:] == (3, 64, 96)

    again = graphopt(*command, "-o", run, "--json")
    assert again.code == 0, again.err
    assert all(row["reused"] for row in again.json["stages"] if row["stage"] != "atc")


def test_a_made_recipe_is_described_as_any_other(graphopt: Any, made: tuple[str, Path, Path]) -> None:
    answer = graphopt("recipes", made[0], "--json")
    assert answer.code == 0
    assert answer.json["recipe"]["lacks"] in ([], ["make_demo"])
    assert [step for step, _ in answer.json["recipe"]["preprocessing"]][1] == "ResizeEdgesCv2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("pipeline", f"mmdet:{NAME[:-1]}:96x96", "--demo"),
            "did you mean retinanet_r50",
        ),
        (("pipeline", f"mmdet:{NAME}", "--demo"), "needs a size"),
        (("prepare", "mmdet:yolof", "--data", "x"), "there is no configuration yolof"),
        (("evaluate", f"torch:mmdet:{NAME}:9*9@c.pth", "--data", "x"), "'9*9' in"),
        (
            ("evaluate", f"torch:mmdet:{NAME}:96x96@c.pth", "--data", "x"),
            "c.pth does not exist",
        ),
        (("recipes", "mmdet:"), "names no configuration"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    graphopt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = graphopt(*arguments)
    assert answer.code == 2
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_checkpoint_of_another_model_is_refused_with_its_keys(
    graphopt: Any, made: tuple[str, Path, Path], tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tiny.write_checkpoint(tiny.write_config(tmp_path, "fcos"), SIZE)
    answer = graphopt("pipeline", made[0], "--checkpoint", other, "--targets", "onnxruntime")
    assert answer.code == 2
    assert "does not fit RetinaNet" in answer.err
    assert "unexpected (bbox_head.conv_cls.weight" in answer.err
