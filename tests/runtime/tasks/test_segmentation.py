"""The task's own duties: matching names and shapes, the image's own frame, and panels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.voc import VOC_CLASSES, VOC_IGNORE
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.datasets.synthetic_voc import write_voc
from graphopt.runtime.datasets.voc_segmentation import VocSegmentation
from graphopt.runtime.decode.masks import mask_on_canvas
from graphopt.runtime.letterbox import Letterbox
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.tasks.segmentation import SegmentationTask

pytest.importorskip("cv2")
TASK = SegmentationTask(size=(500, 500))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VocSegmentation:
    return TASK.open_data(write_voc(tmp_path_factory.mktemp("voc"), train=1, val=3, seed=5))


def _perfect(data: VocSegmentation, *, shift: int = 0) -> Predictions:
    """Logits at a quarter of the frame that say what the labels say."""
    rows = np.full((len(data), 21, 125, 125), -1, np.float32)
    for row, sample in zip(rows, data, strict=True):
        mask = sample.mask()
        place = Letterbox.fitted(mask.shape[1], mask.shape[0], longest=500, canvas=(500, 500))
        small = np.roll(mask_on_canvas(mask, place, fill=0), shift, axis=1)[2::4, 2::4].copy()
        small[small == VOC_IGNORE] = 0
        np.put_along_axis(row, small[None].astype(np.intp), 1, axis=0)
    return Predictions(names=data.names, outputs={"output": rows})


def test_logits_that_say_the_labels_score_close_to_1(data: VocSegmentation) -> None:
    score = TASK.score(data, _perfect(data))
    assert score.headline > 0.9
    assert score.figures["pixel_accuracy"] > 0.98
    assert next(iter(score.figures)) == "mean_iou"
    assert score.samples == 3
    assert all(error < 0.05 for error in score.errors.values())
    assert TASK.score(data, _perfect(data, shift=40)).headline < 0.7


def test_rows_in_another_order_score_the_same(data: VocSegmentation) -> None:
    good = _perfect(data)
    other = Predictions(names=good.names[::-1], outputs={"output": good.outputs["output"][::-1]})
    assert TASK.score(data, other) == TASK.score(data, good)


def test_predictions_must_be_of_the_data_set(data: VocSegmentation) -> None:
    good = _perfect(data)
    rows: Any = good.outputs["output"]
    renamed = Predictions(names=("a.jpg", *good.names[1:]), outputs=good.outputs)
    with pytest.raises(DatasetError, match="1 images without prediction"):
        TASK.score(data, renamed)
    with pytest.raises(UsageError, match="no output output, they have: logits"):
        TASK.score(data, Predictions(names=good.names, outputs={"logits": rows}))
    with pytest.raises(DatasetError, match="is this the right model"):
        TASK.score(data, Predictions(names=good.names, outputs={"output": rows[:, :20]}))
    rows = rows.copy()
    rows[1, 3, 4, 5] = np.inf
    with pytest.raises(DatasetError, match=f"logits of {good.names[1]} hold NaN or infinities"):
        TASK.score(data, Predictions(names=good.names, outputs={"output": rows}))


def test_other_data_sets_are_refused(data: VocSegmentation, tmp_path: Path) -> None:
    peta = object.__new__(PetaDataset)
    with pytest.raises(DatasetError, match="VOC-format"):
        TASK.score(peta, _perfect(data))


def test_readings_are_shares_of_the_image_without_the_padding(data: VocSegmentation) -> None:
    outputs = {"output": _perfect(data).outputs["output"][0]}
    readings = TASK.read(outputs, data[0])
    mask = data[0].mask()
    assert sum(item.value for item in readings) == pytest.approx(1)
    for item in readings:
        share = (mask == VOC_CLASSES.index(item.label)).mean()
        assert item.value == pytest.approx(share, abs=0.05)
        assert (item.truth, item.positive, item.measure) == (True, True, "area")
    values = [item.value for item in readings]
    assert values == sorted(values, reverse=True)


def test_a_missed_and_an_invented_class_are_said(data: VocSegmentation) -> None:
    invented = np.full((21, 125, 125), -1, np.float32)
    invented[VOC_CLASSES.index("sofa")] = 1
    by_label = {item.label: item for item in TASK.read({"output": invented}, data[0])}
    assert (by_label["sofa"].positive, by_label["sofa"].truth, by_label["sofa"].value) == (True, False, 1)
    assert (by_label["background"].positive, by_label["background"].truth) == (False, True)


def test_panels_show_image_labels_and_prediction_at_the_images_size(data: VocSegmentation) -> None:
    outputs = {"output": _perfect(data).outputs["output"][1]}
    panels = TASK.panels(outputs, data[1])
    assert [panel.caption for panel in panels] == ["image", "labels", "prediction"]
    assert len({panel.picture.size for panel in panels}) == 1
    photo, labels, _ = (np.asarray(panel.picture).astype(int) for panel in panels)
    mask = data[1].mask()
    inside = mask == 0
    assert np.abs(labels[inside] - photo[inside] * 0.55).mean() < 25
    assert np.abs(labels - photo).mean() > 20


def test_a_reference_stands_for_labels(data: VocSegmentation) -> None:
    good = _perfect(data)
    same = TASK.agreement(data, good, good)
    assert same.headline == same.figures["pixel_accuracy"] == 1
    inside = sum(item["pixels"] for item in same.details["rows"])
    assert inside < 3 * 500 * 500  # padding does not count
    assert TASK.agreement(data, good, _perfect(data, shift=40)).headline < 0.7
    assert TASK.read_original(data, data.root) is None  # type: ignore[func-returns-value]
    with pytest.raises(UsageError, match="no file of annotations"):
        TASK.open_data(data.root, annotations=data.root / "a.json")
