"""Closed-form fit, seeded weights and calibration, on toys."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.core.errors import OutputError, UsageError
from graphopt.exporters.demo_fit import fit_classifier, make_demo_checkpoint, save_checkpoint
from graphopt.exporters.demo_weights import calibrate_batchnorm, seed_module
from graphopt.exporters.models.deepmar import build_deepmar

Features = NDArray[np.float32]
Labels = NDArray[np.bool_]


def _toy(count: int, *, seed: int) -> tuple[Features, Labels]:
    """Thirty features of unlike scales that hold three labels of unlike frequency, and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.random((count, 3)) < (0.5, 0.15, 0.8)
    directions = np.random.default_rng(0).standard_normal((3, 30))
    scales = np.geomspace(0.01, 100, 30)
    features = (3 * labels @ directions + rng.standard_normal((count, 30))) * scales + 5 * scales
    return features.astype(np.float32), labels


def _balanced_accuracy(logits: Features, labels: Labels) -> NDArray[np.float64]:
    answers = logits > 0
    hits = (answers & labels).sum(axis=0) / labels.sum(axis=0)
    rejections = (~answers & ~labels).sum(axis=0) / (~labels).sum(axis=0)
    return np.asarray((hits + rejections) / 2)


def test_separates_unseen_samples() -> None:
    weight, bias = fit_classifier(*_toy(200, seed=1), ridge=0.03)
    features, labels = _toy(400, seed=2)
    assert weight.shape == (3, 30)
    assert weight.dtype == bias.dtype == np.float32
    assert (_balanced_accuracy(features @ weight.T + bias, labels) > 0.95).all()


def test_shuffled_labels_teach_nothing() -> None:
    features, labels = _toy(200, seed=1)
    shuffled = np.random.default_rng(3).permutation(labels)
    weight, bias = fit_classifier(features, shuffled, ridge=0.03)
    unseen, truth = _toy(2000, seed=2)
    assert _balanced_accuracy(unseen @ weight.T + bias, truth).mean() == pytest.approx(0.5, abs=0.1)


def test_rare_labels_get_the_balanced_threshold() -> None:
    features, labels = _toy(2000, seed=4)
    noisy = features + (8 * features.std(axis=0) * np.random.default_rng(5).standard_normal(features.shape))
    weight, bias = fit_classifier(noisy[:1000].astype(np.float32), labels[:1000], ridge=0.1)
    answers = noisy[1000:] @ weight.T + bias > 0
    rare = labels[1000:, 1]
    hit, false_alarm = answers[rare, 1].mean(), answers[~rare, 1].mean()
    assert hit == pytest.approx(1 - false_alarm, abs=0.12)


def test_logits_have_a_readable_spread() -> None:
    weight, bias = fit_classifier(*_toy(200, seed=1), ridge=0.03)
    features, _ = _toy(400, seed=2)
    spread = (features @ weight.T + bias).std(axis=0)
    assert ((spread > 1) & (spread < 5)).all()


def test_dead_features_get_no_weight() -> None:
    features, labels = _toy(100, seed=1)
    features[:, 7] = 0
    weight, _ = fit_classifier(features, labels, ridge=0.03)
    assert not weight[:, 7].any()
    assert np.isfinite(weight).all()


def test_more_features_than_samples() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((60, 2)) < 0.5
    features = rng.standard_normal((60, 500)) + 0.6 * labels[:, :1] - 0.6 * labels[:, 1:]
    weight, bias = fit_classifier(features.astype(np.float32), labels, ridge=0.03)
    assert (_balanced_accuracy(features @ weight.T + bias, labels) > 0.95).all()


