"""Detections and objects are paired one to one, against a plain loop."""

import numpy as np
import pytest

from graphopt.runtime.decode.boxes import FoundObjects
from graphopt.runtime.metrics.box_matches import covered, match_boxes, overlaps


def _some(rng: np.random.Generator, count: int) -> FoundObjects:
    return FoundObjects(
        image=rng.integers(0, 3, count),
        label=rng.integers(0, 2, count),
        boxes=rng.integers(0, (8, 8, 9, 9), (count, 4)).astype(float),
        scores=rng.choice([0.2, 0.5, 0.9], count),
    )


def _iou(one: list[float], two: list[float]) -> float:
    across = min(one[0] + one[2], two[0] + two[2]) - max(one[0], two[0])
    down = min(one[1] + one[3], two[1] + two[3]) - max(one[1], two[1])
    shared = max(0.0, across) * max(0.0, down)
    union = one[2] * one[3] + two[2] * two[3] - shared
    return shared / union if union > 0 else 0.0


def _plain(truth: FoundObjects, found: FoundObjects, iou: float) -> list[int]:
    taken = [-1] * len(found)
    pairs = [
        (-float(found.scores[j]), -_iou(truth.boxes[i].tolist(), found.boxes[j].tolist()), j, i)
        for i in range(len(truth))
        for j in range(len(found))
        if truth.image[i] == found.image[j] and truth.label[i] == found.label[j]
    ]
    used = set()
    for _, overlap, j, i in sorted(pairs):
        if -overlap >= iou and taken[j] < 0 and i not in used:
            taken[j] = i
            used.add(i)
    return taken


@pytest.mark.parametrize("seed", range(8))
def test_pairs_are_those_of_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = _some(rng, 30), _some(rng, 60)
    matches = match_boxes(truth, found, iou=0.3)
    assert matches.truth.tolist() == _plain(truth, found, 0.3)
    assert (matches.truth >= 0).any()
    for row, column in enumerate(matches.found.tolist()):
        assert column < 0 or matches.truth[column] == row
    assert (matches.found >= 0).sum() == (matches.truth >= 0).sum()


def test_boxes_without_area_overlap_nothing() -> None:
    boxes = np.array([[1.0, 2, 0, 4]])
    assert overlaps(boxes, boxes).tolist() == [0]


def test_a_detection_in_a_crowd_of_its_class_is_covered() -> None:
    crowd = FoundObjects(
        image=np.array([0]), label=np.array([1]), boxes=np.array([[0.0, 0, 10, 10]]), scores=np.ones(1)
    )
    found = FoundObjects(
        image=np.array([0, 0, 0, 1]),
        label=np.array([1, 1, 0, 1]),
        boxes=np.array([[8.0, 0, 4, 5], [8.5, 0, 4, 5], [1, 1, 2, 2], [1, 1, 2, 2]]),
        scores=np.ones(4),
    )
    assert covered(crowd, found).tolist() == [True, False, False, False]


def test_nothing_matches_nothing() -> None:
    nothing = _some(np.random.default_rng(0), 0)
    found = _some(np.random.default_rng(0), 3)
    assert match_boxes(nothing, found).truth.tolist() == [-1, -1, -1]
    assert match_boxes(found, nothing).found.tolist() == [-1, -1, -1]
