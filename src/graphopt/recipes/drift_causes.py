"""Causes that the answers of a stage alone let suspect; what to compare is read from the task."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from graphopt.core.coco import COCO_CATEGORY_IDS, COCO_CLASSES
from graphopt.recipes.drift_report import Cause
from graphopt.recipes.drift_stages import DEVICE, Row
from graphopt.runtime.datasets.coco_detection import CocoSample
from graphopt.runtime.datasets.image_files import upright_size
from graphopt.runtime.decode.detections import IN_IMAGES
from graphopt.runtime.placement import place_of
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.task import Dataset, Task
from graphopt.runtime.tasks.attributes import AttributeTask
from graphopt.runtime.tasks.detection import DetectionTask
from graphopt.runtime.tasks.segmentation import SegmentationTask
from graphopt.validate.suspects.boxes import suspect_boxes
from graphopt.validate.suspects.columns import suspect_columns
from graphopt.validate.suspects.labels import suspect_labels
from graphopt.validate.suspects.masks import suspect_masks
from graphopt.validate.suspects.order import suspect_order
from graphopt.validate.suspects.pairing import BoxesOfImages, Places
from graphopt.validate.waterfall import Waterfall

_MOST = 200
"""Images that are looked at."""
_SCORES = 16
"""Of an image, by which it is told from others."""

Floats = NDArray[np.float64]


def causes_of(task: Task, dataset: Dataset, found: Waterfall, rows: Mapping[str, Row]) -> tuple[Cause, ...]:
    """Look at every stage that loses more than noise against the one before, and at the device in any case.

    Args:
        task: of the model.
        dataset: the images.
        found: what each stage loses.
        rows: the stages that were scored, by label.
    """
    causes = []
    for item in found.rows:
        if item.loss is None:
            continue
        if item.stage != DEVICE and (item.loss.within_noise or item.loss.points <= 0):
            continue
        pair = rows[item.against].predictions, rows[item.stage].predictions
        if pair[0] is None or pair[1] is None:
            continue
        causes += [
            Cause(stage=item.stage, against=item.against, text=f"consistent with {clause}")
            for clause in suspicions(task, dataset, pair[0], pair[1])
        ]
    return tuple(causes)


def suspicions(
    task: Task, dataset: Dataset, reference: Predictions, candidate: Predictions
) -> tuple[str, ...]:
    """Return what was perhaps done to the candidate's answers, a clause each."""
    names = [sample.name for sample in dataset][:_MOST]
    one, two = _first(reference, names), _first(candidate, names)
    found: Iterator[str] = iter(())
    if isinstance(task, DetectionTask):
        found = _of_detections(task, dataset, one, two)
    elif isinstance(task, SegmentationTask):
        found = _of_masks(task, one, two)
    elif isinstance(task, AttributeTask):
        found = _of_attributes(task, one, two)
    return tuple(clause for clause in found if clause)


def _of_attributes(task: AttributeTask, one: Predictions, two: Predictions) -> Iterator[str]:
    first, second = (np.asarray(side.outputs[task.output], np.float64) for side in (one, two))
    yield suspect_order(first, second, one.names)
    yield suspect_columns(first, second, task.attributes)


def _of_masks(task: SegmentationTask, one: Predictions, two: Predictions) -> Iterator[str]:
    first, second = (np.asarray(side.outputs[task.output]).argmax(axis=1) for side in (one, two))
    size = len(task.classes)
    other = suspect_order(_shares(first, size), _shares(second, size), one.names)
    yield other
    if not other:
        yield suspect_masks(first, second, task.classes)


def _of_detections(
    task: DetectionTask, dataset: Dataset, one: Predictions, two: Predictions
) -> Iterator[str]:
    count = len(one)
    places = _places(task, dataset, count)
    first, second = (_boxes(task, side, places) for side in (one, two))
    other = suspect_order(_sorted_scores(first, count), _sorted_scores(second, count), one.names)
    yield other
    if other:
        return
    clause, pairs = suspect_boxes(first, second, places)
    yield clause
    ids = COCO_CATEGORY_IDS if task.classes == COCO_CLASSES else ()
    yield suspect_labels(
        first.labels[pairs.first], second.labels[pairs.second], task.classes, category_ids=ids
    )


def _first(predictions: Predictions, names: list[str]) -> Predictions:
    place = {name: i for i, name in enumerate(predictions.names)}
    rows = np.array([place[name] for name in names])
    outputs = {name: values[rows] for name, values in predictions.outputs.items()}
    return Predictions(names=tuple(names), outputs=outputs)


def _boxes(task: DetectionTask, predictions: Predictions, places: Places) -> BoxesOfImages:
    """Return the sure detections as the model answers them: a side may be negative, a label out of range."""
    in_images = IN_IMAGES in predictions.outputs
    rows = np.asarray(predictions.outputs[IN_IMAGES if in_images else task.dets], np.float64)
    labels = np.asarray(predictions.outputs[task.labels], np.int64).reshape(rows.shape[:2])
    image, place = np.nonzero(rows[..., 4] >= task.shown)
    boxes = rows[image, place, :4]
    if in_images:
        at = places.of(image)
        boxes = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]) * at.scale + at.start
    return BoxesOfImages(
        boxes=boxes, scores=rows[image, place, 4], labels=labels[image, place], image=image.astype(np.int64)
    )


def _places(task: DetectionTask, dataset: Dataset, count: int) -> Places:
    samples = [sample for _, sample in zip(range(count), dataset, strict=False)]
    sizes = [s.size if isinstance(s, CocoSample) else upright_size(s.path) for s in samples]
    found = [place_of(task.steps, *size) for size in sizes]
    source = np.array([(item.source_width, item.source_height) for item in found], np.float64)
    size = np.array([(item.width, item.height) for item in found], np.float64)
    canvas = np.array([(item.canvas_width, item.canvas_height) for item in found], np.float64)
    fit = (canvas / source).min(axis=1, keepdims=True)
    return Places(
        start=np.array([(item.left, item.top) for item in found], np.float64),
        scale=size / source,
        size=size,
        canvas=canvas,
        published_start=(canvas - source * fit) // 2,
        published_scale=np.tile(fit, 2),
    )


def _sorted_scores(side: BoxesOfImages, images: int) -> Floats:
    """Return the highest scores of each image: they stay what they are where boxes or labels are wrong."""
    scores = np.zeros((images, _SCORES))
    for image in range(images):
        own = -np.sort(-side.scores[side.image == image])[:_SCORES]
        scores[image, : len(own)] = own
    return scores


def _shares(masks: NDArray[np.int64], classes: int) -> Floats:
    """Return the share of each class in a coarse grid of each mask."""
    parts = [
        [np.bincount(cell.ravel(), minlength=classes) / cell.size for cell in _cells(mask)] for mask in masks
    ]
    return np.array(parts, np.float64).reshape(len(masks), -1)


def _cells(mask: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [cell for band in np.array_split(mask, 3) for cell in np.array_split(band, 3, axis=1)]