@pytest.mark.parametrize(
    ("features", "labels", "ridge", "message"),
    [
        (np.ones((5, 2)), np.ones((4, 2), bool), 0.1, r"\[N, D\] and \[N, K\]"),
        (np.ones(5), np.ones((5, 2), bool), 0.1, r"\[N, D\] and \[N, K\]"),
        (np.eye(5), np.eye(5, dtype=bool), 0.1, r"labels \[0, 1, 2, 3, 4\] have fewer than two"),
        (np.ones((6, 2)), np.tile([[True], [False]], (3, 1)), 0.1, "all the same"),
        (np.full((6, 2), np.nan), np.tile([[True], [False]], (3, 1)), 0.1, "not finite"),
        (np.eye(6), np.tile([[True], [False]], (3, 1)), 0.0, "ridge must be at least"),
    ],
)
def test_refuses_what_cannot_be_fitted(
    features: NDArray[np.float64], labels: Labels, ridge: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        fit_classifier(features.astype(np.float32), labels, ridge=ridge)


IMAGE = 32


def _network() -> Any:
    pytest.importorskip("torch")
    return build_deepmar(num_attributes=2, image_size=IMAGE, blocks=(1, 2, 1, 1), width=16)


def _pictures(count: int, *, seed: int) -> tuple[list[Features], Labels]:
    """Noise with a red square, a blue one, both, or none."""
    rng = np.random.default_rng(seed)
    labels = rng.random((count, 2)) < 0.5
    pictures = []
    for row in labels:
        picture = 0.3 * rng.standard_normal((3, IMAGE, IMAGE))
        for channel in np.flatnonzero(row):
            top, left = rng.integers(0, IMAGE - 12, 2)
            picture[2 * channel, top : top + 12, left : left + 12] += 3
        pictures.append(picture.astype(np.float32))
    return pictures, labels


@pytest.mark.torch
def test_demo_checkpoint_separates_unseen_pictures() -> None:
    network = _network()
    make_demo_checkpoint(network, iter(_pictures(120, seed=0)[0]), _pictures(120, seed=0)[1], seed=3)
    pictures, labels = _pictures(100, seed=1)
    assert not network.training
    assert (_balanced_accuracy(_logits(network, pictures), labels) > 0.8).all()


@pytest.mark.torch
def test_demo_checkpoint_depends_on_the_seed_only() -> None:
    torch = pytest.importorskip("torch")
    pictures, labels = _pictures(40, seed=0)
    first, second, third = (
        make_demo_checkpoint(_network(), pictures, labels, seed=seed) for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["base.conv1.weight"], third["base.conv1.weight"])


@pytest.mark.torch
def test_seeding_leaves_the_callers_random_state_alone() -> None:
    torch = pytest.importorskip("torch")
    network = _network()
    before = torch.random.get_rng_state()
    seed_module(network, 3)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.torch
def test_saved_checkpoint_has_the_public_layout(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pictures, labels = _pictures(40, seed=0)
    network, other = _network(), _network()
    state = make_demo_checkpoint(network, pictures, labels, seed=3)
    path = tmp_path / "checkpoint.pth.tar"
    save_checkpoint(path, state, epoch=0)
    content = torch.load(path, weights_only=True)
    assert content.keys() == {"state_dict", "epoch"}
    other.load_state_dict(content["state_dict"])
    assert np.array_equal(_logits(other, pictures), _logits(network, pictures))
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pth.tar"]
    assert all(value.is_contiguous() for value in content["state_dict"].values())


@pytest.mark.torch
def test_saving_says_when_it_cannot_write(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(OutputError, match="does not exist"):
        save_checkpoint(tmp_path / "missing" / "checkpoint.pth.tar", {})


@pytest.mark.torch
def test_calibration_whitens_what_follows() -> None:
    torch = pytest.importorskip("torch")
    norm = torch.nn.BatchNorm2d(3).eval()
    batches = [np.random.default_rng(i).normal((1, 2, 3), 4, (8, 5, 7, 3)) for i in range(6)]
    images = [batch.transpose(0, 3, 1, 2).astype(np.float32) for batch in batches]
    calibrate_batchnorm(norm, images)
    with torch.no_grad():
        result = norm(torch.from_numpy(np.concatenate(images)))
    assert result.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert (result.std(dim=(0, 2, 3)) - 1).abs().max() < 0.02
    assert (norm.training, norm.momentum) == (False, 0.1)


@pytest.mark.torch
def test_calibration_restores_modes_when_a_batch_fails() -> None:
    torch = pytest.importorskip("torch")
    norm = torch.nn.BatchNorm2d(3).eval()
    with pytest.raises(ValueError, match="expected 4D"):
        calibrate_batchnorm(norm, [np.zeros((8, 3), np.float32)])
    assert (norm.training, norm.momentum) == (False, 0.1)


@pytest.mark.torch
def test_calibration_needs_images() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match="at least one batch"):
        calibrate_batchnorm(torch.nn.BatchNorm2d(3), [])


def _logits(network: Any, pictures: list[Features]) -> Features:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(np.stack(pictures))).numpy())
