"""Metrics of multi-label attribute recognition: per image (instance) and per attribute (label).

Definitions are those of the public DeepMAR repository. With P the attributes predicted for an
image and T its true ones, the instance figures are means over images of ``|P and T| / |P or T|``
(accuracy), ``|P and T| / |P|`` (precision) and ``|P and T| / |T|`` (recall); F1 is the harmonic
mean of *mean* precision and *mean* recall. ``mA`` is the mean over attributes of
``(TPR + TNR) / 2``. Edge cases:

- an image without true attributes takes no part in the instance figures; it is counted;
- an image with true attributes and no predicted one counts with precision 0;
- no image with true attributes: the instance figures are nan;
- precision and recall both 0: F1 is 0 (the original divides by zero there);
- an attribute without positives or without negatives: its rate and mean are nan, it is counted
  and left out of ``mA`` (the original's ``mA`` becomes nan).
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError


@dataclass(frozen=True, kw_only=True)
class AttributeRow:
    """One attribute over all images.

    Attributes:
        name: of the attribute.
        true_positive_rate: of the positives, 0..1; nan without positives.
        true_negative_rate: of the negatives, 0..1; nan without negatives.
        mean_accuracy: mean of both rates; nan when one is.
        positives: images that have the attribute.
        negatives: images that have not.
    """

    name: str
    true_positive_rate: float
    true_negative_rate: float
    mean_accuracy: float
    positives: int
    negatives: int


@dataclass(frozen=True, kw_only=True)
class AttributeMetrics:
    """All figures of one evaluation; each 0..1, see the module's text for definitions.

    Attributes:
        instance_accuracy: mean intersection over union per image.
        instance_precision: mean precision per image.
        instance_recall: mean recall per image.
        instance_f1: harmonic mean of the two.
        label_accuracy: mA, over the attributes where it is defined.
        attributes: one row per attribute, in the labels' order.
        images: all images given.
        images_without_truth: images left out of the instance figures.
        undefined_attributes: attributes left out of ``label_accuracy``.
    """

    instance_accuracy: float
    instance_precision: float
    instance_recall: float
    instance_f1: float
    label_accuracy: float
    attributes: tuple[AttributeRow, ...]
    images: int
    images_without_truth: int
    undefined_attributes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data; nan becomes None, which JSON can hold."""
        content = dataclasses.asdict(self)
        content["attributes"] = [_without_nan(row) for row in content["attributes"]]
        return _without_nan(content)


def attribute_metrics(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], *, names: Sequence[str] | None = None
) -> AttributeMetrics:
    """Compute all attribute metrics at once.

    Args:
        predicted: bool [N, K].
        truth: bool [N, K], same images in the same order.
        names: K attribute names; numbered when not given.

    Raises:
        UsageError: shapes or dtypes do not fit.
        DatasetError: there are no images.
    """
    accumulator = AttributeAccumulator(names)
    accumulator.update(predicted, truth)
    return accumulator.compute()


def weighted_accuracy(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the instance accuracy [B] where images count as often as ``weights`` say.

    Args:
        predicted: bool [N, K].
        truth: bool [N, K].
        weights: int64 [B, N].

    Returns:
        float64 [B]; nan where no image with true attributes counts.
    """
    judged = truth.any(axis=1)
    hits, either = (predicted & truth).sum(axis=1), (predicted | truth).sum(axis=1)
    ratio = np.divide(hits, either, out=np.zeros(len(hits)), where=judged)
    count = (weights @ judged.astype(np.int64)).astype(np.float64)
    mean: NDArray[np.float64] = np.divide(
        weights @ ratio, count, out=np.full(len(weights), np.nan), where=count > 0
    )
    return mean


class AttributeAccumulator:
    """Attribute metrics over batches; the result does not depend on order or batch sizes.

    It keeps only counts: images by (hits, predicted, true) and hits per attribute. So equal
    counts give equal figures to the last bit, however the images were split.

    Args:
        names: attribute names; numbered when not given.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = tuple(names) if names is not None else None
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._images: Counter[tuple[int, int, int]] = Counter()
        self._hits = np.zeros((4, 0), np.int64)

    def update(self, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
        """Add a batch.

        Args:
            predicted: bool [N, K]; N may be 0.
            truth: bool [N, K].

        Raises:
            UsageError: shapes or dtypes do not fit each other, the names, or earlier batches.
        """
        self._check(predicted, truth)
        both = predicted & truth
        triples = np.stack([both.sum(axis=1), predicted.sum(axis=1), truth.sum(axis=1)], axis=1)
        self._images.update(tuple(row) for row in triples.tolist())
        hits = np.stack([both.sum(0), (~predicted & ~truth).sum(0), truth.sum(0), (~truth).sum(0)])
        self._hits = hits if self._hits.shape[1] == 0 else self._hits + hits

    def compute(self) -> AttributeMetrics:
        """Return the figures over all images so far.

        Raises:
            DatasetError: no image was added.
        """
        images = self._images.total()
        if images == 0:
            raise DatasetError("no images were evaluated: the data set or the predictions are empty")
        judged = {key: count for key, count in self._images.items() if key[2] > 0}
        total = sum(judged.values())
        precision = _mean(judged, total, lambda hits, found, _: hits / found if found else 0.0)
        recall = _mean(judged, total, lambda hits, _, true: hits / true)
        rows = self._rows()
        defined = [row.mean_accuracy for row in rows if not math.isnan(row.mean_accuracy)]
        return AttributeMetrics(
            instance_accuracy=_mean(judged, total, lambda hits, found, true: hits / (found + true - hits)),
            instance_precision=precision,
            instance_recall=recall,
            instance_f1=_harmonic(precision, recall),
            label_accuracy=math.fsum(defined) / len(defined) if defined else math.nan,
            attributes=rows,
            images=images,
            images_without_truth=images - total,
            undefined_attributes=len(rows) - len(defined),
        )

    def _check(self, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
        if predicted.dtype != np.bool_ or truth.dtype != np.bool_:
            raise UsageError(f"attributes must be bool, got {predicted.dtype} and {truth.dtype}")
        if predicted.ndim != 2 or predicted.shape != truth.shape:
            raise UsageError(
                f"predicted {list(predicted.shape)} and truth {list(truth.shape)} must both be [N, K]"
            )
        known = len(self._names) if self._names is not None else self._hits.shape[1] or predicted.shape[1]
        if predicted.shape[1] != known:
            raise UsageError(f"{predicted.shape[1]} attributes per image, expected {known}")

    def _rows(self) -> tuple[AttributeRow, ...]:
        names = self._names or tuple(f"attribute_{i}" for i in range(self._hits.shape[1]))
        rows = []
        for name, column in zip(names, self._hits.T.tolist(), strict=True):
            true_positives, true_negatives, positives, negatives = column
            positive_rate = true_positives / positives if positives else math.nan
            negative_rate = true_negatives / negatives if negatives else math.nan
            row = AttributeRow(
                name=name,
                true_positive_rate=positive_rate,
                true_negative_rate=negative_rate,
                mean_accuracy=(positive_rate + negative_rate) / 2,
                positives=positives,
                negatives=negatives,
            )
            rows.append(row)
        return tuple(rows)


def _mean(images: dict[tuple[int, int, int], int], total: int, ratio: Any) -> float:
    if total == 0:
        return math.nan
    return math.fsum(count * ratio(*key) for key, count in images.items()) / total


def _harmonic(precision: float, recall: float) -> float:
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _without_nan(content: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in content.items()
    }
