"""The DeepMAR network: structure, key names, and what it computes."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from graphopt.core.errors import UsageError
from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.exporters.models.deepmar import build_deepmar

pytest.importorskip("torch")
import torch

pytestmark = pytest.mark.torch


def test_peta_has_35_different_attributes_in_the_order_of_its_labels() -> None:
    assert len(PETA_ATTRIBUTES) == len(set(PETA_ATTRIBUTES)) == 35
    assert PETA_ATTRIBUTES[0] == "personalLess30"
    assert PETA_ATTRIBUTES[16] == "personalMale"
    assert PETA_ATTRIBUTES[34] == "upperBodyVNeck"


@pytest.mark.shared
def test_the_attribute_order_is_that_of_the_published_labels(shared_dir: Path) -> None:
    text = (shared_dir / "models.md").read_text(encoding="utf-8")
    assert ", ".join(PETA_ATTRIBUTES) in text


@pytest.fixture(scope="module")
def full_size() -> torch.nn.Module:
    return build_deepmar()


def test_full_size_has_the_tensors_of_the_public_checkpoint(full_size: torch.nn.Module) -> None:
    weights = full_size.state_dict()
    assert len(weights) == 320
    assert sum(tensor.numel() for name, tensor in weights.items() if "num_batches" not in name) == 23_632_867
    assert weights["base.conv1.weight"].shape == (64, 3, 7, 7)
    assert weights["base.layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert weights["base.layer4.2.conv2.weight"].shape == (512, 512, 3, 3)
    assert weights["base.layer4.2.bn3.running_var"].shape == (2048,)
    assert weights["classifier.weight"].shape == (35, 2048)


@pytest.mark.shared
def test_full_size_has_the_parameters_of_the_real_graph(shared_dir: Path, full_size: torch.nn.Module) -> None:
    real = onnx.load(shared_dir / "raw" / "deepmar_bs1.onnx").graph.initializer
    expected = {tensor.name: tuple(tensor.dims) for tensor in real if not tensor.name.isdecimal()}
    found = {n: tuple(t.shape) for n, t in full_size.state_dict().items() if "num_batches" not in n}
    assert found == expected


def test_it_comes_in_eval_mode_and_its_classifier_reads_its_features() -> None:
    torch.manual_seed(1)
    network = build_deepmar(num_attributes=3, image_size=96, blocks=(1, 2, 1, 1), width=4)
    assert not network.training
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        features = network.features(images)
        logits = network(images)
    assert features.shape == (2, 128)
    np.testing.assert_allclose(logits.numpy(), network.classifier(features).detach().numpy(), rtol=1e-5)


def test_features_are_the_mean_over_the_whole_last_map() -> None:
    torch.manual_seed(2)
    network = build_deepmar(image_size=96, blocks=(1, 1, 1, 1), width=4)
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        last = network.base(images)
        assert last.shape == (1, 128, 3, 3)
        np.testing.assert_allclose(
            network.features(images).numpy(), last.mean(dim=(2, 3)).numpy(), rtol=1e-5, atol=1e-7
        )


def test_a_block_adds_its_shortcut() -> None:
    network = build_deepmar(image_size=32, blocks=(1, 1, 1, 1), width=4)
    block = network.base.layer2[0]
    torch.nn.init.zeros_(block.bn3.weight)  # nothing comes through the block itself
    x = torch.rand(1, 16, 6, 6)
    with torch.no_grad():
        expected = torch.relu(block.downsample[1](block.downsample[0](x)))
        np.testing.assert_array_equal(block(x).numpy(), expected.numpy())
        assert block(x).shape == (1, 32, 3, 3)


@pytest.mark.parametrize("size", [0, -32, 100])
def test_a_size_without_whole_cells_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="multiple of 32"):
        build_deepmar(image_size=size)
