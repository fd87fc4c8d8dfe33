"""Sizes and places as albumentations 1.1.0 computes them."""

from typing import Any, Literal

import pytest

from graphopt.runtime.letterbox import Letterbox


@pytest.mark.parametrize(
    ("size", "scaled", "corner"),
    [
        ((500, 375), (500, 375), (0, 62)),  # the odd row of padding comes below
        ((334, 500), (334, 500), (83, 0)),
        ((1000, 333), (500, 166), (0, 167)),  # 166.5 is rounded to even ...
        ((1000, 335), (500, 168), (0, 166)),  # ... as is 167.5
        ((250, 101), (500, 202), (0, 149)),
        ((5000, 2), (500, 1), (0, 249)),  # no side vanishes
    ],
)
def test_an_image_is_scaled_rounded_half_to_even_and_centred(
    size: tuple[int, int], scaled: tuple[int, int], corner: tuple[int, int]
) -> None:
    place = Letterbox.fitted(*size, longest=500, canvas=(500, 500))
    assert ((place.width, place.height), (place.left, place.top)) == (scaled, corner)
    rows, columns = place.inner
    assert (rows.stop - rows.start, columns.stop - columns.start) == scaled[::-1]


def test_without_a_canvas_there_is_no_padding() -> None:
    place = Letterbox.fitted(40, 20, longest=10)
    assert (place.canvas_width, place.canvas_height, place.left, place.top) == (10, 5, 0, 0)


@pytest.mark.parametrize(
    ("size", "rounding", "scaled", "corner"),
    [
        ((640, 427), "half_up", (1216, 811), (0, 202)),
        ((427, 640), "half_up", (811, 1216), (202, 0)),
        ((640, 427), "floor", (1216, 811), (0, 202)),
        ((500, 333), "floor", (1216, 809), (0, 203)),  # 809.86
        ((500, 333), "half_up", (1216, 810), (0, 203)),
        ((5000, 2), "floor", (1216, 1), (0, 607)),  # no side vanishes
    ],
)
def test_an_image_is_scaled_to_fit(
    size: tuple[int, int], rounding: Literal["floor", "half_up"], scaled: tuple[int, int], corner: Any
) -> None:
    place = Letterbox.within(*size, canvas=(1216, 1216), rounding=rounding)
    assert ((place.width, place.height), (place.left, place.top)) == (scaled, corner)
    assert (place.canvas_width, place.canvas_height) == (1216, 1216)


def test_an_image_of_another_aspect_fits_by_its_tighter_side() -> None:
    assert Letterbox.within(640, 427, canvas=(800, 1333), rounding="floor").height == 800
    assert Letterbox.within(640, 300, canvas=(800, 1333), rounding="floor").width == 1333
