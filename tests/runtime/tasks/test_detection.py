"""The task's own duties: names and shapes, boxes in the images, readings, flips and panels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.coco import COCO_CATEGORY_IDS, COCO_CLASSES
from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.preprocessing import DecodeCv2, PadCentredTo, ResizeToFitCv2, ToNchw
from graphopt.core.tensors import Array
from graphopt.runtime.datasets.coco_detection import CocoDetection
from graphopt.runtime.datasets.image_folder import ImageFolder
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.datasets.synthetic_coco import write_coco
from graphopt.runtime.decode.boxes import BoxMapping
from graphopt.runtime.placement import place_of
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.tasks.detection import DetectionTask

pytest.importorskip("pycocotools")
TASK = DetectionTask(
    steps=(
        DecodeCv2(),
        ResizeToFitCv2(width=133, height=80, rounding="floor"),
        PadCentredTo(width=133, height=80, value=(0.0, 0.0, 0.0)),
        ToNchw(),
    )
)
ROWS = 100
LABEL_OF = {category: label for label, category in enumerate(COCO_CATEGORY_IDS)}
Change = Callable[[Any], None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CocoDetection:
    sizes = ((160, 120), (90, 130))
    return TASK.open_data(
        write_coco(tmp_path_factory.mktemp("coco"), train=1, val=3, seed=5, sizes=sizes, objects=(12, 20))
    )


def _perfect(data: CocoDetection, change: Change = lambda rows: None) -> Predictions:
    """The labels as detections of the network's input, scores from 0.99 down, padded with zeros."""
    dets = np.zeros((len(data), ROWS, 5), np.float32)
    labels = np.zeros((len(data), ROWS), np.int64)
    for i, sample in enumerate(data):
        place, count = place_of(TASK.steps, *sample.size), len(sample.objects)
        boxes = sample.objects.boxes.copy()
        boxes[:, 2:] += boxes[:, :2]
        across, down = place.width / sample.size[0], place.height / sample.size[1]
        dets[i, :count, :4] = boxes * [across, down, across, down] + np.array([place.left, place.top] * 2)
        dets[i, :count, 4] = 0.99 - 0.01 * np.arange(count)
        labels[i, :count] = [LABEL_OF[int(category)] for category in sample.objects.category]
        change(dets[i])
    return Predictions(names=data.names, outputs={"dets": dets, "labels": labels})


def _outputs(predictions: Predictions, index: int) -> dict[str, Array]:
    return {name: rows[index] for name, rows in predictions.outputs.items()}


def test_detections_that_say_the_labels_score_1(data: CocoDetection) -> None:
    score = TASK.score(data, _perfect(data))
    assert score.headline == pytest.approx(1, abs=0.02)  # float32 boxes of objects a few pixels wide
    assert score.figures["AP50"] == 1
    assert next(iter(score.figures)) == "AP"
    assert score.samples == 3
    assert set(score.errors.values()) == {0}
    assert len(score.details["rows"]) == 80
    row = next(row for row in score.details["rows"] if row["objects"])
    assert list(row) == ["name", "objects", "AR", "AP50", "AP"]
    assert row["AP50"] == 1
    assert next(row for row in score.details["rows"] if not row["objects"])["AP"] is None
    assert score.details["metrics"]["objects"] == len(data.objects)


def test_moved_boxes_score_less_and_are_mistakes(data: CocoDetection) -> None:
    def move(rows: Any) -> None:
        rows[:3, :4:2] += 30

    score = TASK.score(data, _perfect(data, move))
    assert score.headline < 0.9
    # Three objects are missed in each image, and three detections with scores of about 0.98 are none.
    assert all(5 < error < 6 for error in score.errors.values())


def test_other_labels_and_low_scores_do_not_count(data: CocoDetection) -> None:
    good = _perfect(data)
    dets, labels = (good.outputs[name].copy() for name in ("dets", "labels"))
    dets[:, -3:] = [0, 0, 50, 50, 1]
    labels[:, -3:] = [-1, 80, 1000]
    dets[:, -4] = [0, 0, 50, 50, 0.049]
    same = Predictions(names=data.names, outputs={"dets": dets, "labels": labels})
    assert TASK.score(data, same) == TASK.score(data, good)
    assert len(replace(TASK, threshold=0.5).detections(data, good)) <= len(TASK.detections(data, good))


