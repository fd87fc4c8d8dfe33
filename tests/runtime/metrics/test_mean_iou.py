"""Segmentation figures against a plain loop, identities, and sabotage."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphopt.core.errors import DatasetError, UsageError
from graphopt.runtime.metrics.mean_iou import (
    ConfusionAccumulator,
    SegmentationMetrics,
    confusion_matrix,
    image_counts,
    segmentation_metrics,
    weighted_mean_iou,
)

NAMES = ("ground", "cat", "dog", "cow")


def _by_hand(predicted: Any, truth: Any, classes: int) -> dict[str, float]:
    """The definitions, pixel by pixel."""
    right = labelled = 0
    both, true, found = [0] * classes, [0] * classes, [0] * classes
    for p, t in zip(predicted.ravel().tolist(), truth.ravel().tolist(), strict=True):
        if t == 255:
            continue
        labelled += 1
        true[t] += 1
        found[p] += 1
        if p == t:
            right += 1
            both[t] += 1
    known = [c for c in range(classes) if true[c] > 0]
    iou = {c: both[c] / (true[c] + found[c] - both[c]) for c in known}
    return {
        "mean_iou": sum(iou.values()) / len(known),
        "pixel_accuracy": right / labelled,
        "mean_accuracy": sum(both[c] / true[c] for c in known) / len(known),
        "frequency_weighted_iou": sum(true[c] * iou[c] for c in known) / labelled,
    }


def _masks(seed: int, shape: tuple[int, ...] = (5, 7, 11)) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 0, 1, 2, 3, 255], shape).astype(np.uint8)
    predicted = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, 4, shape)).astype(np.uint8)
    predicted[truth == 255] = rng.integers(0, 256, int((truth == 255).sum()))
    return predicted, truth


def _figures(predicted: Any, truth: Any) -> SegmentationMetrics:
    return segmentation_metrics(confusion_matrix(predicted, truth, classes=4), NAMES)


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_a_plain_loop(seed: int) -> None:
    predicted, truth = _masks(seed)
    got = _figures(predicted, truth)
    for name, value in _by_hand(predicted, truth, 4).items():
        assert getattr(got, name) == pytest.approx(value, rel=1e-12)
    assert got.pixels == (truth != 255).sum()


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint8, (2, 6, 5), elements=st.integers(0, 3)))
def test_any_masks_agree_with_the_loop(both: Any) -> None:
    got = _figures(both[0], both[1])
    for name, value in _by_hand(both[0], both[1], 4).items():
        assert getattr(got, name) == pytest.approx(value, rel=1e-12)


def test_what_is_right_everywhere_is_1_also_for_class_0() -> None:
    _, truth = _masks(1)
    got = _figures(np.where(truth == 255, 0, truth).astype(np.uint8), truth)
    assert (got.mean_iou, got.pixel_accuracy, got.mean_accuracy, got.frequency_weighted_iou) == (1, 1, 1, 1)
    only_ground = np.zeros((3, 4), np.uint8)
    assert _figures(only_ground, only_ground).mean_iou == 1


def test_each_sabotage_lowers_the_figures() -> None:
    _, truth = _masks(2)
    right = np.where(truth == 255, 0, truth).astype(np.uint8)
    for wrong in (
        np.roll(right, 1, axis=-1),  # shifted by a pixel
        np.array([1, 0, 2, 3], np.uint8)[right],  # two classes exchanged
        np.zeros_like(right),  # nothing found
        right[..., ::-1],  # mirrored
    ):
        assert _figures(wrong, truth).mean_iou < 0.9


def test_what_is_predicted_in_void_does_not_count() -> None:
    predicted, truth = _masks(3)
    other = predicted.copy()
    other[truth == 255] = 1
    assert _figures(predicted, truth) == _figures(other, truth)


def test_a_class_without_true_pixels_is_nan_and_counted_and_not_in_the_mean() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    predicted = np.array([[0, 2, 1, 1]], np.uint8)
    got = _figures(predicted, truth)
    assert [row.iou for row in got.classes[:2]] == [0.5, 1.0]
    assert all(math.isnan(row.iou) and math.isnan(row.accuracy) for row in got.classes[2:])
    assert (got.mean_iou, got.undefined_classes) == (0.75, 2)
    assert (got.classes[2].predicted, got.classes[2].pixels) == (1, 0)
    content = got.to_json()
    assert content["classes"][2]["iou"] is None
    assert content["mean_iou"] == 0.75


def test_it_does_not_matter_how_images_are_split() -> None:
    predicted, truth = _masks(4)
    whole, parts = ConfusionAccumulator(NAMES), ConfusionAccumulator(NAMES)
    whole.update(predicted, truth)
    for index in (3, 0, 4, 1, 2):
        parts.update(predicted[index], truth[index])
    assert whole.compute() == parts.compute()
    whole.reset()
    with pytest.raises(DatasetError, match="no labelled pixels"):
        whole.compute()


def test_masks_that_are_none_are_refused() -> None:
    predicted, truth = _masks(5)
    with pytest.raises(UsageError, match="uint8 of one shape"):
        confusion_matrix(predicted[0], truth, classes=4)
    with pytest.raises(UsageError, match="uint8 of one shape"):
        confusion_matrix(predicted.astype(np.int64), truth, classes=4)
    truth[0, 0, 0] = 9
    with pytest.raises(DatasetError, match=r"labels hold \[9\], which is neither a class nor 255"):
        confusion_matrix(predicted, truth, classes=4)
    predicted, truth = _masks(5)
    predicted[truth != 255] = 4
    with pytest.raises(UsageError, match="beyond 3"):
        confusion_matrix(predicted, truth, classes=4)
    with pytest.raises(UsageError, match="for 3 classes"):
        segmentation_metrics(np.zeros((4, 4), np.int64), NAMES[:3])


def test_weighted_images_are_repeated_images() -> None:
    predicted, truth = _masks(4)
    truth[2] = 255
    parts = [confusion_matrix(*pair, classes=4) for pair in zip(predicted, truth, strict=True)]
    weights = np.random.default_rng(1).multinomial(5, np.full(5, 0.2), size=7)
    weights[0] = 1
    got = weighted_mean_iou(np.stack([image_counts(part) for part in parts]), weights)
    for row, counts in zip(got, weights, strict=True):
        whole = sum(count * part for count, part in zip(counts.tolist(), parts, strict=True))
        assert row == pytest.approx(segmentation_metrics(whole, NAMES).mean_iou, abs=1e-12)
    only_void = np.array([[0, 0, 4, 0, 0]])
    assert np.isnan(weighted_mean_iou(np.stack([image_counts(part) for part in parts]), only_void))
