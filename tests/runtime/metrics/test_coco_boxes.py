"""The twelve figures: both packages agree to the last digit, also on what is odd."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphopt.core.errors import DatasetError, MissingBackendError
from graphopt.runtime.datasets.coco_annotations import CocoObjects
from graphopt.runtime.decode.boxes import FoundObjects
from graphopt.runtime.detection_files import write_coco_results
from graphopt.runtime.metrics import coco_boxes
from graphopt.runtime.metrics.coco_boxes import FIGURES, CocoFigures, Engine, coco_figures

pytest.importorskip("pycocotools")
CLASSES = [("a", 3), ("b", 1), ("unknown", None), ("c", 90)]
IMAGES = (42, 7, 1_000_000_007, 9)


def _case(seed: int, *, objects: int, detections: int, coarse: bool) -> tuple[CocoObjects, FoundObjects]:
    """Objects of all three sizes and crowds; detections near some of them, many with equal scores."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(4), np.log(220), (objects, 2)))
    boxes = np.concatenate([rng.uniform(0, 300, (objects, 2)), sides], axis=1)
    boxes = boxes.round() if coarse else boxes
    area = np.prod(boxes[:, 2:], axis=1) * rng.choice([1, 0.6], objects)
    area[rng.random(objects) < 0.2] = rng.choice([32.0**2, 96.0**2])  # on the border of two sizes
    truth = CocoObjects(
        image=rng.integers(0, len(IMAGES) - 1, objects),  # the last image is empty
        category=rng.choice([3, 1, 90, 5], objects),  # 5 is no class of the model
        boxes=boxes,
        area=area,
        crowd=rng.random(objects) < 0.15,
        ids=np.arange(objects),  # from 0
    )
    near = rng.integers(0, max(1, objects), detections)
    noise = rng.normal(0, 0.08, (detections, 4)) if objects else np.zeros((detections, 4))
    guess = boxes[near] * (1 + noise) if objects else rng.uniform(1, 90, (detections, 4))
    guess = guess.round() if coarse else guess
    image = truth.image[near] if objects else rng.integers(0, 3, detections)
    image = np.where(rng.random(detections) < 0.2, rng.integers(0, len(IMAGES), detections), image)
    label_of = {3: 0, 1: 1, 90: 3, 5: 2}
    label = np.array([label_of[int(c)] for c in truth.category[near]], np.int64) if objects else image * 0
    label = np.where(rng.random(detections) < 0.2, rng.integers(0, 4, detections), label)
    order = np.argsort(image, kind="stable")
    scores = rng.integers(1, 8, detections) / 8 if coarse else rng.random(detections)
    return truth, FoundObjects(
        image=image[order], label=label[order], boxes=np.abs(guess[order]), scores=scores[order]
    )


def _both(truth: CocoObjects, found: FoundObjects) -> tuple[CocoFigures, CocoFigures]:
    engines: tuple[Engine, Engine] = ("ultrafast-pycocotools", "pycocotools")
    fast, slow = (
        coco_figures(truth, found, image_ids=IMAGES, classes=CLASSES, engine=engine) for engine in engines
    )
    return fast, slow


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    objects=st.integers(1, 40),
    detections=st.integers(0, 130),
    coarse=st.booleans(),
)
def test_the_fast_evaluator_equals_pycocotools(
    seed: int, objects: int, detections: int, coarse: bool
) -> None:
    pytest.importorskip("ultrafast_pycocotools")
    truth, found = _case(seed, objects=objects, detections=detections, coarse=coarse)
    if not (~truth.crowd & (truth.category != 5)).any():
        return
    fast, slow = _both(truth, found)
    assert fast.figures == slow.figures
    assert repr(fast.classes) == repr(slow.classes)  # nan is equal to nan here
    assert fast.engine.startswith("ultrafast-pycocotools ")
    assert slow.engine.startswith("pycocotools ")


def test_more_than_100_detections_of_an_image_are_cut_alike() -> None:
    pytest.importorskip("ultrafast_pycocotools")
    truth, found = _case(3, objects=5, detections=900, coarse=True)
    fast, slow = _both(truth, found)
    assert fast.figures == slow.figures
    assert fast.figures["AP50"] > 0.02


