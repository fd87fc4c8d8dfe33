"""An annotation file in COCO's format, as columns: images, classes, boxes."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError
from graphopt.core.garbage import rarely_collected

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class CocoObjects:
    """Annotated objects, in the order of the file.

    Attributes:
        image: int64 [n], the place of its image in the list of images.
        category: int64 [n], the file's category id.
        boxes: float64 [n, 4]; x, y of the upper left corner, width, height in pixels of the image.
        area: float64 [n], of the object in pixels; decides whether it is small, medium or large.
        crowd: bool [n], regions in which nobody counted: detections there are neither right nor wrong.
        ids: int64 [n], of the annotations.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    boxes: NDArray[np.float64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, rows: NDArray[Any]) -> "CocoObjects":
        """Return some of the objects."""
        return CocoObjects(**{name: column[rows] for name, column in vars(self).items()})

    @classmethod
    def none(cls) -> "CocoObjects":
        """Return no objects."""
        return cls(
            image=np.zeros(0, np.int64),
            category=np.zeros(0, np.int64),
            boxes=np.zeros((0, 4)),
            area=np.zeros(0),
            crowd=np.zeros(0, np.bool_),
            ids=np.zeros(0, np.int64),
        )


@dataclass(frozen=True, kw_only=True)
class CocoAnnotations:
    """What a file says.

    Attributes:
        image_ids: in the order of the file.
        file_names: of the images, with ``/`` between folders.
        sizes: int64 [images, 2], width and height in pixels.
        categories: id -> name, in the order of the file.
        objects: of all images.
    """

    image_ids: tuple[int, ...]
    file_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    categories: Mapping[int, str]
    objects: CocoObjects


@rarely_collected()
def read_annotations(path: Path, *, limit: int | None = None) -> CocoAnnotations:
    """Read an annotation file such as ``instances_val2017.json``; masks and captions are passed over.

    Args:
        path: the file.
        limit: only the first images of the list, and their objects.

    Raises:
        DatasetError: the file is missing, no JSON, or breaks the format; the message names the entry.
    """
    content = _content(path)
    try:
        images = content["images"][:limit]
        categories = {int(item["id"]): str(item["name"]) for item in content["categories"]}
        annotations = content["annotations"]
        ids = tuple(int(item["id"]) for item in images)
        names = tuple(str(item["file_name"]).replace("\\", "/") for item in images)
        sizes = np.array([(item["width"], item["height"]) for item in images], np.int64).reshape(-1, 2)
        every = {int(item["id"]) for item in content["images"]}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"{path} is not in COCO's detection format: {_missing(error)}; it needs images (id, file_name, "
            "width, height), categories (id, name) and annotations (image_id, category_id, bbox)"
        ) from error
    if not ids:
        raise DatasetError(f"{path} lists no images")
    _check_unique(path, "image id", ids)
    _check_unique(path, "file name", names)
    if len(categories) != len(content["categories"]) or len(set(categories.values())) != len(categories):
        raise DatasetError(f"{path}: two categories have the same id or name")
    unsafe = [name for name in names if name.startswith("/") or ".." in name.split("/")]
    if unsafe:
        raise DatasetError(f"{path}: file names must stay inside the image folder: {unsafe[0]}")
    if (sizes < 1).any():
        raise DatasetError(f"{path}: {names[int((sizes < 1).any(axis=1).argmax())]} has a side below 1 pixel")
    place = {image_id: i for i, image_id in enumerate(ids)}
    objects = _objects(path, annotations, place, every, categories)
    return CocoAnnotations(
        image_ids=ids, file_names=names, sizes=sizes, categories=categories, objects=objects
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DatasetError(f"the annotations {path} do not exist") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}; was the download cut short?") from error
    if not isinstance(content, dict):
        what = "a list, as result files are" if isinstance(content, list) else "no object"
        raise DatasetError(f"{path} holds {what}; annotations are an object with images and categories")
    return content


def _objects(
    path: Path,
    annotations: Sequence[Mapping[str, Any]],
    place: Mapping[int, int],
    every: set[int],
    categories: Mapping[int, str],
) -> CocoObjects:
    rows: list[tuple[int, int, int, bool, float, float, float, float, float]] = []
    for item in annotations:
        try:
            x, y, width, height = item["bbox"]
            numbers = int(item["image_id"]), int(item["category_id"]), int(item["id"])
            area = float(item["area"] if "area" in item else width * height)
            crowd = bool(item.get("iscrowd", 0))
            rows.append((*numbers, crowd, area, float(x), float(y), float(width), float(height)))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            which = item.get("id", "without an id") if isinstance(item, Mapping) else "that is no object"
            raise DatasetError(f"{path}: annotation {which} is damaged: {_missing(error)}") from error
    if not rows:
        return CocoObjects.none()
    images, category_ids, ids, crowds, areas, *sides = zip(*rows, strict=True)
    category, boxes = np.array(category_ids, np.int64), np.array(sides, np.float64).T.copy()
    area_of = np.array(areas, np.float64)
    proper = np.isfinite(boxes).all(axis=1) & np.isfinite(area_of) & (boxes[:, 2:] >= 0).all(axis=1)
    checks = (
        (np.array([image in every for image in images]), "is of no image ({image_id})"),
        (np.isin(category, [*categories]), "has the category {category_id}, which is not listed"),
        (proper, "has no proper box: {bbox}"),
    )
    for right, wrong in checks:
        if not right.all():
            item = annotations[int(right.argmin())]
            raise DatasetError(f"{path}: annotation {item['id']} {wrong.format(**item)}")
    _check_unique(path, "annotation id", ids)
    image = np.array([place.get(image, -1) for image in images], np.int64)
    objects = CocoObjects(
        image=image,
        category=category,
        boxes=boxes,
        area=area_of,
        crowd=np.array(crowds, np.bool_),
        ids=np.array(ids, np.int64),
    )
    return objects if len(place) == len(every) else objects.at(image >= 0)


def _check_unique(path: Path, what: str, values: Sequence[object]) -> None:
    if len(set(values)) != len(values):
        twice = [str(value) for value, count in Counter(values).items() if count > 1]
        raise DatasetError(f"{path}: the {what} {', '.join(twice[:_SHOWN])} is there twice")


def _missing(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
