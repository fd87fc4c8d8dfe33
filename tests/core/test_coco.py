"""COCO's lists."""

import itertools

from graphopt.core.coco import COCO_CATEGORY_IDS, COCO_CLASSES, class_colour


def test_labels_names_and_ids_belong_together() -> None:
    assert len(COCO_CLASSES) == len(COCO_CATEGORY_IDS) == len(set(COCO_CLASSES)) == 80
    id_of = dict(zip(COCO_CLASSES, COCO_CATEGORY_IDS, strict=True))
    # From both ends and from behind each gap.
    known = {"person": 1, "stop sign": 13, "backpack": 27, "handbag": 31, "wine glass": 46, "bed": 65}
    known |= {"dining table": 67, "toilet": 70, "tv": 72, "book": 84, "toothbrush": 90}
    assert {name: id_of[name] for name in known} == known


def test_neighbouring_classes_differ_in_colour() -> None:
    colours = [class_colour(label) for label in range(80)]
    assert len(set(colours)) == 80
    for one, two in itertools.pairwise(colours):
        assert sum(abs(a - b) for a, b in zip(one, two, strict=True)) > 150
