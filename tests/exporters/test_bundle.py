"""The export bundle: complete, proven against the network, whole or absent."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.comparison import Tolerance
from graphopt.core.errors import ExportError, OutputError, UsageError
from graphopt.core.files import sha256_of
from graphopt.core.golden import read_golden
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array, TensorSpec
from graphopt.exporters.bundle import write_bundle
from graphopt.exporters.models.deepmar import build_deepmar

pytest.importorskip("torch")
import torch

pytestmark = pytest.mark.torch

SHA = "ab" * 32


def specs(batch: int | str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    image = TensorSpec(name="actual_input_1", shape=(batch, 3, 64, 64), dtype="float32", layout="NCHW")
    logits = TensorSpec(name="output1", shape=(batch, 5), dtype="float32", unit="logit", role="attributes")
    return (image,), (logits,)


def network() -> Any:
    torch.manual_seed(6)
    module = build_deepmar(num_attributes=5, image_size=64, blocks=(1, 1, 1, 1), width=4)
    torch.nn.init.normal_(module.classifier.weight)
    return module


def samples(count: int, batch: int = 1) -> list[dict[str, Array]]:
    rng = np.random.default_rng(8)
    return [{"actual_input_1": rng.standard_normal((batch, 3, 64, 64), np.float32)} for _ in range(count)]


def bundle(folder: Path, module: Any, batch: int | str = 1, **changes: Any) -> Artefact:
    inputs, outputs = specs(batch)
    asked: dict[str, Any] = {
        "module": module,
        "inputs": inputs,
        "outputs": outputs,
        "samples": samples(2),
        "recipe": "deepmar",
        "opset": 11,
        "checkpoint_sha256": SHA,
        "force": False,
    }
    return write_bundle(folder, **{**asked, **changes})


def test_a_bundle_is_complete_and_names_its_parent(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    artefact = bundle(folder, network())

    assert sorted(p.name for p in folder.iterdir()) == [
        "golden.npz",
        "manifest.json",
        "model.onnx",
        "model.onnx.json",
    ]
    assert Artefact.load(folder / "model.onnx") == artefact
    assert artefact.path == folder / "model.onnx"
    assert (artefact.stage, artefact.target, artefact.recipe, artefact.batch) == ("raw", "onnx", "deepmar", 1)
    assert artefact.parent_sha256 == SHA
    assert artefact.outputs[0].role == "attributes"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["checkpoint_sha256"] == SHA
    assert manifest["settings"]["opset"] == 11
    assert set(manifest["versions"]) >= {"graphopt", "python", "torch", "onnx"}
    assert manifest["files"] == {
        name: sha256_of(folder / name) for name in ("golden.npz", "model.onnx", "model.onnx.json")
    }
    metadata = {item.key: item.value for item in onnx.load(folder / "model.onnx").metadata_props}
    assert metadata["graphopt.recipe"] == "deepmar"
    assert metadata["graphopt.parent_sha256"] == SHA


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_golden_outputs_are_the_networks_own(tmp_path: Path, batch: int | str, legacy: bool) -> None:
    module = network().train()
    given = samples(3)
    artefact = bundle(tmp_path / "bundle", module, batch, samples=given, legacy_torch16=legacy)

    assert module.training
    module.eval()
    golden = read_golden(tmp_path / "bundle")
    assert len(golden) == 3
    for (feeds, results), sample in zip(golden, given, strict=True):
        np.testing.assert_array_equal(feeds["actual_input_1"], sample["actual_input_1"])
        with torch.no_grad():
            expected = module(torch.from_numpy(sample["actual_input_1"])).numpy()
        np.testing.assert_array_equal(results["output1"], expected)
    with OnnxRuntimeSession(artefact.path) as session:
        assert session.inputs[0].shape == (batch, 3, 64, 64)
    assert artefact.batch == (1 if batch == 1 else None)


def test_full_size_deepmar(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = (TensorSpec(name="actual_input_1", shape=(1, 3, 224, 224), dtype="float32"),)
    outputs = (TensorSpec(name="output1", shape=(1, 35), dtype="float32"),)
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    artefact = bundle(
        tmp_path / "b", build_deepmar(), inputs=inputs, outputs=outputs, samples=[{"actual_input_1": image}]
    )
    assert artefact.inputs == inputs


class Forgetful(torch.nn.Module):
    """Decides by the values it sees, which tracing bakes in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) if x.sum() > 0 else x.amax(dim=(2, 3))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_graph_that_answers_differently_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    outputs = (TensorSpec(name="output1", shape=(1, 3), dtype="float32"),)
    positive = {"actual_input_1": np.abs(samples(1)[0]["actual_input_1"])}
    negative = {"actual_input_1": -positive["actual_input_1"]}
    bundle(tmp_path / "same", Forgetful(), outputs=outputs, samples=[positive])
    with pytest.raises(ExportError, match=r"differs from the network on sample 1, output output1"):
        bundle(tmp_path / "bundle", Forgetful(), outputs=outputs, samples=[positive, negative])
    assert [path.name for path in tmp_path.iterdir()] == ["same"]


def test_a_baked_batch_is_noticed_with_samples_of_one_size(tmp_path: Path) -> None:
    class Baked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.shape[0] if not torch.jit.is_tracing() else int(x.shape[0])
            mean = x.flatten(1).mean(1, keepdim=True)
            return mean + torch.arange(5.0) / rows + torch.zeros(rows, 5)

    inputs, _ = specs("batch")
    outputs = (TensorSpec(name="output1", shape=("batch", 5), dtype="float32"),)
    with pytest.raises(ExportError):
        bundle(tmp_path / "b", Baked(), inputs=inputs, outputs=outputs)


def test_the_tolerance_decides(tmp_path: Path) -> None:
    nothing = Tolerance(atol=0, rtol=0, why="a test: bit for bit")
    torch.manual_seed(6)
    deep = build_deepmar(num_attributes=5, image_size=64, blocks=(2, 2, 2, 2), width=8)
    torch.nn.init.normal_(deep.classifier.weight)
    bundle(tmp_path / "usual", deep)
    with pytest.raises(ExportError, match="values differ"):
        bundle(tmp_path / "strict", deep, tolerance=nothing)


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one sample"):
        bundle(tmp_path / "b", network(), samples=[])
    with pytest.raises(UsageError, match="actual_input_1"):
        bundle(tmp_path / "b", network(), samples=samples(1, batch=2))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_without_force(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    bundle(folder, network())
    before = sha256_of(folder / "manifest.json")
    with pytest.raises(OutputError, match="exists"):
        bundle(folder, network())
    assert sha256_of(folder / "manifest.json") == before
    bundle(folder, network(), "batch", force=True)
    assert sha256_of(folder / "manifest.json") != before


def test_the_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        bundle(tmp_path / name, network())
    for name in ("model.onnx", "golden.npz", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
