"""Boxes back in the image: by the real transform, and by the published formula."""

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.runtime.decode.boxes import BoxMapping, boxes_on_source
from graphopt.runtime.letterbox import Letterbox

PLACES = [
    Letterbox.within(500, 333, canvas=(800, 1333), rounding="floor"),
    Letterbox.within(427, 640, canvas=(640, 640), rounding="half_up"),
]
IMAGE = np.array([1, 0, 1])


def _forward(box: NDArray[np.float64], place: Letterbox) -> NDArray[np.float64]:
    x, y, width, height = box
    across, down = place.width / place.source_width, place.height / place.source_height
    return np.array([x, y, x + width, y + height]) * [across, down, across, down] + (
        [place.left, place.top] * 2
    )


def test_the_real_transform_is_undone() -> None:
    boxes = np.array([[10.5, 20, 30, 40.25], [0, 0, 500, 333], [400, 600, 27, 40]])
    inside = np.stack([_forward(box, PLACES[i]) for box, i in zip(boxes, IMAGE.tolist(), strict=True)])
    assert boxes_on_source(inside, IMAGE, PLACES) == pytest.approx(boxes, abs=1e-9)


def test_the_published_formula_is_what_the_scripts_compute() -> None:
    rng = np.random.default_rng(7)
    boxes = rng.uniform(0, 600, (3, 4))
    boxes[:, 2:] += boxes[:, :2]
    found = boxes_on_source(boxes, IMAGE, PLACES, mapping=BoxMapping.PUBLISHED)
    for row, box, i in zip(found, boxes, IMAGE.tolist(), strict=True):
        place = PLACES[i]
        scale = min(place.canvas_width / place.source_width, place.canvas_height / place.source_height)
        left = (place.canvas_width - place.source_width * scale) // 2
        top = (place.canvas_height - place.source_height * scale) // 2
        x1, y1 = (box[0] - left) / scale, (box[1] - top) / scale
        x2, y2 = (box[2] - left) / scale, (box[3] - top) / scale
        assert row.tolist() == [x1, y1, x2 - x1, y2 - y1]
    # 427 x 640 is scaled by one: nothing was rounded, and only the other image differs.
    real = boxes_on_source(boxes, IMAGE, PLACES)
    assert np.abs(real - found).max(axis=1).round(3).tolist()[0::2] == [0, 0]
    assert 0.1 < np.abs(real - found)[1].max() < 2


def test_clipping_cuts_at_the_image_and_leaves_no_negative_side() -> None:
    place = Letterbox.within(20, 10, canvas=(30, 30), rounding="half_up")
    boxes = np.array([[-9.0, -9, 90, 90], [0, 0, 30, 5], [3, 9, 6, 12]])
    found = boxes_on_source(boxes, np.zeros(3, np.int64), [place], clip=True)
    assert found[0] == pytest.approx([0, 0, 20, 10], abs=0.2)
    assert found[1, 3] == 0  # in the padding above the image
    free = boxes_on_source(boxes, np.zeros(3, np.int64), [place])
    assert free[0, 0] < 0
    assert (free[:, 2:] >= 0).all()
    assert np.array_equal(free[2], found[2])


def test_no_boxes() -> None:
    nothing = boxes_on_source(np.zeros((0, 4)), np.zeros(0, np.int64), PLACES)
    assert nothing.shape == (0, 4)
