import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.comparison import Tolerance
from graphopt.core.errors import DatasetError, OutputError, UsageError
from graphopt.core.files import sha256_of
from graphopt.core.preprocessing import Step
from graphopt.core.tensors import TensorSpec
from graphopt.runtime.bundle import BundleModel, write_bundle

TOLERANCE = Tolerance(atol=1e-5, rtol=1e-4, why="a test")
IMAGE = TensorSpec(name="image", shape=("batch", 3, 7, 5), dtype="float32")
LOGITS = TensorSpec(name="logits", shape=("batch", 4), dtype="float32", role="attributes")
GOLDEN = ({"image": np.zeros((2, 3, 7, 5), np.float32)}, {"logits": np.ones((2, 4), np.float32)})


def _write(folder: Path, steps: tuple[Step, ...], model: Path, **changes: Any) -> Path:
    options: dict[str, Any] = {
        "name": "small",
        "models": [BundleModel(backend="onnxruntime", name="m.onnx", path=model, tolerance=TOLERANCE)],
        "inputs": [IMAGE],
        "outputs": [LOGITS],
        "batch": 2,
        "golden": [GOLDEN],
        "steps": steps,
    }
    return write_bundle(folder, **{**options, **changes})


def test_everything_is_inside_and_described(
    tmp_path: Path, steps: tuple[Step, ...], write_model: Callable[..., Path]
) -> None:
    model, script = write_model(batch=2), tmp_path / "compile.sh"
    script.write_text("atc ...\n")
    later = BundleModel(backend="acl", name="m.om", path=None, tolerance=TOLERANCE)
    ready = BundleModel(backend="onnxruntime", name="m.onnx", path=model, tolerance=TOLERANCE)
    path = _write(
        tmp_path / "b", steps, model, models=[later, ready], scripts=[script], golden=[GOLDEN, GOLDEN]
    )
    assert sorted(item.name for item in path.parent.iterdir()) == [
        "bundle.json",
        "compile.sh",
        "device_runner.py",
        "golden.npz",
        "m.onnx",
    ]
    content = json.loads(path.read_text())
    assert content["models"] == [
        {"backend": "acl", "file": "m.om", "sha256": ""},
        {"backend": "onnxruntime", "file": "m.onnx", "sha256": sha256_of(model)},
    ]
    assert content["inputs"] == [{"name": "image", "shape": [2, 3, 7, 5], "dtype": "float32"}]
    assert content["outputs"][0] == {
        "name": "logits",
        "shape": [2, 4],
        "dtype": "float32",
        "role": "attributes",
        "batched": True,
    }
    assert content["preprocessing"][1]["width"] == 5
    assert content["prepared"] is None
    with np.load(path.parent / "golden.npz") as archive:
        assert archive["input_0"].shape == (4, 3, 7, 5)
        assert archive["output_0"].shape == (4, 4)


def test_an_output_without_batch_is_kept_whole_at_batch_1(
    tmp_path: Path, steps: tuple[Step, ...], write_model: Callable[..., Path]
) -> None:
    dets = TensorSpec(name="dets", shape=(6, 5), dtype="float32")
    golden = ({"image": np.zeros((1, 3, 7, 5), np.float32)}, {"dets": np.ones((6, 5), np.float32)})
    path = _write(tmp_path / "b", steps, write_model(), outputs=[dets], batch=1, golden=[golden, golden])
    assert json.loads(path.read_text())["outputs"][0]["batched"] is False
    with np.load(path.parent / "golden.npz") as archive:
        assert archive["output_0"].shape == (2, 6, 5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"models": []}, UsageError, "one model per backend"),
        ({"golden": []}, DatasetError, "needs golden"),
        ({"golden": [({}, GOLDEN[1])]}, DatasetError, "lack 'image'"),
        ({"golden": [(GOLDEN[0], {"logits": np.ones((3, 4))})]}, DatasetError, "different numbers"),
        ({"golden": [GOLDEN, ({"image": np.zeros(3)}, GOLDEN[1])]}, DatasetError, "do not fit each other"),
        (
            {"batch": 4, "outputs": [TensorSpec(name="d", shape=(6, 5), dtype="float32")]},
            UsageError,
            "batch size 4",
        ),
        (
            {"inputs": [TensorSpec(name="image", shape=(2, 3, "h", 5), dtype="float32")]},
            UsageError,
            "free sizes",
        ),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(
    tmp_path: Path,
    steps: tuple[Step, ...],
    write_model: Callable[..., Path],
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        _write(tmp_path / "b", steps, write_model(), **changes)
    assert not (tmp_path / "b").exists()


def test_an_existing_bundle_is_replaced_only_by_force(
    tmp_path: Path, steps: tuple[Step, ...], write_model: Callable[..., Path]
) -> None:
    model = write_model()
    _write(tmp_path / "b", steps, model)
    with pytest.raises(OutputError, match="exists"):
        _write(tmp_path / "b", steps, model)
    _write(tmp_path / "b", steps, model, force=True)
