"""From the rows that a detector answers for each image to objects in the images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.tensors import Array
from graphopt.runtime.decode.boxes import BoxMapping, FoundObjects, boxes_on_source
from graphopt.runtime.letterbox import Letterbox
from graphopt.runtime.predictions import Predictions

IN_IMAGES = "dets in pixels of the image"
"""Name of the output [N, n, 5] of predictions that are mapped back already: x, y, width, height, score."""
_COLUMNS = 5


def detections_of(
    predictions: Predictions,
    places: Sequence[Letterbox],
    *,
    dets: str,
    labels: str,
    classes: int,
    threshold: float,
    mapping: BoxMapping,
    clip: bool,
) -> FoundObjects:
    """Read the detections of all images, in the order of their rows.

    Args:
        predictions: ``dets`` floats [N, n, 5] of x1, y1, x2, y2 in pixels of the input and a score; rows
            with a score of 0 are padding.
        places: the transform of each image.
        dets: name of that output.
        labels: name of the output [N, n] of class numbers.
        classes: how many there are; rows with another label are dropped.
        threshold: least score.
        mapping: see ``BoxMapping``.
        clip: cut boxes off at the borders of the image.

    Raises:
        UsageError: an output is missing.
        DatasetError: shapes are not those of detections, or rows hold NaN.
    """
    mapped = IN_IMAGES in predictions.outputs
    rows = _output(predictions, IN_IMAGES if mapped else dets)
    labelled = _output(predictions, labels)
    if rows.ndim != 3 or rows.shape[-1] != _COLUMNS or labelled.size != rows.shape[0] * rows.shape[1]:
        raise DatasetError(
            f"{dets} has shape {list(rows.shape)} and {labels} {list(labelled.shape)}, expected "
            f"[{len(predictions)}, n, {_COLUMNS}] and [{len(predictions)}, n]; is this the right model?"
        )
    numbers: NDArray[np.int64] = np.asarray(labelled.reshape(rows.shape[:2]), np.int64)
    _check_finite(predictions, rows)
    scores = np.asarray(rows[..., 4], np.float64)
    kept = (scores >= threshold) & (scores > 0) & (numbers >= 0) & (numbers < classes)
    image, place = np.nonzero(kept)
    boxes = np.asarray(rows[image, place, :4], np.float64)
    if not mapped:
        boxes = boxes_on_source(boxes, image, places, mapping=mapping, clip=clip)
    return FoundObjects(
        image=image.astype(np.int64),
        label=numbers[image, place],
        boxes=boxes,
        scores=scores[image, place],
    )


def predictions_of(found: FoundObjects, names: Sequence[str], *, labels: str) -> Predictions:
    """Return detections that are in pixels of the images as predictions; see ``IN_IMAGES``."""
    counts = np.bincount(found.image, minlength=len(names))
    widest = int(counts.max(initial=0))
    order = np.argsort(found.image, kind="stable")
    image = found.image[order]
    place = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows, numbers = np.zeros((len(names), widest, _COLUMNS)), np.zeros((len(names), widest), np.int64)
    rows[image, place, :4], rows[image, place, 4] = found.boxes[order], found.scores[order]
    numbers[image, place] = found.label[order]
    return Predictions(names=tuple(names), outputs={IN_IMAGES: rows, labels: numbers})


def _output(predictions: Predictions, name: str) -> Array:
    if name not in predictions.outputs:
        names = ", ".join(predictions.outputs)
        raise UsageError(
            f"the predictions have no output {name}, they have: {names}; detections need boxes with scores "
            "(float, last axis 5) and class numbers"
        )
    return np.asarray(predictions.outputs[name])


def _check_finite(predictions: Predictions, rows: NDArray[np.generic]) -> None:
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=(1, 2)))
    if broken.size:
        names = ", ".join(predictions.names[i] for i in broken[:5])
        raise DatasetError(
            f"{broken.size} of {len(predictions)} images have detections that are NaN or infinite: {names}; "
            "compare the stages with validate first"
        )
