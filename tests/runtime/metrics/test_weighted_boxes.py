"""Box mAP over images that count several times: what pycocotools says of a data set that repeats them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.runtime.datasets.coco_annotations import CocoObjects
from graphopt.runtime.decode.boxes import FoundObjects
from graphopt.runtime.metrics.coco_boxes import coco_figures
from graphopt.runtime.metrics.weighted_boxes import LazyBoxMap

pytest.importorskip("pycocotools")
CLASSES = [("a", 3), ("b", 1), ("unknown", None), ("c", 90)]
IDS = (42, 7, 1_000_000_007, 9, 13)


def case(seed: int, *, detections: int = 160, crowds: float = 0.2) -> tuple[CocoObjects, FoundObjects]:
    """Objects in all images but the last one, crowds among them; detections near some of them."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 200, (40, 2)), rng.uniform(6, 90, (40, 2))], axis=1)
    truth = CocoObjects(
        image=rng.integers(0, len(IDS) - 1, 40),
        category=rng.choice([3, 1, 90], 40, p=[0.7, 0.2, 0.1]),
        boxes=boxes,
        area=np.prod(boxes[:, 2:], axis=1),
        crowd=rng.random(40) < crowds,
        ids=np.arange(40),
    )
    near = rng.integers(0, 40, detections)
    label_of: dict[int, int] = {3: 0, 1: 1, 90: 3}
    label = np.array([label_of[int(item)] for item in truth.category[near]], np.int64)
    found = FoundObjects(
        image=np.where(rng.random(detections) < 0.1, len(IDS) - 1, truth.image[near]),
        label=np.where(rng.random(detections) < 0.2, rng.integers(0, 4, detections), label),
        boxes=np.abs(boxes[near] * (1 + rng.normal(0, 0.08, (detections, 4)))),
        scores=rng.permutation(np.linspace(0.01, 1, detections)),  # no two alike
    )
    return truth, found.at(np.argsort(found.image, kind="stable"))


def repeated(truth: CocoObjects, found: FoundObjects, counts: NDArray[np.int64]) -> float:
    """The mAP of a data set that holds every image as often as counted."""
    sources = np.repeat(np.arange(len(counts)), counts)

    def drawn(side: Any) -> list[Any]:
        picked = [side.at(side.image == source) for source in sources]
        return [replace(part, image=part.image * 0 + i) for i, part in enumerate(picked)]

    def join(parts: list[Any]) -> Any:
        return type(parts[0])(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
        )

    ids = range(1, len(sources) + 1)
    objects, answers = join(drawn(truth)), join(drawn(found))
    return coco_figures(objects, answers, image_ids=ids, classes=CLASSES).figures["AP"]


@pytest.mark.parametrize("seed", range(6))
def test_weights_are_repetitions(seed: int) -> None:
    truth, found = case(seed)
    weights = np.random.default_rng(seed).multinomial(5, np.full(5, 0.2), size=12)
    weights = weights[(weights[:, :-1].sum(axis=1)) > 0]
    got = LazyBoxMap(truth, found, image_ids=IDS, classes=CLASSES)(weights)
    wanted = [repeated(truth, found, counts) for counts in weights]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_ones_give_the_metric_also_with_equal_scores(seed: int) -> None:
    truth, found = case(seed)
    coarse = replace(found, scores=np.ceil(found.scores * 4) / 4)
    for answers in (found, coarse):
        figure = coco_figures(truth, answers, image_ids=IDS, classes=CLASSES).figures["AP"]
        whole = LazyBoxMap(truth, answers, image_ids=IDS, classes=CLASSES)(np.ones((1, len(IDS)), np.int64))
        assert whole[0] == pytest.approx(figure, abs=1e-12)


def test_the_slow_package_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = case(1)
    weights = np.array([[1, 1, 1, 1, 1], [0, 2, 1, 0, 2]])
    fast = LazyBoxMap(truth, found, image_ids=IDS, classes=CLASSES)(weights)
    monkeypatch.setattr("graphopt.runtime.metrics.coco_boxes._MODULES", {"pycocotools": "pycocotools"})
    assert LazyBoxMap(truth, found, image_ids=IDS, classes=CLASSES)(weights).tolist() == fast.tolist()


def test_without_an_object_there_is_no_figure() -> None:
    truth, found = case(2)
    assert np.isnan(LazyBoxMap(truth, found, image_ids=IDS, classes=CLASSES)(np.array([[0, 0, 0, 0, 3]])))


def test_without_a_detection_it_is_zero() -> None:
    truth, found = case(3)
    nothing = found.at(np.zeros(0, np.int64))
    assert LazyBoxMap(truth, nothing, image_ids=IDS, classes=CLASSES)(np.ones((1, 5), np.int64))[0] == 0


def test_large_draws_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = case(4)
    weights = np.random.default_rng(0).multinomial(5, np.full(5, 0.2), size=9)
    whole = LazyBoxMap(truth, found, image_ids=IDS, classes=CLASSES)(weights)
    monkeypatch.setattr("graphopt.runtime.metrics.weighted_boxes._BLOCK", 1)
    cut = LazyBoxMap(truth, found, image_ids=IDS, classes=CLASSES)(weights)
    np.testing.assert_array_equal(whole, cut)