def test_rows_in_another_order_score_the_same(data: CocoDetection) -> None:
    good = _perfect(data)
    turned = {name: rows[::-1] for name, rows in good.outputs.items()}
    assert TASK.score(data, Predictions(names=good.names[::-1], outputs=turned)) == TASK.score(data, good)


def test_predictions_must_be_detections_of_the_data_set(data: CocoDetection) -> None:
    good = _perfect(data)
    with pytest.raises(DatasetError, match="1 images without prediction"):
        TASK.score(data, Predictions(names=("a.jpg", *good.names[1:]), outputs=good.outputs))
    renamed = {"boxes": good.outputs["dets"], "labels": good.outputs["labels"]}
    with pytest.raises(UsageError, match="no output dets, they have: boxes, labels"):
        TASK.score(data, Predictions(names=good.names, outputs=renamed))
    for changed in ({"dets": good.outputs["dets"][..., :4]}, {"labels": good.outputs["labels"][:, :9]}):
        with pytest.raises(DatasetError, match="is this the right model"):
            TASK.score(data, Predictions(names=good.names, outputs={**good.outputs, **changed}))
    broken = good.outputs["dets"].copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(DatasetError, match=f"1 of 3 images .* NaN or infinite: {good.names[1]}"):
        TASK.score(data, Predictions(names=good.names, outputs={**good.outputs, "dets": broken}))


def test_other_data_sets_are_refused(data: CocoDetection) -> None:
    with pytest.raises(DatasetError, match="COCO-format"):
        TASK.score(object.__new__(PetaDataset), _perfect(data))
    with pytest.raises(DatasetError, match=r"knows none of the model's classes \(tree, \.\.\.\)"):
        replace(TASK, classes=("tree",)).open_data(data.root)


def test_classes_are_found_by_name(data: CocoDetection) -> None:
    turned = replace(TASK, classes=COCO_CLASSES[::-1])
    good = _perfect(data)
    labels = {**good.outputs, "labels": 79 - good.outputs["labels"]}
    found = turned.score(data, Predictions(names=good.names, outputs=labels))
    assert found.headline == TASK.score(data, good).headline


def test_the_mapping_and_the_clipping_are_the_tasks(data: CocoDetection) -> None:
    good = _perfect(data, lambda rows: rows.__setitem__((0, slice(4)), (-50, -50, 200, 200)))
    real = TASK.detections(data, good)
    published = replace(TASK, mapping=BoxMapping.PUBLISHED).detections(data, good)
    apart = np.abs(real.boxes - published.boxes).max()
    assert 0 < apart < 100
    clipped = replace(TASK, clip=True).detections(data, good)
    sizes = data.sizes[clipped.image]
    assert (clipped.boxes[:, :2] >= 0).all()
    assert (clipped.boxes[:, :2] + clipped.boxes[:, 2:] <= sizes + 1e-9).all()
    assert (real.boxes[:, :2] < 0).any()


def test_equal_detections_do_not_flip_and_moved_ones_do(data: CocoDetection) -> None:
    good = _perfect(data)
    total = len(data.objects)
    assert TASK.flips(good, good) == (0, total)

    def move(rows: Any) -> None:
        rows[0, :4] += 60

    assert TASK.flips(good, _perfect(data, move)) == (2 * len(data), total)

    def lower(rows: Any) -> None:
        rows[:, 4] = np.where(rows[:, 4] > 0.98, 0.01, rows[:, 4])

    lost = _perfect(data, lower)
    assert TASK.flips(good, lost)[0] == TASK.flips(lost, good)[0] == len(data)


