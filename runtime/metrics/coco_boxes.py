"""COCO's twelve figures for boxes, computed by a package that is exact: the fast one, else pycocotools.

Both run with COCO's own settings: IoU 0.5 to 0.95, 1, 10 and 100 detections per image, small below
32 x 32 and large from 96 x 96 pixels of the object's area.
"""

import contextlib
import importlib.metadata
import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError
from graphopt.core.garbage import rarely_collected
from graphopt.core.optional import require
from graphopt.runtime.datasets.coco_annotations import CocoObjects
from graphopt.runtime.decode.boxes import FoundObjects

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""pycocotools' order."""

Engine = Literal["auto", "ultrafast-pycocotools", "pycocotools"]
_MODULES = {"ultrafast-pycocotools": "ultrafast_pycocotools", "pycocotools": "pycocotools"}
_ALL_AREAS, _MOST = 0, 2
"""Places in the evaluator's arrays: objects of any size, 100 detections."""


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """One class over all images.

    Attributes:
        name: of the class.
        objects: annotated ones, crowds left out.
        ap: 0..1; nan without objects, as the others.
        ap50: at IoU 0.5.
        ar: recall with 100 detections per image.
    """

    name: str
    objects: int
    ap: float
    ap50: float
    ar: float


@dataclass(frozen=True, kw_only=True)
class CocoFigures:
    """An evaluation.

    Attributes:
        figures: the twelve, 0..1 by the names of ``FIGURES``; -1 where nothing of that size is annotated,
            as pycocotools has it.
        classes: one row each.
        detections: how many were scored.
        engine: package and version that computed them.
    """

    figures: Mapping[str, float]
    classes: tuple[ClassFigures, ...]
    detections: int
    engine: str


def coco_figures(
    objects: CocoObjects,
    found: FoundObjects,
    *,
    image_ids: Sequence[int],
    classes: Sequence[tuple[str, int | None]],
    engine: Engine = "auto",
) -> CocoFigures:
    """Score detections.

    Annotations are numbered anew, from 1: pycocotools takes an object with id 0 for one never found.

    Args:
        objects: the truth; those of other categories do not count.
        found: the detections; of equal scores in one image the first comes first.
        image_ids: of all evaluated images, also those without detections.
        classes: name and category id by label; None for a class that the annotations do not know:
            its detections do not count.
        engine: the package; ``auto`` takes the fast one where it is installed.

    Raises:
        DatasetError: nothing is annotated.
        MissingBackendError: none of the packages is installed.
    """
    run = boxes_evaluator(objects, found, image_ids=image_ids, classes=classes, engine=engine)
    with contextlib.redirect_stdout(io.StringIO()):  # both print tables of their own
        run.evaluate()
        run.accumulate()
        run.summarize()
    package = _package(engine)
    return CocoFigures(
        figures=dict(zip(FIGURES, np.asarray(run.stats, np.float64).tolist(), strict=True)),
        classes=tuple(_class_rows(run, objects, classes)),
        detections=int((_category_ids(classes)[found.label] >= 0).sum()),
        engine=f"{package} {importlib.metadata.version(package)}",
    )


def boxes_evaluator(
    objects: CocoObjects,
    found: FoundObjects,
    *,
    image_ids: Sequence[int],
    classes: Sequence[tuple[str, int | None]],
    engine: Engine = "auto",
) -> Any:
    """Return the package's ``COCOeval`` with COCO's settings, not yet run.

    Arguments and errors are those of ``coco_figures``.
    """
    ids = _category_ids(classes)
    truth = objects.at(np.isin(objects.category, ids[ids >= 0]))
    if not (~truth.crowd).any():
        raise DatasetError("no object of the model's classes is annotated: there is nothing to score")
    found = found.at(ids[found.label] >= 0)
    images = np.array(image_ids, np.int64)
    package = _package(engine)
    api = require(f"{_MODULES[package]}.coco", extra="coco", purpose="COCO's metric")
    evaluation = require(f"{_MODULES[package]}.cocoeval", extra="coco", purpose="COCO's metric")
    with rarely_collected(), contextlib.redirect_stdout(io.StringIO()):
        reference = api.COCO()
        reference.dataset = _dataset(truth, images, classes)
        reference.createIndex()
        if len(found):
            answers = reference.loadRes(_rows(found, images, ids))
        else:
            answers = api.COCO()
            answers.dataset = {**reference.dataset, "annotations": []}
            answers.createIndex()
        return evaluation.COCOeval(reference, answers, "bbox")


def _category_ids(classes: Sequence[tuple[str, int | None]]) -> NDArray[np.int64]:
    """Return the category of each label; -1 for one that the annotations do not know."""
    return np.array([-1 if category is None else category for _, category in classes], np.int64)


def _package(engine: Engine) -> str:
    if engine != "auto":
        return engine
    return next(
        (name for name, module in _MODULES.items() if importlib.util.find_spec(module)), "pycocotools"
    )


def _dataset(
    truth: CocoObjects, images: NDArray[np.int64], classes: Sequence[tuple[str, int | None]]
) -> dict[str, Any]:
    columns = (images[truth.image], truth.category, truth.boxes, truth.area, truth.crowd.astype(np.int64))
    annotations = [
        {"id": i, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
        for i, (image, category, box, area, crowd) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), start=1
        )
    ]
    return {
        "info": {},  # pycocotools copies it
        "images": [{"id": image} for image in images.tolist()],
        "categories": [{"id": category, "name": name} for name, category in classes if category is not None],
        "annotations": annotations,
    }


def _rows(found: FoundObjects, images: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return [n, 7]: image id, x, y, width, height, score, category id."""
    return np.column_stack([images[found.image], found.boxes, found.scores, ids[found.label]])


def _class_rows(
    run: Any, truth: CocoObjects, classes: Sequence[tuple[str, int | None]]
) -> list[ClassFigures]:
    precision, recall = np.asarray(run.eval["precision"]), np.asarray(run.eval["recall"])
    place = {int(category): i for i, category in enumerate(run.params.catIds)}
    rows = []
    for name, category in classes:
        if category is None:
            rows.append(ClassFigures(name=name, objects=0, ap=np.nan, ap50=np.nan, ar=np.nan))
            continue
        own = precision[:, :, place[category], _ALL_AREAS, _MOST]
        rows.append(
            ClassFigures(
                name=name,
                objects=int(((truth.category == category) & ~truth.crowd).sum()),
                ap=_mean(own),
                ap50=_mean(own[0]),
                ar=_mean(recall[:, place[category], _ALL_AREAS, _MOST]),
            )
        )
    return rows


def _mean(values: NDArray[np.float64]) -> float:
    there = values[values > -1]
    return float(there.mean()) if there.size else float("nan")
