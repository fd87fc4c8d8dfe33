"""The RefineNet network: key names, structure, and what it computes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.errors import CheckpointError, UsageError
from graphopt.core.onnx_files import load_model, write_model
from graphopt.exporters.checkpoint import load_into, read_checkpoint
from graphopt.exporters.models.refinenet import build_refinenet
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.fuse_batchnorm import FuseBatchnorm

pytest.importorskip("torch")
import torch

from graphopt.exporters.torch_export import export_module

pytestmark = pytest.mark.torch

COMPUTING = ("Conv", "Relu", "Add", "MaxPool", "Resize")


def _small(**changes: Any) -> Any:
    torch.manual_seed(3)
    return build_refinenet(**{"num_classes": 5, "blocks": (1, 2, 1, 1), "width": 2, **changes})


@pytest.fixture(scope="module")
def full_size() -> Any:
    with torch.device("meta"):  # shapes without numbers
        return build_refinenet()


def test_full_size_has_the_tensors_of_the_public_checkpoint(full_size: Any) -> None:
    weights = {name: t for name, t in full_size.state_dict().items() if "num_batches" not in name}
    assert len(weights) == 608
    assert sum(tensor.numel() for tensor in weights.values()) == 118_157_781
    assert weights["layer3.22.conv2.weight"].shape == (256, 256, 3, 3)
    assert weights["p_ims1d2_outl1_dimred.weight"].shape == (512, 2048, 3, 3)
    assert weights["adapt_stage1_b.0.2_conv.bias"].shape == (512,)
    assert weights["mflow_conv_g1_b3_joint_varout_dimred.weight"].shape == (256, 512, 3, 3)
    assert weights["mflow_conv_g4_pool.0.4_outvar_dimred.weight"].shape == (256, 256, 3, 3)
    assert "mflow_conv_g4_b3_joint_varout_dimred.weight" not in weights
    assert weights["clf_conv.weight"].shape == (21, 256, 3, 3)


@pytest.mark.shared
def test_full_size_has_the_parameters_of_the_real_graph(shared_dir: Path, full_size: Any) -> None:
    real = onnx.load(shared_dir / "raw" / "refinenet.onnx").graph.initializer
    # The ResNet's convolutions were fused with their batch norms and have numbers for names.
    expected = {tensor.name: tuple(tensor.dims) for tensor in real if not tensor.name.isdecimal()}
    resnet = ("conv1.", "bn1.", "layer")
    weights = full_size.state_dict().items()
    assert {name: tuple(t.shape) for name, t in weights if not name.startswith(resnet)} == expected


def _computation(graph: onnx.GraphProto, scale: int = 1) -> Iterator[tuple[Any, ...]]:
    """Yield operator, settings, weight's shape and the numbers of the producing nodes, in order.

    Channels, other than those of images and logits, are given times ``scale``.
    """

    def wide(dims: Any) -> tuple[int, ...]:
        return tuple(size if i > 1 or size in (3, 21) else size * scale for i, size in enumerate(dims))

    shapes = {tensor.name: wide(tensor.dims) for tensor in graph.initializer}
    number = {info.name: -1 for info in graph.input}
    kept = ("kernel_shape", "pads", "strides", "mode", "coordinate_transformation_mode")
    for node in (node for node in graph.node if node.op_type in COMPUTING):
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.name in kept}
        read = tuple(number[name] for name in node.input if name in number)
        weights = tuple(shapes[name] for name in node.input if name in shapes and len(shapes[name]) > 1)
        yield node.op_type, settings, weights, read
        number[node.output[0]] = len(number)


@pytest.mark.shared
def test_the_export_computes_as_the_real_graph_does_node_by_node(shared_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    # Neither a thirty-second of the channels nor a small picture changes the structure.
    feeds = {"input": np.zeros((1, 3, 65, 65), np.float32)}
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    sizes = {"output": ("batch", 21, 17, 17)}
    network = build_refinenet(width=2)
    export_module(network, feeds, ["output"], path, dynamic_axes=axes, known_sizes=sizes, keep_batchnorm=True)
    model, report = run_pass(load_model(path), FuseBatchnorm())
    assert len(report.applied) == 104
    narrow = tmp_path / "narrow.onnx"
    write_model(model, narrow)
    mine, real = onnx.load(narrow).graph, onnx.load(shared_dir / "raw" / "refinenet.onnx").graph
    assert list(_computation(mine, scale=32)) == list(_computation(real))


def test_it_comes_in_eval_mode_and_its_classifier_reads_its_features() -> None:
    network = _small()
    assert not network.training
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        features = network.features(images)
        logits = network(images)
        assert features.shape == (2, 8, 17, 25)
        np.testing.assert_array_equal(logits.numpy(), network.clf_conv(features).numpy())
    assert logits.shape == (2, 5, 17, 25)


def test_a_residual_unit_adds_what_its_two_convolutions_make() -> None:
    units = _small().adapt_stage3_b[0]
    x = torch.randn(1, 8, 6, 7)
    expected = x
    with torch.no_grad():
        for number in ("1", "2"):
            inner = units.get_submodule(f"{number}_conv")(expected.relu())
            expected = expected + units.get_submodule(f"{number}_conv_relu_varout_dimred")(inner.relu())
        np.testing.assert_allclose(units(x).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kernel", "reach"), [(1, 4), (5, 12)])
def test_chained_pooling_sees_as_far_as_its_kernels_reach(kernel: int, reach: int) -> None:
    block = _small(last_pool=kernel).mflow_conv_g4_pool[0]
    for parameter in block.parameters():
        torch.nn.init.constant_(parameter, 1.0)
    point = torch.zeros(1, 8, 31, 31)
    point[..., 15, 15] = 1
    with torch.no_grad():
        touched = torch.nonzero(block(point)[0, 0])
    # Each of the four steps reaches one cell by its convolution and kernel // 2 by its pool.
    assert touched.min().item() == 15 - reach
    assert touched.max().item() == 15 + reach


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("new", [True, False])
def test_checkpoints_of_both_formats_load_with_and_without_prefix(
    tmp_path: Path, prefix: str, new: bool
) -> None:
    source = _small()
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    path = tmp_path / "trained.pth.tar"
    torch.save({"model": state, "epoch": 3}, path, _use_new_zipfile_serialization=new)
    target = build_refinenet(num_classes=5, blocks=(1, 2, 1, 1), width=2)
    load_into(target, read_checkpoint(path), key="model")
    image = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        np.testing.assert_array_equal(target(image).numpy(), source(image).numpy())


def test_a_partial_checkpoint_is_refused_with_its_keys(tmp_path: Path) -> None:
    state = dict(_small().state_dict())
    del state["clf_conv.bias"]
    state["head.weight"] = torch.zeros(1)
    path = tmp_path / "partial.pth.tar"
    torch.save({"model": state}, path)
    with pytest.raises(CheckpointError, match=r"1 missing \(clf_conv.bias\); 1 unexpected \(head.weight\)"):
        load_into(_small(), read_checkpoint(path), key="model")


@pytest.mark.parametrize("kernel", [0, 2, -1])
def test_a_pool_that_changes_the_size_is_refused(kernel: int) -> None:
    with pytest.raises(UsageError, match="last_pool must be odd"):
        build_refinenet(last_pool=kernel)
