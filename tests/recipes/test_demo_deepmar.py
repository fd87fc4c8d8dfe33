"""The DeepMAR demo really separates attributes, and only because its labels are true."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.core.errors import UsageError
from graphopt.exporters.checkpoint import read_checkpoint
from graphopt.exporters.demo_fit import fit_classifier
from graphopt.recipes.demo_deepmar import FIT_IMAGES, make_deepmar_demo
from graphopt.recipes.models.deepmar import RECIPE
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.datasets.synthetic_pedestrians import write_synthetic_peta
from graphopt.runtime.preprocess import preprocess


@pytest.mark.parametrize(("fit_images", "test_images"), [(0, 5), (100, 0), (100, 50_001)])
def test_refuses_impossible_counts(tmp_path: Path, fit_images: int, test_images: int) -> None:
    with pytest.raises(UsageError, match="out of range"):
        make_deepmar_demo(tmp_path, fit_images=fit_images, test_images=test_images)
    assert not list(tmp_path.iterdir())


@pytest.mark.torch
@pytest.mark.slow
def test_separates_attributes_of_unseen_pedestrians(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    demo = make_deepmar_demo(tmp_path, test_images=100)
    data = PetaDataset(demo.data)
    assert len(data) == 100
    network: Any = RECIPE.needed_module("a test", demo.checkpoint)
    assert read_checkpoint(demo.checkpoint).meta["demo_images"] == FIT_IMAGES

    features = _features(network, data)
    weight, bias = network.classifier.weight.detach().numpy(), network.classifier.bias.detach().numpy()
    logits = features @ weight.T + bias
    assert _mean_accuracy(logits, data.labels) >= 0.85
    # Far enough from the threshold that rounding in another runtime flips (nearly) nothing.
    assert np.mean(np.abs(logits) > 0.05) > 0.98
    assert 1 < logits.std() < 5

    half = len(data) // 2
    shuffled = np.random.default_rng(0).permutation(data.labels[:half])
    weight, bias = fit_classifier(features[:half], shuffled, ridge=0.03)
    logits = features[half:] @ weight.T + bias
    assert _mean_accuracy(logits, data.labels[half:]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.torch
@pytest.mark.slow
def test_reduced_demo_is_complete_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    write_synthetic_peta(tmp_path / "data", count=5, seed=1)
    demo = make_deepmar_demo(tmp_path, fit_images=40, test_images=3, seed=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pth.tar", "data"]
    assert PetaDataset(demo.data).names == ("00001.png", "00002.png", "00003.png")
    assert len(list((demo.data / "images").iterdir())) == 3
    RECIPE.needed_module("a test", demo.checkpoint)
    assert read_checkpoint(demo.checkpoint).meta["demo_seed"] == 8


@pytest.mark.torch
def test_an_interrupted_demo_leaves_no_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "checkpoint.pth.tar").write_text("of other pictures")
    with pytest.raises(UsageError, match="fit more samples"):
        make_deepmar_demo(tmp_path, fit_images=5, test_images=2)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def _features(network: Any, data: PetaDataset) -> NDArray[np.float32]:
    import torch

    images = np.stack([preprocess(sample.path, RECIPE.preprocessing) for sample in data])
    with torch.inference_mode():
        rows = [network.features(batch).numpy() for batch in torch.from_numpy(images).split(16)]
    return np.concatenate(rows)


def _mean_accuracy(logits: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
    answers = logits > 0
    hits = (answers & labels).sum(axis=0) / labels.sum(axis=0)
    rejections = (~answers & ~labels).sum(axis=0) / (~labels).sum(axis=0)
    return float((hits + rejections).mean() / 2)
