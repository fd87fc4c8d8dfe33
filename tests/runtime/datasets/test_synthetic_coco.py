"""Drawn scenes in COCO's format: many objects of many sizes, the same for the same seed."""

import json
from pathlib import Path

import numpy as np
import pytest

from graphopt.runtime.datasets.coco_detection import CocoDetection
from graphopt.runtime.datasets.synthetic_coco import synthetic_crowd, write_coco


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("drawn"), train=2, val=3, seed=5)


def test_images_hold_many_objects_of_all_sizes_and_aspects(root: Path) -> None:
    data = CocoDetection(root)
    assert data.names == ("000000000003.jpg", "000000000004.jpg", "000000000005.jpg")
    assert min(len(sample.objects) for sample in data) >= 14
    small, large = data.objects.area < 32**2, data.objects.area > 96**2
    assert small.any()
    assert large.any()
    assert not (small | large).all()
    aspect = data.objects.boxes[:, 2] / data.objects.boxes[:, 3]
    assert aspect.min() < 0.5
    assert aspect.max() > 2
    assert len(set(data.objects.category.tolist())) == 7


def test_boxes_are_inside_and_enclose_their_area(root: Path) -> None:
    data = CocoDetection(root)
    boxes, sizes = data.objects.boxes, data.sizes[data.objects.image]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all()
    assert (data.objects.area <= boxes[:, 2] * boxes[:, 3]).all()


def test_train_and_val_share_no_image(root: Path) -> None:
    train, val = (
        json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        for split in ("train2017", "val2017")
    )
    assert not {item["id"] for item in train["images"]} & {item["id"] for item in val["images"]}
    assert len(val["categories"]) == 80


def test_a_number_and_a_seed_fix_the_picture() -> None:
    one, two, other = (synthetic_crowd(4, seed=seed, width=120, height=90) for seed in (1, 1, 2))
    assert one[1] == two[1] != other[1]
    assert np.array_equal(np.asarray(one[0]), np.asarray(two[0]))
    assert one[0].size == (120, 90)


def test_counts_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        write_coco(tmp_path, train=0, val=1, seed=1)
