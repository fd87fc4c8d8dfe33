"""Object detection: boxes with scores and classes, COCO-format data, box mAP."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.core.coco import COCO_CLASSES, class_colour
from graphopt.core.errors import DatasetError
from graphopt.core.preprocessing import Step
from graphopt.core.tensors import Array
from graphopt.runtime.datasets.coco_annotations import CocoObjects
from graphopt.runtime.datasets.coco_detection import CocoDetection, CocoSample
from graphopt.runtime.datasets.image_files import upright_size
from graphopt.runtime.decode.boxes import BoxMapping, FoundObjects
from graphopt.runtime.decode.detections import detections_of, predictions_of
from graphopt.runtime.detection_files import (
    are_texts,
    read_coco_results,
    read_texts,
    write_coco_results,
    write_texts,
)
from graphopt.runtime.detection_pictures import draw_boxes, upright_photograph
from graphopt.runtime.disagreement import Disagreement, boxes_disagree
from graphopt.runtime.letterbox import Letterbox
from graphopt.runtime.metrics.box_matches import covered, match_boxes
from graphopt.runtime.metrics.coco_boxes import CocoFigures, coco_figures
from graphopt.runtime.metrics.weighted_boxes import LazyBoxMap
from graphopt.runtime.placement import place_of
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.task import Dataset, Panel, Reading, Sample, Score, Weighted, check_names

_NEAR_CUT = 1e-3
"""Scores this near to where a model stops may be on either side of it."""


@dataclass(frozen=True, kw_only=True)
class DetectionTask:
    """COCO-format data, detections of two outputs, COCO's twelve figures.

    Attributes:
        steps: preprocessing of the recipe; says where an image lies in the input.
        classes: names by label; an annotation file's categories are found by name.
        dets: name of the output [n, 5] or [B, n, 5].
        labels: name of the output [n] or [B, n].
        threshold: detections below it do not count, as in the original scripts.
        shown: score from which a detection is drawn, named, or stands for a label.
        mapping: how boxes come back to the image.
        clip: cut boxes off at the borders of the image.
    """

    steps: tuple[Step, ...]
    classes: tuple[str, ...] = COCO_CLASSES
    dets: str = "dets"
    labels: str = "labels"
    threshold: float = 0.05
    shown: float = 0.3
    mapping: BoxMapping = BoxMapping.REAL
    clip: bool = False

    @property
    def headline(self) -> str:
        """The figure the published results and the gate look at."""
        return "box mAP"

    @property
    def detail_kind(self) -> str:
        """What a row of ``Score.details`` is about."""
        return "class"

    @property
    def allowed_flips(self) -> float:
        """A detection in a thousand: of two boxes that overlap just by the threshold, rounding keeps one."""
        return 1e-3

    def open_data(
        self,
        root: Path,
        *,
        limit: int | None = None,
        labels_only: bool = False,
        annotations: Path | None = None,
    ) -> CocoDetection:
        """Open a COCO-format folder; see ``CocoDetection``.

        Raises:
            DatasetError: also when the annotations name none of the model's classes.
        """
        dataset = CocoDetection(root, annotations=annotations, limit=limit, labels_only=labels_only)
        self._category_ids(dataset)
        return dataset

    def detections(self, dataset: Dataset, predictions: Predictions) -> FoundObjects:
        """Return the detections in pixels of the images; ``image`` counts the data set's samples."""
        names = check_names(dataset, predictions)
        if isinstance(dataset, CocoDetection):
            sizes = [(width, height) for width, height in dataset.sizes.tolist()]
        else:
            sizes = [_size(sample) for sample in dataset]
        ordered = predictions if names == predictions.names else _rows(predictions, names)
        return self._read(ordered, sizes)

    def score(self, dataset: Dataset, predictions: Predictions) -> Score:
        """Score detections against the annotations; see ``runtime.metrics.coco_boxes``.

        Raises:
            DatasetError: the predictions are not exactly those of the data set, or not finite.
            MissingBackendError: no evaluator is installed.
        """
        truth = _coco(dataset)
        found = self.detections(truth, predictions)
        classes = list(zip(self.classes, self._category_ids(truth), strict=True))
        figures = coco_figures(truth.objects, found, image_ids=truth.image_ids, classes=classes)
        weighted = LazyBoxMap(truth.objects, found, image_ids=truth.image_ids, classes=classes)
        return self._score(figures, truth.names, self._objects(truth), found, weighted)

    def agreement(self, dataset: Dataset, reference: Predictions, candidate: Predictions) -> Score:
        """Score detections with those of the reference in place of labels: all from ``shown`` on.

        Boxes are not clipped, and those without area left out on both sides: a box in the padding would
        be cut to nothing and match nothing, though both models answer the same.

        Raises:
            DatasetError: the reference is sure of nothing.
        """
        whole = replace(self, clip=False)
        sure, found = (whole.detections(dataset, side) for side in (reference, candidate))
        sure, found = (side.at(np.prod(side.boxes[:, 2:], axis=1) > 0) for side in (sure, found))
        sure = sure.at(sure.scores >= self.shown)
        if not len(sure):
            raise DatasetError(
                f"the reference detects nothing with a score of {self.shown:g} or more in {len(reference)} "
                "images: there is nothing to compare with"
            )
        objects = CocoObjects(
            image=sure.image,
            category=sure.label + 1,
            boxes=sure.boxes,
            area=np.prod(sure.boxes[:, 2:], axis=1),
            crowd=np.zeros(len(sure), np.bool_),
            ids=np.arange(len(sure)),
        )
        names = [sample.name for sample in dataset]
        classes = [(name, label) for label, name in enumerate(self.classes, start=1)]
        ids = range(1, len(names) + 1)
        figures = coco_figures(objects, found, image_ids=ids, classes=classes)
        weighted = LazyBoxMap(objects, found, image_ids=ids, classes=classes)
        return self._score(figures, names, (sure, _empty()), found, weighted)

    def flips(self, reference: Predictions, candidate: Predictions) -> tuple[int, int]:
        """Count detections without a partner of their class and place, and all detections.

        One whose score is about the least that the other side answers is no flip: it may have been
        cut off there.
        """
        sides = [self._in_input(predictions) for predictions in (reference, candidate)]
        first, second = sides
        matches = match_boxes(first, second)
        lonely = 0
        for own, other, partner in (
            (first, second, matches.found),
            (second, first, matches.truth),
        ):
            least = np.full(len(reference), 1.0)
            np.minimum.at(least, other.image, other.scores)
            counts = np.bincount(other.image, minlength=len(reference))
            least = np.where(counts == counts.max(initial=1), least, self.threshold)
            lonely += int(((partner < 0) & (own.scores > least[own.image] + _NEAR_CUT)).sum())
        return lonely, max(len(first), len(second))

    def disagreements(
        self, dataset: Dataset, reference: Predictions, candidate: Predictions
    ) -> tuple[Disagreement, ...]:
        """Compare the detections in the images; see ``runtime.disagreement``."""
        sides = [self.detections(dataset, side) for side in (reference, candidate)]
        names = [sample.name for sample in dataset]
        return boxes_disagree(*sides, names=names, classes=self.classes, shown=self.shown)

    def read(self, outputs: Mapping[str, Array], sample: Sample) -> tuple[Reading, ...]:
        """Return the detections, the surest first, and the annotated objects that were missed.

        Those below ``shown`` are there, but not positive.
        """
        found = self._of_sample(outputs, sample)
        objects, crowds = self._objects_of(sample)
        matches = match_boxes(objects, found.at(found.scores >= self.shown))
        right, neutral = match_boxes(objects, found).truth >= 0, covered(crowds, found)
        known = isinstance(sample, CocoSample)
        readings = [
            replace(item, truth=None if not known or not item.positive or (crowd and not hit) else hit)
            for item, hit, crowd in zip(self._readings(found), right.tolist(), neutral.tolist(), strict=True)
        ]
        missed = self._readings(objects.at(matches.found < 0))
        return (
            *sorted(readings, key=lambda item: -item.value),
            *(replace(item, value=0.0, positive=False, truth=True) for item in missed),
        )

    def panels(self, outputs: Mapping[str, Array], sample: Sample) -> tuple[Panel, ...]:
        """Draw the image, its labels where there are any, and the detections over the image."""
        photo = upright_photograph(sample.path)
        panels = [Panel(caption="image", picture=photo)]
        if isinstance(sample, CocoSample):
            labels = draw_boxes(photo, self._readings(self._objects_of(sample)[0]), scores=False)
            panels.append(Panel(caption="labels", picture=labels))
        found = self._of_sample(outputs, sample)
        drawn = draw_boxes(photo, self._readings(found.at(found.scores >= self.shown)))
        return (*panels, Panel(caption="prediction", picture=drawn))

    def write_original(self, dataset: Dataset, predictions: Predictions, path: Path) -> None:
        """Write COCO's results (``NAME.json``), or a folder of text files as the original scripts do."""
        truth = _coco(dataset)
        found = self.detections(truth, predictions)
        if path.suffix == ".json":
            ids = self._category_ids(truth)
            known = np.array([category is not None for category in ids])
            write_coco_results(
                path,
                found.at(known[found.label]),
                image_ids=truth.image_ids,
                category_ids=[category or 0 for category in ids],
            )
        else:
            write_texts(path, found, stems=[Path(name).stem for name in truth.names], classes=self.classes)

    def read_original(self, dataset: Dataset, path: Path) -> Predictions | None:
        """Read a JSON file of COCO results, or a folder of the original scripts' text files."""
        if path.suffix == ".json":
            truth = _coco(dataset)
            ids = self._category_ids(truth)
            label_of = {category: label for label, category in enumerate(ids) if category is not None}
            found = read_coco_results(path, image_ids=truth.image_ids, label_of=label_of)
        elif are_texts(path):
            stems = [Path(sample.name).stem for sample in dataset]
            found = read_texts(path, stems=stems, classes=self.classes)
        else:
            return None
        return predictions_of(found, [sample.name for sample in dataset], labels=self.labels)

    def _read(self, predictions: Predictions, sizes: Iterable[tuple[int, int]]) -> FoundObjects:
        places = [place_of(self.steps, *size) for size in sizes]
        return self._placed(predictions, places, mapping=self.mapping, clip=self.clip)

    def _in_input(self, predictions: Predictions) -> FoundObjects:
        """Return the detections where the network sees them."""
        return self._placed(
            predictions, [place_of((), 1, 1)] * len(predictions), mapping=BoxMapping.REAL, clip=False
        )

    def _placed(
        self, predictions: Predictions, places: Sequence[Letterbox], *, mapping: BoxMapping, clip: bool
    ) -> FoundObjects:
        return detections_of(
            predictions,
            places,
            dets=self.dets,
            labels=self.labels,
            classes=len(self.classes),
            threshold=self.threshold,
            mapping=mapping,
            clip=clip,
        )

    def _of_sample(self, outputs: Mapping[str, Array], sample: Sample) -> FoundObjects:
        one = {name: np.asarray(rows)[np.newaxis] for name, rows in outputs.items()}
        return self._read(Predictions(names=(sample.name,), outputs=one), [_size(sample)])

    def _category_ids(self, dataset: CocoDetection) -> list[int | None]:
        """Return the category id of each label; None where the annotations have no such class."""
        by_name = {name: category for category, name in dataset.categories.items()}
        ids = [by_name.get(name) for name in self.classes]
        if all(category is None for category in ids):
            raise DatasetError(
                f"{dataset.annotations} knows none of the model's classes ({self.classes[0]}, ...); "
                f"its categories are {', '.join(list(by_name)[:5])}, ..."
            )
        return ids

    def _objects(self, dataset: CocoDetection) -> tuple[FoundObjects, FoundObjects]:
        """Return the annotated objects of the model's classes, and the crowds among them apart."""
        return self._labelled(dataset.objects, dataset.categories)

    def _objects_of(self, sample: Sample) -> tuple[FoundObjects, FoundObjects]:
        if not isinstance(sample, CocoSample):
            return _empty(), _empty()
        objects, crowds = self._labelled(sample.objects, sample.categories)
        return replace(objects, image=objects.image * 0), replace(crowds, image=crowds.image * 0)

    def _labelled(
        self, objects: CocoObjects, categories: Mapping[int, str]
    ) -> tuple[FoundObjects, FoundObjects]:
        label_of = {name: label for label, name in enumerate(self.classes)}
        labels = np.array([label_of.get(categories[i], -1) for i in objects.category.tolist()], np.int64)
        every = FoundObjects(
            image=objects.image, label=labels, boxes=objects.boxes, scores=np.ones(len(objects))
        )
        return every.at((labels >= 0) & ~objects.crowd), every.at((labels >= 0) & objects.crowd)

    def _readings(self, found: FoundObjects) -> list[Reading]:
        return [
            Reading(
                label=self.classes[label],
                value=score,
                positive=score >= self.shown,
                measure="score",
                colour=class_colour(label),
                box=(x, y, width, height),
            )
            for label, (x, y, width, height), score in zip(
                found.label.tolist(), found.boxes.tolist(), found.scores.tolist(), strict=True
            )
        ]

    def _score(
        self,
        figures: CocoFigures,
        names: Sequence[str],
        truth: tuple[FoundObjects, FoundObjects],
        found: FoundObjects,
        weighted: Weighted,
    ) -> Score:
        rows = [
            {"name": row.name, "objects": row.objects, "AR": _or_none(row.ar), "AP50": _or_none(row.ap50)}
            | {"AP": _or_none(row.ap)}
            for row in figures.classes
        ]
        return Score(
            headline=figures.figures["AP"],
            figures=figures.figures,
            samples=len(names),
            details={
                "rows": rows,
                "metrics": {
                    "detections": figures.detections,
                    "objects": len(truth[0]),
                    "crowds": len(truth[1]),
                    "score_threshold": self.threshold,
                    "box_mapping": self.mapping.value,
                    "evaluator": figures.engine,
                },
            },
            errors=dict(zip(names, _mistakes(*truth, found, len(names)).tolist(), strict=True)),
            weighted=weighted,
        )