def test_a_detection_at_the_cut_of_the_other_side_is_no_flip() -> None:
    boxes = np.array([[0, 0, 5, 5], [20, 20, 30, 30], [50, 50, 60, 60]], np.float32)

    def some(rows: list[int], scores: list[float]) -> Predictions:
        dets = np.concatenate([boxes[rows], np.array(scores, np.float32)[:, None]], axis=1)
        outputs = {"dets": dets[None], "labels": np.zeros((1, len(rows)), np.int64)}
        return Predictions(names=("a",), outputs=outputs)

    assert TASK.flips(some([0, 1], [0.9, 0.2]), some([0, 2], [0.9, 0.2]))[0] == 0
    assert TASK.flips(some([0, 1], [0.9, 0.8]), some([0, 2], [0.9, 0.2]))[0] == 1


def test_a_reference_stands_for_labels(data: CocoDetection) -> None:
    good = _perfect(data)
    images = ImageFolder(data[0].path.parent)
    for dataset in (data, images):
        same = TASK.agreement(dataset, good, good)
        assert same.headline == same.figures["AR100"] == 1

    def move(rows: Any) -> None:
        rows[:4, :4] += 9

    assert TASK.agreement(images, good, _perfect(data, move)).headline < 0.95

    def pad(rows: Any) -> None:
        rows[:2, :4] = [[1, 1, 2, 9], [5, 5, 5, 9]]  # left of every image; without area

    padded = _perfect(data, pad)
    assert replace(TASK, clip=True).agreement(images, padded, padded).headline == 1
    faint = {**good.outputs, "dets": good.outputs["dets"] * np.array([1, 1, 1, 1, 0.1], np.float32)}
    with pytest.raises(DatasetError, match=r"score of 0\.3 or more in 3 images"):
        TASK.agreement(images, Predictions(names=good.names, outputs=faint), good)


def test_readings_say_what_was_found_invented_and_missed(data: CocoDetection) -> None:
    def change(rows: Any) -> None:
        rows[0, :4] += 60  # invented, and one missed
        rows[1, 4] = 0.1  # too faint to be shown: missed too

    outputs = _outputs(_perfect(data, change), 0)
    readings = TASK.read(outputs, data[0])
    count = len(data[0].objects)
    by_truth = [(item.positive, item.truth) for item in readings]
    assert by_truth.count((True, False)) == 1
    assert by_truth.count((False, True)) == 2
    assert by_truth.count((False, None)) == 1
    assert by_truth.count((True, True)) == count - 2
    assert all(item.measure == "score" and item.box is not None for item in readings)
    assert readings[0].to_json()["score"] > 0.9
    assert len(readings[0].to_json()["box"]) == 4
    loose = next(iter(ImageFolder(data[0].path.parent)))
    assert {item.truth for item in TASK.read(outputs, loose)} == {None}


def test_panels_show_image_labels_and_prediction(data: CocoDetection) -> None:
    outputs = _outputs(_perfect(data), 1)
    panels = TASK.panels(outputs, data[1])
    assert [panel.caption for panel in panels] == ["image", "labels", "prediction"]
    assert {panel.picture.size for panel in panels} == {data[1].size}
    photo, labels, predicted = (np.asarray(panel.picture).astype(int) for panel in panels)
    assert np.abs(labels - photo).max() > 50
    assert np.abs(predicted - labels).max() > 50  # scores are written
    x, y, *_ = (round(value) for value in data[1].objects.boxes[-1])
    assert (predicted[max(y, 0), max(x, 0)] != photo[max(y, 0), max(x, 0)]).any()


@pytest.mark.parametrize("name", ["found.json", "detection-results"])
def test_the_originals_files_give_the_same_score(data: CocoDetection, tmp_path: Path, name: str) -> None:
    def move(rows: Any) -> None:
        rows[:5, :4] += 2

    some = _perfect(data, move)
    TASK.write_original(data, some, tmp_path / name)
    back = TASK.read_original(data, tmp_path / name)
    assert back is not None
    first, second = TASK.score(data, some), TASK.score(data, back)
    if name.endswith(".json"):
        assert first == second
    assert first.figures == pytest.approx(dict(second.figures))
    assert TASK.read_original(data, tmp_path) is None
