"""Semantic segmentation: a class for each pixel, from logits at a fraction of the input's size."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.files import write_text
from graphopt.core.mapped import blocks
from graphopt.core.tensors import Array
from graphopt.core.voc import VOC_CLASSES, VOC_IGNORE, voc_palette
from graphopt.runtime.datasets.voc_segmentation import VocSample, VocSegmentation
from graphopt.runtime.decode.masks import Mask, mask_from_logits, mask_on_canvas, mask_on_source
from graphopt.runtime.disagreement import Disagreement, masks_disagree
from graphopt.runtime.letterbox import Letterbox
from graphopt.runtime.metrics.mean_iou import (
    Confusion,
    ConfusionAccumulator,
    SegmentationMetrics,
    confusion_matrix,
    image_counts,
    weighted_mean_iou,
)
from graphopt.runtime.pictures import overlay, photograph
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.task import Dataset, Panel, Reading, Sample, Score, check_names

_FIGURES = ("mean_iou", "mean_accuracy", "frequency_weighted_iou", "pixel_accuracy")
_WORKERS = max(1, min(4, os.cpu_count() or 1))
_CHECKED = 64


@dataclass(frozen=True, kw_only=True)
class SegmentationTask:
    """VOC-format data, logits [N, K, h, w] of one output, mean IoU.

    Predictions are scored in the network's frame, as published: logits are upsampled to ``size``,
    and the labels go through the image's own scaling and padding.

    Attributes:
        classes: K names; the first is the background.
        output: name of the logits among the model's outputs.
        size: height and width of the network's input; images are scaled so that their longest
            side is the smaller of both, and centred.
        ignore: label of pixels that do not count.
    """

    classes: tuple[str, ...] = VOC_CLASSES
    output: str = "output"
    size: tuple[int, int] = (500, 500)
    ignore: int = VOC_IGNORE

    @property
    def headline(self) -> str:
        """The figure the published results and the gate look at."""
        return "mean IoU"

    @property
    def detail_kind(self) -> str:
        """What a row of ``Score.details`` is about."""
        return "class"

    @property
    def allowed_flips(self) -> float:
        """A pixel in ten thousand: between two classes, some logits tie up to float noise."""
        return 1e-4

    def open_data(
        self,
        root: Path,
        *,
        limit: int | None = None,
        labels_only: bool = False,
        annotations: Path | None = None,
    ) -> VocSegmentation:
        """Open a VOC-format folder, its ``val`` list; see ``VocSegmentation``.

        When a model is to run, every mask is read once before (1 to 2 s for VOC's 1,449): a broken
        one must not be found after an hour of inference.
        """
        if annotations is not None:
            raise UsageError("VOC has a mask for each image and no file of annotations; leave it out")
        dataset = VocSegmentation(root, limit=limit, labels_only=labels_only)
        if not labels_only:
            with ThreadPoolExecutor(_WORKERS) as pool:
                for part in range(0, len(dataset), _CHECKED):  # an error ends it soon
                    list(pool.map(VocSample.mask, dataset[part : part + _CHECKED]))
        return dataset

    def score(self, dataset: Dataset, predictions: Predictions) -> Score:
        """Score logits against the labels; see ``runtime.metrics.mean_iou``.

        Raises:
            DatasetError: the predictions are not exactly those of the data set, or not finite.
        """
        return self._score(dataset, predictions, self._labels(dataset))

    def agreement(self, dataset: Dataset, reference: Predictions, candidate: Predictions) -> Score:
        """Score logits with the reference's classes in place of labels; padding does not count."""
        check_names(dataset, reference)
        return self._score(dataset, candidate, self._answers(dataset, reference))

    def _answers(self, dataset: Dataset, reference: Predictions) -> Callable[[str], Mask]:
        """Return what gives the classes of a model in an image, padding to be ignored."""
        samples = {sample.name: sample for sample in dataset}
        rows = dict(zip(reference.names, self._logits(reference), strict=True))

        def truth(name: str) -> Mask:
            width, height = photograph(samples[name].path).size
            inner = self._place(width, height).inner
            mask = np.full(self.size, self.ignore, np.uint8)
            mask[inner] = self._mask(self._finite(name, rows[name]))[inner]
            return mask

        return truth

    def _score(self, dataset: Dataset, predictions: Predictions, truth: Callable[[str], Mask]) -> Score:
        metrics, counts, errors = self._metrics(dataset, predictions, truth)
        rows_of: NDArray[np.int64] = np.stack([counts[sample.name] for sample in dataset])
        content = metrics.to_json()
        rows = [
            {"name": row["name"], "pixels": row["pixels"], "accuracy": row["accuracy"], "IoU": row["iou"]}
            for row in content.pop("classes")
        ]
        return Score(
            headline=metrics.mean_iou,
            figures={name: content[name] for name in _FIGURES},
            samples=len(predictions),
            details={"rows": rows, "metrics": content},
            errors=errors,
            weighted=functools.partial(weighted_mean_iou, rows_of),
        )

    def flips(self, reference: Predictions, candidate: Predictions) -> tuple[int, int]:
        """Count pixels of the network's frame, padding included, whose class differs."""
        pairs = [reference.outputs[self.output], candidate.outputs[self.output]]

        def differing(both: tuple[Array, Array]) -> int:
            left, right = both
            if np.array_equal(left, right):
                return 0
            return int((self._mask(left) != self._mask(right)).sum())

        flipped = 0
        with ThreadPoolExecutor(_WORKERS) as pool:
            for _, (left, right) in blocks(pairs):
                flipped += sum(pool.map(differing, zip(left, right, strict=True)))
        return flipped, len(reference) * self.size[0] * self.size[1]

    def disagreements(
        self, dataset: Dataset, reference: Predictions, candidate: Predictions
    ) -> tuple[Disagreement, ...]:
        """Compare the masks in the network's frame, padding left out; see ``runtime.disagreement``."""
        for side in (reference, candidate):
            check_names(dataset, side)
        place = {name: i for i, name in enumerate(candidate.names)}
        truth, rows = self._answers(dataset, reference), self._logits(candidate)

        def count(name: str) -> tuple[str, NDArray[np.int64]]:
            mask = self._mask(self._finite(name, rows[place[name]]))
            return name, confusion_matrix(mask, truth(name), classes=len(self.classes), ignore=self.ignore)

        with ThreadPoolExecutor(_WORKERS) as pool:
            return masks_disagree(dict(pool.map(count, reference.names)), classes=self.classes)

    def read(self, outputs: Mapping[str, Array], sample: Sample) -> tuple[Reading, ...]:
        """Return the classes that are in the image or its labels, with the predicted share of it."""
        mask = self._mask_of_image(outputs, sample)
        palette = voc_palette()
        shares = np.bincount(mask.ravel(), minlength=len(self.classes)) / mask.size
        true = set(np.unique(sample.mask()).tolist()) if isinstance(sample, VocSample) else None
        return tuple(
            Reading(
                label=self.classes[index],
                value=float(shares[index]),
                positive=bool(shares[index] > 0),
                truth=None if true is None else index in true,
                measure="area",
                colour=palette[index],
            )
            for index in np.argsort(-shares, kind="stable").tolist()
            if shares[index] > 0 or (true is not None and index in true)
        )

    def panels(self, outputs: Mapping[str, Array], sample: Sample) -> tuple[Panel, ...]:
        """Draw the image, its labels where there are any, and the predicted mask over the image."""
        photo, palette = photograph(sample.path), voc_palette()
        panels = [Panel(caption="image", picture=photo)]
        if isinstance(sample, VocSample):
            panels.append(Panel(caption="labels", picture=overlay(photo, sample.mask(), palette)))
        predicted = overlay(photo, self._mask_of_image(outputs, sample), palette)
        return (*panels, Panel(caption="prediction", picture=predicted))

    def write_original(self, dataset: Dataset, predictions: Predictions, path: Path) -> None:
        """Write the line that the original recipe's guide shows: ``miou: 0.786359``."""
        metrics, _, _ = self._metrics(dataset, predictions, self._labels(dataset))
        write_text(path, f"miou: {metrics.mean_iou:.6f}\n")

    def read_original(self, dataset: Dataset, path: Path) -> None:
        """Return None: the original's script leaves a figure only, no masks."""

    def _labels(self, dataset: Dataset) -> Callable[[str], Mask]:
        """Return what gives the labels of an image in the network's frame."""
        samples = {sample.name: sample for sample in _voc(dataset)}

        def truth(name: str) -> Mask:
            mask = samples[name].mask()
            return mask_on_canvas(mask, self._place(mask.shape[1], mask.shape[0]), fill=self.ignore)

        return truth

    def _metrics(
        self, dataset: Dataset, predictions: Predictions, truth: Callable[[str], Mask]
    ) -> tuple[SegmentationMetrics, dict[str, NDArray[np.int64]], dict[str, float]]:
        """Return the figures, each image's counts, and the share of wrong pixels of each image."""
        check_names(dataset, predictions)
        total = ConfusionAccumulator(self.classes, ignore=self.ignore)
        errors: dict[str, float] = {}
        counts: dict[str, NDArray[np.int64]] = {}

        def count(item: tuple[str, Array]) -> tuple[str, Confusion]:
            name, logits = item
            mask = self._mask(self._finite(name, logits))
            return name, confusion_matrix(mask, truth(name), classes=len(self.classes), ignore=self.ignore)

        with ThreadPoolExecutor(_WORKERS) as pool:
            for block in self._named_rows(predictions):
                for name, confusion in pool.map(count, block):
                    total.add(confusion)
                    counts[name] = image_counts(confusion)
                    errors[name] = 1 - float(np.trace(confusion)) / max(1, int(confusion.sum()))
        return total.compute(), counts, errors

    def _named_rows(self, predictions: Predictions) -> Iterator[list[tuple[str, Array]]]:
        for part, (rows,) in blocks([self._logits(predictions)]):
            yield list(zip(predictions.names[part], rows, strict=True))

    def _logits(self, predictions: Predictions) -> Array:
        if self.output not in predictions.outputs:
            names = ", ".join(predictions.outputs)
            raise UsageError(f"the predictions have no output {self.output}, they have: {names}")
        logits = predictions.outputs[self.output]
        if logits.ndim != 4 or logits.shape[1] != len(self.classes):
            raise DatasetError(
                f"predictions have shape {list(logits.shape)}, expected [{len(predictions)}, "
                f"{len(self.classes)}, height, width]; is this the right model?"
            )
        return logits

    def _finite(self, name: str, logits: Array) -> Array:
        if not np.isfinite(logits).all():
            raise DatasetError(
                f"the logits of {name} hold NaN or infinities; compare the stages with validate first"
            )
        return logits

    def _mask(self, logits: Array) -> Mask:
        return mask_from_logits(logits, height=self.size[0], width=self.size[1])

    def _mask_of_image(self, outputs: Mapping[str, Array], sample: Sample) -> Mask:
        width, height = photograph(sample.path).size
        return mask_on_source(self._mask(outputs[self.output]), self._place(width, height))

    def _place(self, width: int, height: int) -> Letterbox:
        return Letterbox.fitted(width, height, longest=min(self.size), canvas=self.size)


def _voc(dataset: Dataset) -> VocSegmentation:
    if not isinstance(dataset, VocSegmentation):
        raise DatasetError("segmentation is scored on a VOC-format data set")
    return dataset
