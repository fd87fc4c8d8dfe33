import json
import math
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.runtime.datasets.peta import read_peta_labels
from graphopt.runtime.metrics.attributes import AttributeAccumulator, attribute_metrics, weighted_accuracy


def by_loops(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """A second implementation, as plainly as it can be written."""
    images, attributes = truth.shape
    accuracy = precision = recall = 0.0
    judged = 0
    for i in range(images):
        found = {k for k in range(attributes) if predicted[i, k]}
        true = {k for k in range(attributes) if truth[i, k]}
        if not true:
            continue
        judged += 1
        accuracy += len(found & true) / len(found | true)
        precision += len(found & true) / len(found) if found else 0.0
        recall += len(found & true) / len(true)
    means = []
    for k in range(attributes):
        positives = [i for i in range(images) if truth[i, k]]
        negatives = [i for i in range(images) if not truth[i, k]]
        if positives and negatives:
            hits = sum(1 for i in positives if predicted[i, k]) / len(positives)
            rejections = sum(1 for i in negatives if not predicted[i, k]) / len(negatives)
            means.append((hits + rejections) / 2)
    precision, recall = precision / judged, recall / judged
    return {
        "instance_accuracy": accuracy / judged,
        "instance_precision": precision,
        "instance_recall": recall,
        "instance_f1": 2 * precision * recall / (precision + recall),
        "label_accuracy": sum(means) / len(means),
    }


def _random(images: int, attributes: int, seed: int, share: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((images, attributes)) < share
    return truth ^ (rng.random(truth.shape) < 0.1), truth


@pytest.mark.parametrize("seed", range(5))
def test_equals_plain_loops(seed: int) -> None:
    predicted, truth = _random(83, 7, seed)
    got = attribute_metrics(predicted, truth)
    for name, value in by_loops(predicted, truth).items():
        assert getattr(got, name) == pytest.approx(value, abs=1e-12), name


@pytest.mark.shared
def test_equals_plain_loops_on_the_real_labels(shared_dir: Path) -> None:
    truth = read_peta_labels(shared_dir / "data" / "peta" / "label.json").values
    rng = np.random.default_rng(11)
    predicted = truth ^ (rng.random(truth.shape) < 0.06)
    got = attribute_metrics(predicted, truth)
    assert got.images == 7600
    assert 0.6 < got.instance_accuracy < 0.95
    for name, value in by_loops(predicted, truth).items():
        assert getattr(got, name) == pytest.approx(value, abs=1e-12), name


def test_f1_is_the_harmonic_mean_of_the_means_as_published() -> None:
    # DeepMAR on Ascend 310: the published F1 follows from the published precision and recall.
    precision, recall, f1 = 0.8823281028182345, 0.8496866930584036, 0.8656998192635741
    assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=1e-15)
    predicted, truth = _random(40, 6, 3)
    got = attribute_metrics(predicted, truth)
    expected = (
        2 * got.instance_precision * got.instance_recall / (got.instance_precision + got.instance_recall)
    )
    assert got.instance_f1 == expected


def test_small_case_by_hand() -> None:
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], bool)
    predicted = np.array([[1, 0, 0], [1, 1, 1], [0, 1, 1]], bool)
    got = attribute_metrics(predicted, truth, names=("hat", "bag", "coat"))
    assert got.instance_accuracy == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)
    assert got.instance_precision == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert got.instance_recall == pytest.approx((1 / 2 + 1 + 1) / 3)
    rows = {row.name: row for row in got.attributes}
    assert (rows["hat"].true_positive_rate, rows["hat"].true_negative_rate) == (1.0, 1.0)
    assert (rows["bag"].true_positive_rate, rows["bag"].true_negative_rate) == (0.5, 0.0)
    assert rows["coat"].true_negative_rate == 0.5
    assert (rows["coat"].positives, rows["coat"].negatives) == (1, 2)
    assert got.label_accuracy == pytest.approx((1 + 0.25 + 0.75) / 3)


def test_perfect_and_inverted_predictions() -> None:
    _, truth = _random(50, 5, 4)
    perfect = attribute_metrics(truth, truth)
    assert perfect.instance_accuracy == perfect.instance_f1 == perfect.label_accuracy == 1.0
    inverted = attribute_metrics(~truth, truth)
    assert inverted.instance_accuracy == inverted.instance_f1 == inverted.label_accuracy == 0.0


def test_images_without_true_attributes_are_left_out_and_counted() -> None:
    truth = np.array([[1, 0], [0, 0], [0, 0]], bool)
    predicted = np.array([[1, 0], [1, 1], [0, 0]], bool)
    got = attribute_metrics(predicted, truth)
    assert got.instance_accuracy == got.instance_precision == got.instance_recall == 1.0
    assert (got.images, got.images_without_truth) == (3, 2)


