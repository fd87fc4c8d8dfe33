"""What two models disagree on is said image by image, the worst first."""

import numpy as np

from graphopt.runtime.decode.boxes import FoundObjects
from graphopt.runtime.disagreement import attributes_disagree, boxes_disagree, masks_disagree

NAMES = ("a.jpg", "b.jpg", "c.jpg")
CLASSES = ("person", "dog", "car")
Row = tuple[int, int, float, float, float, float, float]


def found(*rows: Row) -> FoundObjects:
    table = np.array(rows, np.float64).reshape(-1, 7)
    return FoundObjects(
        image=table[:, 0].astype(np.int64),
        label=table[:, 1].astype(np.int64),
        boxes=table[:, 2:6],
        scores=table[:, 6],
    )


def texts(one: FoundObjects, two: FoundObjects) -> dict[str, str]:
    differing = boxes_disagree(one, two, names=NAMES, classes=CLASSES, shown=0.3)
    return {item.name: item.text for item in differing}


def test_lost_new_and_relabelled_boxes_are_counted() -> None:
    one = found(
        (0, 0, 10, 10, 20, 30, 0.9),
        (0, 1, 60, 10, 20, 30, 0.8),
        (0, 0, 90, 90, 9, 9, 0.5),
        (1, 2, 0, 0, 50, 40, 0.7),
        (2, 0, 5, 5, 9, 9, 0.6),
    )
    two = found(
        (0, 2, 10, 10, 20, 30, 0.9),
        (1, 2, 0, 0, 50, 40, 0.7),
        (1, 0, 70, 70, 11, 13, 0.4),
        (2, 0, 5, 5, 9, 9, 0.6),
    )
    assert texts(one, two) == {
        "a.jpg": "2 boxes lost (1 person, 1 dog), 1 label changed (person -> car)",
        "b.jpg": "1 new (1 person)",
    }
    assert next(iter(texts(one, two))) == "a.jpg"


def test_order_does_not_matter_and_equal_sides_differ_nowhere() -> None:
    one = found((0, 0, 10, 10, 20, 30, 0.9), (0, 1, 60, 10, 20, 30, 0.8), (1, 1, 6, 1, 2, 3, 0.8))
    assert texts(one, one.at(np.array([1, 0, 2]))) == {}
    assert texts(found(), found()) == {}


def test_moves_and_scores_are_measured() -> None:
    one = found((0, 0, 10, 10, 20, 30, 0.9), (1, 0, 10, 10, 20, 30, 0.9))
    two = found((0, 0, 12, 10, 20, 30, 0.9), (1, 0, 10, 10, 20, 30, 0.65))
    assert texts(one, two) == {"a.jpg": "boxes moved by up to 2 px", "b.jpg": "scores by up to 0.25"}


def test_a_score_that_falls_below_the_shown_ones_is_not_lost() -> None:
    one, two = found((0, 0, 10, 10, 20, 30, 0.31)), found((0, 0, 10, 10, 20, 30, 0.29))
    assert texts(one, two) == {"a.jpg": "scores by up to 0.02"}
    assert texts(found((0, 0, 10, 10, 20, 30, 0.2)), found()) == {}  # nobody was sure of it


def test_attributes_are_named_with_their_sign() -> None:
    one = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], np.bool_)
    two = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 0]], np.bool_)
    differing = attributes_disagree(one, two, names=NAMES, attributes=("hat", "bag", "coat"))
    assert [(item.name, item.text) for item in differing] == [
        ("a.jpg", "2 attributes changed (+bag, -coat)"),
        ("c.jpg", "1 attribute changed (-coat)"),
    ]


def test_masks_say_the_share_and_the_classes() -> None:
    same = np.diag([90, 10, 0]).astype(np.int64)
    other = np.array([[80, 5, 0], [1, 10, 4], [0, 0, 0]], np.int64)
    differing = masks_disagree({"a.jpg": same, "b.jpg": other}, classes=CLASSES)
    assert [(item.name, item.text) for item in differing] == [
        ("b.jpg", "10.00% of the pixels (person -> dog, dog -> car, dog -> person)")
    ]