def _mistakes(
    objects: FoundObjects, crowds: FoundObjects, found: FoundObjects, images: int
) -> NDArray[np.float64]:
    """Return missed objects plus the scores of detections that are none, for each image."""
    matches = match_boxes(objects, found)
    wrong = (matches.truth < 0) & ~covered(crowds, found)
    missed = np.bincount(objects.image[matches.found < 0], minlength=images)
    invented = np.bincount(found.image[wrong], weights=found.scores[wrong], minlength=images)
    return np.asarray(missed + invented, np.float64)


def _rows(predictions: Predictions, names: tuple[str, ...]) -> Predictions:
    place = {name: i for i, name in enumerate(predictions.names)}
    order = np.array([place[name] for name in names])
    return Predictions(names=names, outputs={name: rows[order] for name, rows in predictions.outputs.items()})


def _size(sample: Sample) -> tuple[int, int]:
    return sample.size if isinstance(sample, CocoSample) else upright_size(sample.path)


def _empty() -> FoundObjects:
    nothing = np.zeros(0, np.int64)
    return FoundObjects(image=nothing, label=nothing, boxes=np.zeros((0, 4)), scores=np.zeros(0))


def _coco(dataset: Dataset) -> CocoDetection:
    if not isinstance(dataset, CocoDetection):
        raise DatasetError("detection is scored on a COCO-format data set")
    return dataset


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
