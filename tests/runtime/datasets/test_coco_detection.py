"""The layouts of a COCO folder, and images that are missing, damaged or others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, UsageError
from graphopt.runtime.datasets.coco_detection import CocoDetection
from graphopt.runtime.datasets.image_files import check_image, upright_size
from graphopt.runtime.datasets.image_folder import ImageFolder

NAMES = ("000000000139.jpg", "000000000285.jpg", "000000000632.jpg")
SIZES = ((11, 13), (17, 7), (5, 9))


@pytest.fixture
def root(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """``data/coco`` with ``val2017`` and ``annotations``; the second image has no objects."""
    place = tmp_path / "data" / "coco"
    for seed, (name, (width, height)) in enumerate(zip(NAMES, SIZES, strict=True)):
        write_image(place / "val2017" / name, seed=seed, width=width, height=height)
    content = {
        "images": [
            {"id": int(name[:-4]), "file_name": name, "width": width, "height": height}
            for name, (width, height) in zip(NAMES, SIZES, strict=True)
        ],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": 1, "bbox": [0, 1, 2, i], "iscrowd": 0}
            for i, image in ((1, 632), (2, 139), (3, 632))
        ],
    }
    (place / "annotations").mkdir()
    (place / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return place


def test_images_come_with_their_objects(root: Path) -> None:
    data = CocoDetection(root)
    assert data.names == NAMES
    assert [sample.objects.ids.tolist() for sample in data] == [[2], [], [1, 3]]
    assert [sample.size for sample in data[1:]] == [SIZES[1], SIZES[2]]
    assert (data[0].image_id, data[0].path) == (139, root / "val2017" / NAMES[0])
    assert data[0].categories == {1: "person"}
    assert CocoDetection(root, limit=2).names == NAMES[:2]
    with pytest.raises(UsageError, match="limit of 0"):
        CocoDetection(root, limit=0)


@pytest.mark.parametrize("inner", [".", "..", "val2017"])
def test_the_folder_may_be_any_of_three(root: Path, inner: str) -> None:
    data = CocoDetection(root / inner)
    assert all(sample.path.is_file() for sample in data)


def test_annotations_may_lie_beside_the_folder(root: Path) -> None:
    (root / "annotations" / "instances_val2017.json").rename(root.parent / "instances_val2017.json")
    (root / "annotations").rmdir()
    for place in (root, root.parent):
        assert CocoDetection(place)[0].path.is_file()


def test_of_several_files_that_of_val2017_is_taken(root: Path) -> None:
    file = root / "annotations" / "instances_val2017.json"
    shutil.copy(file, file.with_name("instances_train2017.json"))
    assert CocoDetection(root).annotations == file
    file.rename(file.with_name("instances_mine.json"))
    with pytest.raises(DatasetError, match=r"several annotation files \(instances_mine.*--annotations"):
        CocoDetection(root)
    data = CocoDetection(root / "val2017", annotations=file.with_name("instances_mine.json"))
    assert data[2].path.is_file()


def test_a_folder_without_annotations_says_the_layout(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "annotations")
    with pytest.raises(DatasetError, match="no annotation file; coco holds val2017/"):
        CocoDetection(root)
    with pytest.raises(DatasetError, match="does not exist; coco holds"):
        CocoDetection(tmp_path / "none")


def test_missing_images_are_counted(root: Path) -> None:
    (root / "val2017" / NAMES[1]).unlink()
    with pytest.raises(DatasetError, match=rf"1 of 3 images .* are missing: {NAMES[1]}"):
        CocoDetection(root)
    shutil.rmtree(root / "val2017")
    data = CocoDetection(root, labels_only=True)
    assert data[1].size == SIZES[1]
    with pytest.raises(DatasetError, match="3 of 3 images"):
        CocoDetection(root)


def test_an_image_of_another_size_is_not_the_right_one(root: Path, write_image: Callable[..., Path]) -> None:
    write_image(root / "val2017" / NAMES[0], width=12, height=13)
    with pytest.raises(DatasetError, match=r"139\.jpg is 12 x 13, its labels say 11 x 13"):
        CocoDetection(root)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_that_is_cut_short_is_named(
    tmp_path: Path, suffix: str, write_image: Callable[..., Path]
) -> None:
    path = write_image(tmp_path / f"a.{suffix}", width=64, height=48)
    assert check_image(path, (64, 48)) == (64, 48)
    content = path.read_bytes()
    path.write_bytes(content + bytes(9000))  # some cameras append something
    assert check_image(path, (64, 48)) == (64, 48)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=rf"a\.{suffix} .*(cut short|truncated)"):
        check_image(path, (64, 48))
    path.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="cannot be read"):
        check_image(path, (64, 48))


def test_a_turned_image_has_the_size_that_opencv_decodes(tmp_path: Path) -> None:
    cv2: Any = pytest.importorskip("cv2")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((9, 5, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    height, width = cv2.imread(str(tmp_path / "turned.jpg")).shape[:2]
    assert upright_size(tmp_path / "turned.jpg") == (width, height) == (9, 5)
    for annotated in ((5, 9), (9, 5)):
        assert check_image(tmp_path / "turned.jpg", annotated) == (9, 5)
    with pytest.raises(DatasetError, match="does not exist"):
        upright_size(tmp_path / "none.jpg")


def test_the_digest_says_labels_and_images(root: Path, write_image: Callable[..., Path]) -> None:
    seen = {CocoDetection(root).digest, CocoDetection(root, limit=2).digest}
    write_image(root / "val2017" / NAMES[0], seed=99, width=11, height=13)
    seen.add(CocoDetection(root).digest)
    file = root / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text().replace("[0, 1, 2, 3]", "[0, 1, 2, 4]"))
    seen.add(CocoDetection(root).digest)
    assert len(seen) == 4
    assert CocoDetection(root).digest in seen


def test_a_plain_folder_of_images(root: Path, tmp_path: Path, write_image: Callable[..., Path]) -> None:
    folder = root / "val2017"
    (folder / "notes.txt").write_text("no image")
    data = ImageFolder(folder)
    assert [sample.name for sample in data] == list(NAMES)
    assert len(ImageFolder(folder, limit=2)) == 2
    before = data.digest
    write_image(folder / NAMES[0], seed=99)
    assert ImageFolder(folder).digest != before
    for none in (root, tmp_path / "none"):
        with pytest.raises(DatasetError, match="no folder of images"):
            ImageFolder(none)