def test_an_image_without_predictions_counts_as_nothing_found() -> None:
    truth = np.array([[1, 1], [1, 0]], bool)
    predicted = np.array([[0, 0], [1, 0]], bool)
    got = attribute_metrics(predicted, truth)
    assert got.instance_precision == got.instance_recall == got.instance_accuracy == 0.5


def test_nothing_right_gives_an_f1_of_zero() -> None:
    got = attribute_metrics(np.array([[0, 1]], bool), np.array([[1, 0]], bool))
    assert got.instance_f1 == 0.0


def test_no_true_attribute_anywhere_gives_nan() -> None:
    got = attribute_metrics(np.ones((2, 3), bool), np.zeros((2, 3), bool))
    assert math.isnan(got.instance_accuracy)
    assert math.isnan(got.instance_f1)
    assert math.isnan(got.label_accuracy)
    assert (got.images_without_truth, got.undefined_attributes) == (2, 3)
    assert json.loads(json.dumps(got.to_json(), allow_nan=False))["instance_accuracy"] is None


def test_attribute_without_positives_or_negatives_is_nan_counted_and_left_out() -> None:
    truth = np.array([[1, 0, 1], [1, 0, 0]], bool)
    predicted = np.array([[1, 0, 0], [0, 1, 0]], bool)
    got = attribute_metrics(predicted, truth)
    always, never, mixed = got.attributes
    assert always.true_positive_rate == 0.5
    assert math.isnan(always.true_negative_rate)
    assert math.isnan(never.true_positive_rate)
    assert never.true_negative_rate == 0.5
    assert math.isnan(always.mean_accuracy)
    assert got.undefined_attributes == 2
    assert got.label_accuracy == mixed.mean_accuracy == 0.5
    assert got.to_json()["attributes"][0]["mean_accuracy"] is None


def test_no_images_is_an_error() -> None:
    with pytest.raises(DatasetError, match="no images"):
        attribute_metrics(np.zeros((0, 3), bool), np.zeros((0, 3), bool))
    with pytest.raises(DatasetError, match="no images"):
        AttributeAccumulator().compute()


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        (np.zeros((2, 3), bool), np.zeros((3, 2), bool)),
        (np.zeros(3, bool), np.zeros(3, bool)),
        (np.zeros((2, 3), np.float32), np.zeros((2, 3), bool)),
        (np.zeros((2, 3), bool), np.zeros((2, 3), np.int64)),
    ],
)
def test_wrong_shapes_and_dtypes_are_refused(predicted: np.ndarray, truth: np.ndarray) -> None:
    with pytest.raises(UsageError):
        attribute_metrics(predicted, truth)


def test_another_number_of_attributes_is_refused() -> None:
    with pytest.raises(UsageError, match="3 attributes per image, expected 2"):
        attribute_metrics(np.zeros((1, 3), bool), np.zeros((1, 3), bool), names=("a", "b"))
    accumulator = AttributeAccumulator()
    accumulator.update(np.zeros((1, 3), bool), np.zeros((1, 3), bool))
    with pytest.raises(UsageError, match="4 attributes per image, expected 3"):
        accumulator.update(np.zeros((1, 4), bool), np.zeros((1, 4), bool))


@pytest.mark.parametrize("size", [1, 7, 64, 200])
def test_batches_of_any_size_and_order_give_the_same_bits(size: int) -> None:
    predicted, truth = _random(133, 9, 5)
    whole = attribute_metrics(predicted, truth)
    accumulator = AttributeAccumulator()
    starts = list(range(0, 133, size))
    np.random.default_rng(size).shuffle(starts)
    for start in starts:
        accumulator.update(predicted[start : start + size], truth[start : start + size])
    assert accumulator.compute() == whole


def test_reset_forgets() -> None:
    predicted, truth = _random(9, 4, 6)
    accumulator = AttributeAccumulator()
    accumulator.update(~predicted, truth)
    accumulator.reset()
    accumulator.update(predicted, truth)
    assert accumulator.compute().to_json() == attribute_metrics(predicted, truth).to_json()


def test_inputs_are_left_as_they_are() -> None:
    predicted, truth = _random(9, 4, 8)
    before = predicted.copy(), truth.copy()
    attribute_metrics(predicted, truth)
    assert np.array_equal(predicted, before[0])
    assert np.array_equal(truth, before[1])


def test_weighted_images_are_repeated_images() -> None:
    predicted, truth = _random(9, 5, 2)
    truth[4] = False
    weights = np.random.default_rng(0).multinomial(9, np.full(9, 1 / 9), size=7)
    weights[0] = 1
    got = weighted_accuracy(predicted, truth, weights)
    for row, counts in zip(got, weights, strict=True):
        repeated = attribute_metrics(predicted.repeat(counts, axis=0), truth.repeat(counts, axis=0))
        assert row == pytest.approx(repeated.instance_accuracy, abs=1e-12)
    assert np.isnan(weighted_accuracy(predicted, truth, np.eye(9, dtype=np.int64)[[4]]))
