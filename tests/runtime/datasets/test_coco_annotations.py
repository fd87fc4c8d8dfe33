"""Annotation files in COCO's format, and what is said when they break it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import DatasetError
from graphopt.runtime.datasets.coco_annotations import CocoObjects, read_annotations


def _content() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "width": 11, "height": 13},
            {"id": 3, "file_name": "a.jpg", "width": 5, "height": 9},
        ],
        "categories": [{"id": 2, "name": "bicycle"}, {"id": 90, "name": "toothbrush"}],
        "annotations": [
            {"id": 0, "image_id": 3, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 5.5, "iscrowd": 0},
            {"id": 9, "image_id": 7, "category_id": 2, "bbox": [0, 0, 2.5, 3], "iscrowd": 1},
        ],
    }


def _write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "instances_val2017.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_becomes_columns(tmp_path: Path) -> None:
    found = read_annotations(_write(tmp_path, _content()))
    assert (found.image_ids, found.file_names) == ((7, 3), ("b.jpg", "a.jpg"))
    assert found.sizes.tolist() == [[11, 13], [5, 9]]
    assert found.categories == {2: "bicycle", 90: "toothbrush"}
    objects = found.objects
    assert objects.image.tolist() == [1, 0]
    assert objects.category.tolist() == [90, 2]
    assert objects.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 2.5, 3]]
    assert objects.area.tolist() == [5.5, 7.5]  # without an area, the box's
    assert objects.crowd.tolist() == [False, True]
    assert objects.ids.tolist() == [0, 9]


def test_a_limit_keeps_the_objects_of_its_images(tmp_path: Path) -> None:
    found = read_annotations(_write(tmp_path, _content()), limit=1)
    assert found.file_names == ("b.jpg",)
    assert found.objects.ids.tolist() == [9]


def test_a_file_may_have_no_objects(tmp_path: Path) -> None:
    found = read_annotations(_write(tmp_path, {**_content(), "annotations": []}))
    assert len(found.objects) == 0
    assert found.objects.boxes.shape == CocoObjects.none().boxes.shape == (0, 4)
    assert len(found.objects.at(np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images", 0, "width"), None, "not in COCO's detection format"),
        (("images", 0, "width"), 0, "b.jpg has a side below 1 pixel"),
        (("images", 0, "file_name"), "../b.jpg", "must stay inside the image folder"),
        (("images", 0, "file_name"), "a.jpg", r"file name a\.jpg is there twice"),
        (("images", 0, "id"), 3, "image id 3 is there twice"),
        (("categories", 0, "id"), 90, "two categories"),
        (("categories", 0, "name"), "toothbrush", "two categories"),
        (("annotations", 0, "image_id"), 8, r"annotation 0 is of no image \(8\)"),
        (("annotations", 0, "id"), 9, "annotation id 9 is there twice"),
        (("annotations", 0, "category_id"), 5, "annotation 0 has the category 5, which is not listed"),
        (("annotations", 0, "bbox"), [1, 2, 3], "annotation 0 is damaged"),
        (("annotations", 0, "bbox"), [1, 2, -3, 4], "annotation 0 has no proper box"),
        (("annotations", 0, "bbox"), [1, 2, float("nan"), 4], "annotation 0 has no proper box"),
        (("annotations", 0), 5, "annotation that is no object is damaged"),
        (("images",), [], "lists no images"),
    ],
)
def test_what_breaks_the_format_is_named(
    tmp_path: Path, path: tuple[Any, ...], value: Any, message: str
) -> None:
    content = _content()
    place: Any = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(DatasetError, match=message):
        read_annotations(_write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds a list, as result files are"),
        ("3", "holds no object"),
        ("{}", "'images' is missing"),
        ('{"images": [', "was the download cut short"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_what_is_no_annotation_file(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_annotations(_write(tmp_path, content))
    with pytest.raises(DatasetError, match="do not exist"):
        read_annotations(tmp_path / "none.json")
