"""Metrics of semantic segmentation, all from one confusion matrix of pixels.

With ``n[t, p]`` the pixels of true class t that are predicted as p: the IoU of a class is
``n[c, c] / (row + column - n[c, c])``, its accuracy ``n[c, c] / row``. The mean IoU and the mean
accuracy are means over the classes; pixel accuracy is the share of right pixels; the
frequency-weighted IoU weights each class with its true pixels. Edge cases:

- pixels with the ignored label (255) take no part, whatever is predicted there;
- a class without a true pixel has IoU and accuracy nan: it is counted and left out of the means.
  Pixels wrongly given to it still lower the IoU of the class they belong to. (The original's
  ``MeanIoU`` leaves out a class that is neither true nor predicted, but counts one that is only
  predicted as 0, and leaves out any class whose IoU is exactly 1. On the VOC validation set,
  where every class occurs and none is perfect, both definitions give the same figure.)
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError

Confusion = NDArray[np.int64]
"""Pixels [K, K]: true class, predicted class."""


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class over all images.

    Attributes:
        name: of the class.
        iou: 0..1; nan without true pixels.
        accuracy: share of its true pixels that are found, 0..1; nan without true pixels.
        pixels: true ones.
        predicted: pixels given to it, ignored ones not counted.
    """

    name: str
    iou: float
    accuracy: float
    pixels: int
    predicted: int


@dataclass(frozen=True, kw_only=True)
class SegmentationMetrics:
    """All figures of one evaluation; each 0..1, see the module's text for definitions.

    Attributes:
        mean_iou: over the classes that have true pixels.
        pixel_accuracy: of all labelled pixels.
        mean_accuracy: over the classes that have true pixels.
        frequency_weighted_iou: weighted with true pixels.
        classes: one row per class, in order.
        pixels: labelled ones.
        undefined_classes: classes without a true pixel.
    """

    mean_iou: float
    pixel_accuracy: float
    mean_accuracy: float
    frequency_weighted_iou: float
    classes: tuple[ClassRow, ...]
    pixels: int
    undefined_classes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data; nan becomes None, which JSON can hold."""
        content = dataclasses.asdict(self)
        content["classes"] = [_without_nan(row) for row in content["classes"]]
        return _without_nan(content)


def confusion_matrix(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], *, classes: int, ignore: int = 255
) -> Confusion:
    """Count the pixels of each pair of true and predicted class.

    Args:
        predicted: uint8, any shape, below ``classes`` wherever the truth is not ignored.
        truth: uint8 of the same shape; below ``classes``, or ``ignore``.
        classes: K, at most 255.
        ignore: label of pixels that do not count.

    Returns:
        int64 [K, K]; the first axis is the true class.

    Raises:
        UsageError: shapes or dtypes do not fit, or a prediction is no class.
        DatasetError: a label is neither a class nor ``ignore``.
    """
    if predicted.dtype != np.uint8 or truth.dtype != np.uint8 or predicted.shape != truth.shape:
        raise UsageError(
            f"masks must be uint8 of one shape, got {predicted.dtype} {list(predicted.shape)} and "
            f"{truth.dtype} {list(truth.shape)}"
        )
    pairs = (truth.astype(np.uint16) << 8 | predicted).ravel()
    counts = np.bincount(pairs, minlength=1 << 16).reshape(256, 256)
    matrix = counts[:classes, :classes]
    counts[ignore] = 0
    if counts.sum() != matrix.sum():
        strange = np.flatnonzero(counts[classes:].sum(axis=1)) + classes
        if strange.size:
            raise DatasetError(f"labels hold {strange.tolist()}, which is neither a class nor {ignore}")
        raise UsageError(f"predictions hold classes beyond {classes - 1}")
    return matrix.astype(np.int64)


def segmentation_metrics(confusion: Confusion, names: Sequence[str]) -> SegmentationMetrics:
    """Compute all figures from a confusion matrix.

    Args:
        confusion: int64 [K, K]; the first axis is the true class.
        names: K class names.

    Raises:
        UsageError: shapes do not fit.
        DatasetError: no labelled pixel was evaluated.
    """
    if confusion.shape != (len(names), len(names)):
        raise UsageError(f"the confusion matrix has shape {list(confusion.shape)} for {len(names)} classes")
    hits, true, found = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    pixels = int(true.sum())
    if pixels == 0:
        raise DatasetError("no labelled pixels were evaluated: the masks are empty or hold only void")
    iou = _ratio(hits, np.where(true > 0, true + found - hits, 0))
    accuracy = _ratio(hits, true)
    rows = tuple(
        ClassRow(name=name, iou=a, accuracy=b, pixels=t, predicted=f)
        for name, a, b, t, f in zip(
            names, iou.tolist(), accuracy.tolist(), true.tolist(), found.tolist(), strict=True
        )
    )
    known = true > 0
    return SegmentationMetrics(
        mean_iou=float(iou[known].mean()),
        pixel_accuracy=float(hits.sum() / pixels),
        mean_accuracy=float(accuracy[known].mean()),
        frequency_weighted_iou=float((iou[known] * true[known]).sum() / pixels),
        classes=rows,
        pixels=pixels,
        undefined_classes=int((~known).sum()),
    )


def image_counts(confusion: Confusion) -> NDArray[np.int64]:
    """Return [3, K] of one image: pixels that are right, that are of the class, that are given to it."""
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def weighted_mean_iou(counts: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean IoU [B] where images count as often as ``weights`` say.

    Args:
        counts: int64 [N, 3, K], ``image_counts`` of each image.
        weights: int64 [B, N].

    Returns:
        float64 [B]; nan where no labelled pixel counts.
    """
    hits, true, found = np.tensordot(weights, counts, axes=1).transpose(1, 0, 2)
    known = true > 0
    iou = np.divide(hits, true + found - hits, out=np.zeros(hits.shape), where=known)
    classes = known.sum(axis=1)
    mean: NDArray[np.float64] = np.divide(
        iou.sum(axis=1), classes, out=np.full(len(weights), np.nan), where=classes > 0
    )
    return mean


class ConfusionAccumulator:
    """A confusion matrix over images; the result does not depend on their order.

    Args:
        names: of the classes.
        ignore: label of pixels that do not count.
    """

    def __init__(self, names: Sequence[str], *, ignore: int = 255) -> None:
        self._names = tuple(names)
        self._ignore = ignore
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._confusion: Confusion = np.zeros((len(self._names), len(self._names)), np.int64)

    def update(self, predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Add masks of one shape; see ``confusion_matrix``."""
        self.add(confusion_matrix(predicted, truth, classes=len(self._names), ignore=self._ignore))

    def add(self, confusion: Confusion) -> None:
        """Add the counts of other images."""
        self._confusion += confusion

    def compute(self) -> SegmentationMetrics:
        """Return the figures over all images so far.

        Raises:
            DatasetError: no labelled pixel was added.
        """
        return segmentation_metrics(self._confusion, self._names)


def _ratio(part: Confusion, whole: Confusion) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(len(part), math.nan), where=whole > 0)
    return ratio


def _without_nan(content: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in content.items()
    }