def test_the_figures_are_those_of_pycocotools_own_files(tmp_path: Path) -> None:
    """From the annotation file and the result file that we write, by its own documented calls."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = _case(11, objects=40, detections=300, coarse=False)
    content = {
        "info": {},
        "images": [{"id": image} for image in IMAGES],
        "categories": [{"id": i, "name": name} for name, i in [*CLASSES, ("z", 5)] if i is not None],
        "annotations": [
            {
                "id": i + 1,
                "image_id": IMAGES[truth.image[i]],
                "category_id": int(truth.category[i]),
                "bbox": truth.boxes[i].tolist(),
                "area": float(truth.area[i]),
                "iscrowd": int(truth.crowd[i]),
            }
            for i in range(len(truth))
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    kept = found.at(found.label != 2)
    ids = [category or 0 for _, category in CLASSES]
    write_coco_results(tmp_path / "found.json", kept, image_ids=IMAGES, category_ids=ids)
    with contextlib.redirect_stdout(io.StringIO()):
        reference: Any = COCO(str(tmp_path / "truth.json"))
        run = COCOeval(reference, reference.loadRes(str(tmp_path / "found.json")), "bbox")
        run.params.catIds = sorted(ids[:2] + ids[3:])
        run.evaluate()
        run.accumulate()
        run.summarize()
    figures = coco_figures(truth, found, image_ids=IMAGES, classes=CLASSES)
    assert list(figures.figures.values()) == run.stats.tolist()
    assert list(figures.figures) == list(FIGURES)
    assert figures.detections == len(kept)


@pytest.mark.parametrize("engine", ["auto", "pycocotools"])
def test_the_truth_itself_scores_1_also_with_an_id_of_0(engine: Engine) -> None:
    truth, _ = _case(5, objects=30, detections=1, coarse=False)
    truth = truth.at(~truth.crowd & (truth.category != 5))
    label_of = {3: 0, 1: 1, 90: 3}
    found = FoundObjects(
        image=truth.image,
        label=np.array([label_of[int(category)] for category in truth.category]),
        boxes=truth.boxes,
        scores=np.full(len(truth), 0.5),
    )
    figures = coco_figures(truth, found, image_ids=IMAGES, classes=CLASSES, engine=engine)
    assert figures.figures["AP"] == figures.figures["AR100"] == 1
    by_name = {row.name: row for row in figures.classes}
    assert (by_name["a"].ap, by_name["a"].ap50, by_name["a"].ar) == (1, 1, 1)
    assert by_name["a"].objects == int((truth.category == 3).sum())
    assert np.isnan(by_name["unknown"].ap)
    moved = FoundObjects(**{**vars(found), "boxes": found.boxes + np.array([40, 0, 0, 0])})
    worse = coco_figures(truth, moved, image_ids=IMAGES, classes=CLASSES, engine=engine)
    assert worse.figures["AP"] < 0.5


def test_no_detections_score_0_and_absent_sizes_minus_1() -> None:
    truth, _ = _case(5, objects=30, detections=1, coarse=False)
    truth = truth.at(truth.area < 32**2)
    nothing = _case(1, objects=0, detections=0, coarse=False)[1]
    for engine in ("auto", "pycocotools"):
        figures = coco_figures(truth, nothing, image_ids=IMAGES, classes=CLASSES, engine=engine).figures
        assert (figures["AP"], figures["APs"], figures["APl"]) == (0, 0, -1)


def test_nothing_annotated_is_no_score() -> None:
    truth, found = _case(5, objects=30, detections=9, coarse=False)
    for nothing in (truth.at(truth.crowd), truth.at(truth.category == 5), CocoObjects.none()):
        with pytest.raises(DatasetError, match="nothing to score"):
            coco_figures(nothing, found, image_ids=IMAGES, classes=CLASSES)


def test_without_a_package_it_is_said_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = _case(5, objects=30, detections=9, coarse=False)
    monkeypatch.setattr(coco_boxes, "_MODULES", {"pycocotools": "package_that_is_absent"})
    with pytest.raises(MissingBackendError, match=r"graphopt\[coco\]"):
        coco_figures(truth, found, image_ids=IMAGES, classes=CLASSES)
