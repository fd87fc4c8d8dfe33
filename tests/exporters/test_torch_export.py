"""The TorchScript export: what was asked for comes out, and the module stays as it was."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.errors import ExportError, OutputError
from graphopt.core.onnx_files import load_model, output_specs
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.exporters.models.deepmar import build_deepmar
from graphopt.exporters.torch_export import export_module

pytest.importorskip("torch")
import torch

pytestmark = pytest.mark.torch


def small() -> torch.nn.Module:
    torch.manual_seed(3)
    network = build_deepmar(num_attributes=5, image_size=64, blocks=(1, 1, 1, 1), width=4)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(part.running_var, 0.5, 1.5)
    torch.nn.init.normal_(network.classifier.weight)
    return network


def images(count: int) -> dict[str, Array]:
    return {"image": np.random.default_rng(count).standard_normal((count, 3, 64, 64), np.float32)}


def answer(network: torch.nn.Module, feeds: dict[str, Array]) -> Array:
    with torch.no_grad():
        result: Array = network(torch.from_numpy(feeds["image"])).numpy()
    return result


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keep_batchnorm", [False, True])
def test_the_file_answers_as_the_module(tmp_path: Path, keep_batchnorm: bool) -> None:
    network, feeds = small(), images(1)
    path = tmp_path / "m.onnx"
    export_module(network, feeds, ["logits"], path, keep_batchnorm=keep_batchnorm)

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 11)]
    kinds = {node.op_type for node in model.graph.node}
    assert ("BatchNormalization" in kinds) is keep_batchnorm
    with OnnxRuntimeSession(path) as session:
        assert [(spec.name, spec.shape) for spec in session.inputs] == [("image", (1, 3, 64, 64))]
        assert [(spec.name, spec.shape) for spec in session.outputs] == [("logits", (1, 5))]
        assert_close(session.run(feeds)["logits"], answer(network, feeds))


def test_this_torch_leaves_no_pad_before_the_pool(tmp_path: Path) -> None:
    export_module(small(), images(1), ["logits"], tmp_path / "m.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert "Pad" not in kinds
    assert not {"Shape", "Gather", "Reshape"} & set(kinds)


def test_a_dynamic_batch_stays_open(tmp_path: Path) -> None:
    network = small()
    path = tmp_path / "m.onnx"
    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    export_module(network, images(1), ["logits"], path, dynamic_axes=axes)
    with OnnxRuntimeSession(path) as session:
        assert session.inputs[0].shape == ("batch", 3, 64, 64)
        assert session.outputs[0].shape == ("batch", 5)
        for count in (1, 3):
            feeds = images(count)
            assert_close(session.run(feeds)["logits"], answer(network, feeds))


def test_modes_gradients_and_inputs_are_as_before(tmp_path: Path) -> None:
    network = small()
    network.train()
    network.base.layer1.eval()
    network.classifier.weight.requires_grad_(False)
    network.classifier.bias.grad = torch.ones(5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [part.training for part in network.modules()]
    feeds = images(1)
    feeds["image"].setflags(write=False)
    copy = feeds["image"].copy()

    export_module(network, feeds, ["logits"], tmp_path / "m.onnx")

    assert [part.training for part in network.modules()] == modes
    assert torch.is_grad_enabled()
    assert [p.requires_grad for p in network.classifier.parameters()] == [False, True]
    assert torch.equal(network.classifier.bias.grad, torch.ones(5))
    np.testing.assert_array_equal(feeds["image"], copy)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_modes_come_back_after_a_failure_and_no_file_is_left(tmp_path: Path) -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("the shapes of this network do not fit")

    network = Broken().train()
    with pytest.raises(ExportError, match="torch cannot export Broken: the shapes of this network"):
        export_module(network, images(1), ["y"], tmp_path / "m.onnx")
    assert network.training
    assert list(tmp_path.iterdir()) == []


def test_operators_that_onnx_lacks_are_an_export_error(tmp_path: Path) -> None:
    class Foreign(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.i0(x)

    with pytest.raises(ExportError, match="i0"):
        export_module(Foreign(), images(1), ["y"], tmp_path / "m.onnx")


def test_an_opset_that_torch_cannot_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?i)opset"):
        export_module(small(), images(1), ["y"], tmp_path / "m.onnx", opset=99)
    export_module(small(), images(1), ["y"], tmp_path / "m.onnx", opset=13)
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == 13


def test_an_input_that_the_network_ignores_is_noticed(tmp_path: Path) -> None:
    class Ignoring(torch.nn.Module):
        def forward(self, x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return x + 1

    feeds = {"x": np.zeros((2, 3), np.float32), "unused": np.zeros((4,), np.float32)}
    with pytest.raises(ExportError, match=r"has inputs \['x'\], asked for \['x', 'unused'\]"):
        export_module(Ignoring(), feeds, ["y"], tmp_path / "m.onnx")


def test_a_wrong_number_of_outputs_is_noticed(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + 1, x * 2

    feeds = {"x": np.zeros((2, 3), np.float32)}
    with pytest.raises(ExportError, match="outputs"):
        export_module(Two(), feeds, ["only"], tmp_path / "m.onnx")


def test_a_batch_that_the_network_bakes_in_is_noticed(tmp_path: Path) -> None:
    class Baked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.new_ones(int(x.shape[0]), 4)

    feeds = {"x": np.zeros((2, 3), np.float32)}
    with pytest.raises(ExportError):
        export_module(Baked(), feeds, ["y"], tmp_path / "m.onnx", dynamic_axes={"x": {0: "batch"}})


def test_dynamic_sizes_of_unknown_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="imgae"):
        export_module(small(), images(1), ["y"], tmp_path / "m.onnx", dynamic_axes={"imgae": {0: "batch"}})


def test_an_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        export_module(small(), images(1), ["y"], path)
    assert path.read_text() == "mine"
    export_module(small(), images(1), ["y"], path, force=True)
    assert len(onnx.load(path).graph.node) > 10


def test_it_is_quiet_except_about_what_tracing_cannot_follow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    with warnings.catch_warnings(record=True) as shown, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        export_module(small(), images(1), ["y"], tmp_path / "quiet.onnx")
        assert not caplog.records
        export_module(Branching(), images(1), ["y"], tmp_path / "branching.onnx")
    assert any("Python boolean" in record.getMessage() for record in caplog.records)
    assert not shown
    assert capfd.readouterr() == ("", "")


class _Enlarging(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        size = torch.nn.functional.max_pool2d(image, 1).shape[2:]
        half = torch.nn.functional.avg_pool2d(image, 2)
        return torch.nn.functional.interpolate(half, size=size, mode="bilinear", align_corners=True)


def test_sizes_that_torch_cannot_derive_are_recorded_when_they_are_known(tmp_path: Path) -> None:
    feeds = {"image": np.zeros((1, 3, 6, 8), np.float32)}
    axes = {"image": {0: "batch"}, "larger": {0: "batch"}}
    with pytest.raises(ExportError, match="size 1 must not be open"):
        export_module(_Enlarging(), feeds, ["larger"], tmp_path / "m.onnx", dynamic_axes=axes)
    assert not list(tmp_path.iterdir())
    sizes = {"larger": ("batch", 3, 6, 8)}
    export_module(_Enlarging(), feeds, ["larger"], tmp_path / "m.onnx", dynamic_axes=axes, known_sizes=sizes)
    (spec,) = output_specs(load_model(tmp_path / "m.onnx"))
    assert spec.shape == ("batch", 3, 6, 8)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]
