"""Detections are equal as sets, and a set that differs in any way is seen and named."""

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.core.comparison import Outcome
from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import (
    FLOAT32_DETECTIONS,
    DetectionComparison,
    Detections,
    DetectionTolerance,
    Side,
    detections_of_roles,
    merge_detections,
)
from graphopt.core.tensors import TensorSpec

WHAT = Detections(dets="dets", labels="labels")
Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def _rows(count: int, *, seed: int = 3, classes: int = 7) -> Rows:
    """Boxes of about 40 pixels whose scores fall from 0.9, all some 0.007 apart."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 600, (count, 2))
    size = rng.uniform(20, 60, (count, 2))
    scores = np.linspace(0.9, 0.2, count)[:, np.newaxis]
    dets = np.concatenate([corner, corner + size, scores], axis=1).astype(np.float32)
    return dets, rng.integers(0, classes, count)


def _padded(rows: Rows, size: int) -> Rows:
    dets, labels = rows
    more = size - len(dets)
    return (
        np.concatenate([dets, np.zeros((more, 5), np.float32)]),
        np.concatenate([labels, np.zeros(more, np.int64)]),
    )


def _compare(one: Rows, two: Rows, what: Detections = WHAT) -> DetectionComparison:
    before = [array.tobytes() for array in (*one, *two)]
    found = compare_detections(one, two, what)
    assert [array.tobytes() for array in (*one, *two)] == before
    json.dumps(found.to_json(), allow_nan=False)
    assert found.passed == (found.as_tensor().passed)
    assert found.passed == (found.failure == "")
    return found


def _changed(rows: Rows, place: int, *, label: int = 0, **columns: Any) -> Rows:
    dets, labels = rows[0].copy(), rows[1].copy()
    for name, by in columns.items():
        dets[place, ("x1", "y1", "x2", "y2", "score").index(name)] += by
    labels[place] += label
    return dets, labels


def test_the_same_rows_in_another_order_and_padded_are_the_same_set() -> None:
    dets, labels = _rows(31)
    order = np.random.default_rng(1).permutation(31)
    found = _compare((dets, labels), _padded((dets[order], labels[order]), 50))
    assert found.passed
    assert (found.reference, found.candidate, found.paired, found.padding) == (31, 31, 31, 19)
    assert (found.box, found.score) == (0, 0)
    assert found.summary == "31/31 paired, box 0 px, score 0"


def test_noise_within_the_tolerance_is_measured() -> None:
    rows = _rows(20)
    found = _compare(rows, _changed(rows, 4, y2=0.03, score=-5e-5))
    assert found.passed
    assert found.box == pytest.approx(0.03, rel=0.01)
    assert found.score == pytest.approx(5e-5, rel=0.01)
    assert found.as_tensor().margin == pytest.approx(0.6, rel=0.01)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"x1": 0.2}, "its partner is 0.2 px off"),
        ({"score": 0.001}, "differs by 0.001 in score"),
        ({"label": 1}, "the other side calls it class"),
        ({"x1": 400.0, "x2": 400.0}, "the other side lacks it"),
    ],
)
def test_one_wrong_row_is_a_failure_on_both_sides(change: dict[str, Any], why: str) -> None:
    rows = _rows(23)
    found = _compare(rows, _changed(rows, 4, **change))
    assert not found.passed
    assert found.paired == 22
    assert {row.side for row in found.unpaired} == set(Side)
    assert why in found.failure
    assert found.as_tensor().outcome is Outcome.VALUES


def test_a_lost_row_is_a_failure() -> None:
    dets, labels = _rows(23)
    found = _compare((dets, labels), _padded((np.delete(dets, 4, 0), np.delete(labels, 4)), 23))
    assert not found.passed
    (row,) = found.unpaired
    assert row.side is Side.REFERENCE
    assert row.label == labels[4]
    assert row.box == pytest.approx(tuple(dets[4, :4]))


def test_an_additional_row_is_a_failure() -> None:
    more, fewer = _rows(23), _rows(23)
    found = _compare((fewer[0][:-1], fewer[1][:-1]), _padded(more, 40))
    assert [row.side for row in found.unpaired] == [Side.CANDIDATE]
    assert not found.passed


def test_a_doubled_row_is_a_failure() -> None:
    dets, labels = _rows(23)
    doubled = np.concatenate([dets[:1], dets]), np.concatenate([labels[:1], labels])
    found = _compare((dets, labels), _padded(doubled, 40))
    assert [row.side for row in found.unpaired] == [Side.CANDIDATE]


def test_swapped_labels_are_a_failure() -> None:
    dets, labels = _rows(23)
    labels[:2] = 1, 2
    other = labels.copy()
    other[:2] = 2, 1
    found = _compare((dets, labels), (dets, other))
    assert len(found.unpaired) == 4
    assert "the other side calls it class 2" in found.failure
    assert "and 1 more" in found.failure


def test_labels_shifted_by_one_pair_nothing() -> None:
    dets, labels = _rows(23)
    found = _compare((dets, labels), (dets, labels + 100))
    assert found.paired == 0
    assert not found.passed


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_a_failure(side: int, value: float) -> None:
    sides = [_rows(9), _rows(9)]
    sides[side][0][3, 2] = value
    found = _compare(sides[0], sides[1])
    assert found.as_tensor().outcome is Outcome.NOT_FINITE
    assert "1 row of 9 not finite" in found.failure
    assert list(Side)[side].value in found.failure


def test_nan_scores_are_no_padding() -> None:
    broken = _rows(9)
    broken[0][3, 4] = np.nan
    assert _compare(_rows(9), broken).as_tensor().outcome is Outcome.NOT_FINITE


def test_nothing_detected_says_nothing_and_does_not_pass() -> None:
    nothing = _rows(0)
    found = _compare(nothing, _padded(nothing, 8))
    assert found.says_nothing
    assert not found.passed
    assert found.as_tensor().outcome is Outcome.EMPTY


def test_detections_on_one_side_only_are_a_failure_and_not_nothing() -> None:
    found = _compare(_padded(_rows(0), 8), _padded(_rows(3), 8))
    assert not found.says_nothing
    assert not found.passed
    assert "the other side detects nothing" in found.failure


def test_boxes_without_area_are_left_out_and_counted() -> None:
    rows = _rows(12)
    flat = rows[0].copy()
    flat[5, 2] = flat[5, 0]
    found = _compare((flat, rows[1]), _padded((np.delete(flat, 5, 0), np.delete(rows[1], 5)), 20))
    assert found.passed
    assert found.zero_area == 1
    assert found.summary.endswith("1 zero-area box left out")


def test_rows_of_zeros_are_no_boxes_without_area() -> None:
    assert _compare(_rows(5), _padded(_rows(5), 9)).zero_area == 0


def test_padding_that_is_not_zero_is_counted() -> None:
    padded = _padded(_rows(5), 9)
    padded[0][7, 1] = 3
    padded[1][8] = -1
    found = _compare(_rows(5), padded)
    assert found.dirty_padding == 2
    assert "2 padding rows not zero" in found.summary


def test_a_row_at_the_last_place_is_a_near_tie_when_the_other_side_is_full() -> None:
    dets, labels = _rows(20)
    dets[18:, 4] = 0.2, 0.2 + 5e-7  # which of both is the last?
    one, two = np.delete(dets, 18, 0), np.delete(dets, 19, 0)
    what = Detections(dets="dets", labels="labels", limit=19)
    found = _compare((one, np.delete(labels, 18)), (two, np.delete(labels, 19)), what)
    assert found.passed
    assert (found.paired, len(found.near_ties)) == (18, 2)
    assert "the other side's 19 rows end at score 0.2000" in found.near_ties[0].why
    assert "2 near ties at a cut" in found.summary


def test_a_row_at_the_last_place_is_an_error_when_the_other_side_has_room() -> None:
    dets, labels = _rows(20)
    found = _compare((dets, labels), _padded((dets[:-1], labels[:-1]), 20))
    assert len(found.unpaired) == 1
    assert not found.passed


def test_a_row_above_the_last_place_is_an_error_although_the_other_side_is_full() -> None:
    dets, labels = _rows(20)
    lost = np.delete(dets, 3, 0), np.delete(labels, 3)
    what = Detections(dets="dets", labels="labels", limit=19)
    assert len(_compare((dets[:19], labels[:19]), lost, what).unpaired) == 1


def test_a_score_at_the_threshold_is_a_near_tie_only_when_the_threshold_is_known() -> None:
    dets, labels = _rows(20)
    dets[7, 4] = 0.05 + 5e-7
    more, fewer = (dets, labels), _padded((np.delete(dets, 7, 0), np.delete(labels, 7)), 30)
    assert not _compare(more, fewer).passed
    known = Detections(dets="dets", labels="labels", score_threshold=0.05)
    found = _compare(more, fewer, known)
    assert found.passed
    assert "threshold 0.05" in found.near_ties[0].why


def test_a_score_of_nearly_zero_is_a_near_tie_as_zero_is_no_detection() -> None:
    dets, labels = _rows(20)
    fewer = _padded((np.delete(dets, 7, 0), np.delete(labels, 7)), 30)
    dets[7, 4] = 1e-20
    found = _compare((dets, labels), fewer)
    assert found.passed
    assert [row.score for row in found.near_ties] == pytest.approx([1e-20])
    dets[7, 4] = 1e-4
    assert not _compare((dets, labels), fewer).passed


def test_an_overlap_at_the_iou_threshold_is_a_near_tie_only_when_it_is_known() -> None:
    dets, labels = _rows(20)
    labels[5] = labels[2]
    width = dets[2, 2] - dets[2, 0]
    dets[5, :4] = dets[2, :4] + np.array([width / 3, 0, width / 3, 0])  # IoU (1 - 1/3) / (1 + 1/3)
    more, fewer = (dets, labels), _padded((np.delete(dets, 5, 0), np.delete(labels, 5)), 30)
    assert not _compare(more, fewer).passed
    assert not _compare(more, fewer, Detections(dets="dets", labels="labels", iou_threshold=0.6)).passed
    found = _compare(more, fewer, Detections(dets="dets", labels="labels", iou_threshold=0.5))
    assert found.passed
    assert "overlaps a stronger box by 0.5" in found.near_ties[0].why


def test_how_near_a_cut_is_near_follows_from_the_noise_of_the_pairs() -> None:
    dets, labels = _rows(20)
    dets[7, 4] = 0.05002
    fewer = np.delete(dets, 7, 0), np.delete(labels, 7)
    noisy = fewer[0] - np.array([0, 0, 0, 0, 2e-5], np.float32)
    known = Detections(dets="dets", labels="labels", score_threshold=0.05)
    assert not _compare((dets, labels), _padded(fewer, 30), known).passed
    assert _compare((dets, labels), _padded((noisy, fewer[1]), 30), known).passed


def test_near_ties_alone_prove_nothing() -> None:
    dets, labels = _rows(4)
    dets[:, 4] = 0.3
    what = Detections(dets="dets", labels="labels", limit=4)
    found = _compare((dets, labels), (dets + np.array([200, 0, 200, 0, 0], np.float32), labels), what)
    assert found.paired == 0
    assert not found.passed
    assert "no row has a partner" in found.failure


def test_an_overlapping_row_may_stay_in_anothers_place_only_where_that_is_stated() -> None:
    dets, labels = _rows(50)
    other = dets.copy()
    other[4, :4] += 3  # pixels, of about forty
    other[4, 4] += 2e-4
    tolerance = DetectionTolerance(box=0.5, score=5e-4, exchanged=0.02, why="one of fifty")
    noisy = (other + np.array([0, 0, 0, 0, 2e-4], np.float32), labels)
    what = Detections(dets="dets", labels="labels", iou_threshold=0.5, tolerance=tolerance)
    found = _compare((dets, labels), noisy, what)
    assert found.passed
    assert (found.paired, len(found.near_ties)) == (49, 2)
    assert "keeps the other" in found.near_ties[0].why
    assert not _compare((dets, labels), noisy, replace(what, iou_threshold=None)).passed
    assert not _compare(
        (dets, labels), noisy, replace(what, tolerance=replace(tolerance, exchanged=0))
    ).passed
    noisy[0][9, :4] += 3
    assert not _compare((dets, labels), noisy, what).passed


def test_a_row_that_moved_and_changed_its_score_stays_for_no_other() -> None:
    dets, labels = _rows(50)
    other = dets.copy()
    other[4] += np.array([3, 3, 3, 3, 0.01], np.float32)
    tolerance = DetectionTolerance(box=0.5, score=5e-4, exchanged=0.1, why="five of fifty")
    what = Detections(dets="dets", labels="labels", iou_threshold=0.5, tolerance=tolerance)
    assert len(_compare((dets, labels), (other, labels), what).unpaired) == 2


def test_boxes_that_lie_nearly_alike_are_paired_by_the_nearest_score() -> None:
    dets, labels = _rows(6, classes=1)
    dets[:, :4] = dets[0, :4]
    moved = dets.copy()
    moved[:, 2] += np.linspace(0.02, 0, 6, dtype=np.float32)
    found = _compare((dets, labels), (moved[::-1].copy(), labels))
    assert found.passed
    assert found.score == 0


def test_batches_are_compared_image_by_image() -> None:
    one, two = _rows(9, seed=1), _rows(9, seed=2)
    dets, labels = np.stack([one[0], two[0]]), np.stack([one[1], two[1]])
    assert _compare((dets, labels), (dets, labels)).images == 2
    found = _compare((dets, labels), (dets[::-1].copy(), labels[::-1].copy()))
    assert not found.passed
    assert {row.image for row in found.unpaired} == {0, 1}


def test_one_image_needs_no_batch_axis() -> None:
    rows = _rows(9)
    assert _compare(rows, (rows[0][np.newaxis], rows[1][np.newaxis])).passed


def test_detections_without_labels_are_of_one_class() -> None:
    dets, _ = _rows(9)
    assert compare_detections((dets, None), (dets[::-1], None), Detections(dets="dets")).passed


@pytest.mark.parametrize(
    ("dets", "labels", "text"),
    [
        (np.zeros((4, 6), np.float32), np.zeros(4, np.int64), "shape [4, 6]"),
        (np.zeros(5, np.float32), np.zeros(1, np.int64), "shape [5]"),
        (np.zeros((4, 5), np.int32), np.zeros(4, np.int64), "dtype int32"),
        (np.zeros((4, 5), np.float32), np.zeros(3, np.int64), "labels of shape [3]"),
        (np.zeros((2, 4, 5), np.float32), np.zeros((2, 4), np.int64), "2 images, reference 1"),
        (np.ones((1, 5), np.float32), np.full(1, 0.5, np.float32), "not whole"),
    ],
)
def test_what_are_no_detections_is_a_failure(dets: Any, labels: Any, text: str) -> None:
    found = _compare(_rows(4), (dets, labels))
    assert not found.passed
    assert text in found.failure


def test_figures_of_several_images_add_up() -> None:
    rows = _rows(9)
    good, bad = _compare(rows, _changed(rows, 1, x1=0.01)), _compare(rows, _changed(rows, 1, x1=9))
    merged = merge_detections([good, bad])
    assert (merged.reference, merged.paired, merged.images) == (18, 17, 2)
    assert merged.box == pytest.approx(0.01, rel=0.01)
    assert not merged.passed


@pytest.mark.parametrize("classes", [1, 80])
def test_thousand_rows_take_less_than_a_second(classes: int) -> None:
    rows = _rows(1000, classes=classes)
    started = time.perf_counter()
    assert _compare(rows, rows).passed
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("values", [{"box": -1}, {"score": 2}, {"exchanged": 0.9}])
def test_tolerances_that_say_nothing_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        replace(FLOAT32_DETECTIONS, **values)  # type: ignore[arg-type]


def test_the_defaults_are_those_of_float_noise() -> None:
    assert (FLOAT32_DETECTIONS.box, FLOAT32_DETECTIONS.score, FLOAT32_DETECTIONS.exchanged) == (0.05, 1e-4, 0)


def test_roles_say_which_outputs_are_detections() -> None:
    specs = [
        TensorSpec(name=name, shape=(), dtype="", role=role)
        for name, role in (("1368", "labels"), ("1361", "dets"), ("y", ""))
    ]
    found = detections_of_roles(specs)
    assert found is not None
    assert (found.dets, found.labels, found.name) == ("1361", "1368", "1361, 1368")
    assert detections_of_roles(specs[:1]) is None
    assert detections_of_roles([]) is None
