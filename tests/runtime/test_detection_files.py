"""Results in files come back as they were, and damaged ones are named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.coco import COCO_CATEGORY_IDS, COCO_CLASSES
from graphopt.core.errors import DatasetError, OutputError
from graphopt.runtime.decode.boxes import FoundObjects
from graphopt.runtime.detection_files import (
    are_texts,
    read_coco_results,
    read_texts,
    write_coco_results,
    write_texts,
)

STEMS = ("000000000139", "000000000285", "000000000632")
IMAGES = (139, 285, 632)
LABEL_OF = {category: label for label, category in enumerate(COCO_CATEGORY_IDS)}


@pytest.fixture
def found() -> FoundObjects:
    """Detections of the first and last image, with numbers that need all their digits."""
    rng = np.random.default_rng(7)
    return FoundObjects(
        image=np.array([0, 0, 0, 2, 2]),
        label=np.array([0, 9, 79, 9, 4]),  # "traffic light" holds a blank
        boxes=rng.uniform(0, 500, (5, 4)),
        scores=rng.random(5).astype(np.float32).astype(np.float64),
    )


def test_coco_results_keep_every_digit(tmp_path: Path, found: FoundObjects) -> None:
    path = tmp_path / "found.json"
    write_coco_results(path, found, image_ids=IMAGES, category_ids=COCO_CATEGORY_IDS)
    content = json.loads(path.read_text())
    assert content[1] == {
        "image_id": 139,
        "category_id": 10,
        "bbox": found.boxes[1].tolist(),
        "score": float(found.scores[1]),
    }
    back = read_coco_results(path, image_ids=IMAGES, label_of=LABEL_OF)
    for name, column in vars(found).items():
        assert np.array_equal(getattr(back, name), column)
    with pytest.raises(OutputError):
        write_coco_results(path, found, image_ids=IMAGES, category_ids=COCO_CATEGORY_IDS, force=False)


def test_no_results_are_a_list_too(tmp_path: Path, found: FoundObjects) -> None:
    path = tmp_path / "found.json"
    write_coco_results(
        path, found.at(np.zeros(5, np.bool_)), image_ids=IMAGES, category_ids=COCO_CATEGORY_IDS
    )
    assert json.loads(path.read_text()) == []
    assert len(read_coco_results(path, image_ids=IMAGES, label_of=LABEL_OF)) == 0


def test_results_of_other_categories_do_not_count(tmp_path: Path, found: FoundObjects) -> None:
    path = tmp_path / "found.json"
    write_coco_results(path, found, image_ids=IMAGES, category_ids=COCO_CATEGORY_IDS)
    assert len(read_coco_results(path, image_ids=IMAGES, label_of={1: 0})) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "result 1 is of image 5"),
        ({"bbox": [1, 2, 3]}, "result 1 is no detection"),
        ({"score": None}, "result 1 is no detection"),
        ({"score": float("nan")}, "result 1 holds NaN"),
    ],
)
def test_damaged_results_are_named(
    tmp_path: Path, found: FoundObjects, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "found.json"
    write_coco_results(path, found, image_ids=IMAGES, category_ids=COCO_CATEGORY_IDS)
    content = json.loads(path.read_text())
    content[1] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message):
        read_coco_results(path, image_ids=IMAGES, label_of=LABEL_OF)


@pytest.mark.parametrize(
    ("text", "message"), [("[", "written to the end"), ("{}", "annotation file"), ("[3]", "result 0")]
)
def test_what_is_no_result_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_coco_results(tmp_path / "found.json", image_ids=IMAGES, label_of=LABEL_OF)


def test_texts_are_those_of_the_original_scripts(tmp_path: Path, found: FoundObjects) -> None:
    folder = tmp_path / "detection-results"
    write_texts(folder, found, stems=STEMS, classes=COCO_CLASSES)
    assert sorted(path.stem for path in folder.iterdir()) == sorted(STEMS)
    line = (folder / f"{STEMS[0]}.txt").read_text().splitlines()[1].split()
    assert line[:2] == ["traffic", "light"]
    x, y, width, height = found.boxes[1].tolist()
    assert [float(word) for word in line[2:]] == [float(found.scores[1]), x, y, x + width, y + height]
    assert are_texts(folder)
    back = read_texts(folder, stems=STEMS, classes=COCO_CLASSES)
    assert np.array_equal(back.label, found.label)
    assert np.array_equal(back.image, found.image)
    assert np.allclose(back.boxes, found.boxes, atol=1e-12)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tree 0.5 1 2 3 4", "line 1: expected a class"),
        ("person 0.5 1 2 3", "line 1: expected"),
        ("person 0.5 1 2 3 nan", "line 1: expected"),
        ("person x 1 2 3 4", "line 1: expected"),
    ],
)
def test_damaged_texts_are_named(tmp_path: Path, found: FoundObjects, line: str, message: str) -> None:
    folder = tmp_path / "detection-results"
    write_texts(folder, found, stems=STEMS, classes=COCO_CLASSES)
    (folder / f"{STEMS[1]}.txt").write_text(line + "\n")
    with pytest.raises(DatasetError, match=message):
        read_texts(folder, stems=STEMS, classes=COCO_CLASSES)


def test_texts_must_be_of_the_images(tmp_path: Path, found: FoundObjects) -> None:
    folder = tmp_path / "detection-results"
    write_texts(folder, found, stems=STEMS, classes=COCO_CLASSES)
    (folder / f"{STEMS[1]}.txt").rename(folder / "5.txt")
    with pytest.raises(DatasetError, match=r"1 images without a file \['000000000285'\], 1 files without"):
        read_texts(folder, stems=STEMS, classes=COCO_CLASSES)
    (folder / "5.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match="cannot be read as text"):
        read_texts(folder, stems=(*STEMS[::2], "5"), classes=COCO_CLASSES)


def test_what_a_device_tool_writes_is_no_such_text(tmp_path: Path) -> None:
    (tmp_path / "a_0.txt").write_text("0.5 1 2 3 4 5 6\n")
    assert not are_texts(tmp_path)
    assert not are_texts(tmp_path / "none")
