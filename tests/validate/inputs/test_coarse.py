"""Thumbnails tell images, axes and orientations; plain ones tell nothing."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2")

from graphopt.validate.inputs.coarse import (
    correlation,
    likeness,
    oriented,
    shrunk,
    thumbnail,
    thumbnail_size,
)
from graphopt.validate.inputs.expected import ExpectedInput, Placement

CANVAS = (70, 100)
PLACE = Placement(70, 90, 0, 5)


def picture(seed: int) -> Any:
    """A smooth picture of 140 x 180."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 9, 3)).astype(np.uint8)
    return np.repeat(np.repeat(coarse, 20, 0), 20, 1)


def fed(pixels: Any) -> Any:
    values = np.zeros((*CANVAS, 3), np.float32)
    values[:, 5:95] = pixels[::2, ::2]
    return values


def alike(values: Any, pixels: Any, *places: Placement) -> float:
    file = thumbnail(values, thumbnail_size(CANVAS))
    return likeness(file, shrunk(pixels), places or (PLACE,), CANVAS)


def test_a_file_is_like_its_own_image_and_no_other() -> None:
    assert alike(fed(picture(1)), picture(1)) > 0.9
    assert alike(fed(picture(1)), picture(2)) < 0.6
    assert alike(fed(picture(1)), picture(1)[:, ::-1]) < 0.6


def test_scale_and_sign_of_values_do_not_matter() -> None:
    assert alike(3 - fed(picture(1)) / 50, picture(1)) > 0.9


def test_the_best_of_several_places_counts() -> None:
    wrong = Placement(70, 90, 0, 40)
    assert alike(fed(picture(1)), picture(1), wrong) < 0.8
    assert alike(fed(picture(1)), picture(1), wrong, PLACE) > 0.9


def test_a_place_outside_of_the_input_is_like_nothing() -> None:
    assert alike(fed(picture(1)), picture(1), Placement(70, 90, 69, 99)) == 0


def test_plain_files_and_images_are_like_nothing() -> None:
    plain = np.full((140, 180, 3), 90, np.uint8)
    assert alike(np.full((*CANVAS, 3), 0.7, np.float32), picture(1)) == 0
    assert alike(fed(picture(1)), plain) == 0


def test_constants_do_not_correlate() -> None:
    values = np.arange(12.0)
    assert correlation(values, np.ones(12)) == 0
    assert correlation(values, 2 * values + 1) == pytest.approx(1)
    assert correlation(values, -values) == pytest.approx(-1)


def test_an_image_is_turned_as_its_name_says() -> None:
    pixels, other = picture(1), (picture(2), PLACE)
    image = ExpectedInput(
        name="a", pixels=pixels, values=np.zeros((*CANVAS, 3), np.float32), placement=PLACE, turned=other
    )
    assert np.array_equal(oriented(image, "mirrored")[0], pixels[:, ::-1])
    assert np.array_equal(oriented(image, "upside down")[0], pixels[::-1])
    assert np.array_equal(oriented(image, "turned by 180 degrees")[0], pixels[::-1, ::-1])
    assert oriented(image, "EXIF")[0] is other[0]
