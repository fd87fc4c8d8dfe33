"""The transform that is read from the steps is the one that preprocessing applies."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import UsageError
from graphopt.core.preprocessing import (
    DecodeCv2,
    DecodePil,
    NormalizeMmcv,
    PadCentredTo,
    ResizeLongestCv2,
    ResizePil,
    ResizeToFitCv2,
    ScaleToUnit,
    Step,
    ToFloat32,
    ToNchw,
)
from graphopt.runtime.placement import place_of
from graphopt.runtime.preprocess import preprocess

_ONE = (1.0, 1.0, 1.0)
_ZERO = (0.0, 0.0, 0.0)


def _fit(rounding: str) -> tuple[Step, ...]:
    return (
        DecodeCv2(),
        ResizeToFitCv2(width=90, height=60, rounding="floor" if rounding == "floor" else "half_up"),
        NormalizeMmcv(mean=(-1.0, -1.0, -1.0), std=_ONE),  # no pixel of the image is 0
        PadCentredTo(width=97, height=71, value=_ZERO),
        ToNchw(),
    )


CASES = {
    "floor": _fit("floor"),
    "half_up": _fit("half_up"),
    "longest": (
        DecodePil(),
        ToFloat32(),
        ResizeLongestCv2(size=80),
        NormalizeMmcv(mean=(-1.0, -1.0, -1.0), std=_ONE),
        PadCentredTo(width=101, height=90, value=_ZERO),
        ToNchw(),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [(37, 53), (64, 48), (200, 33)])
def test_the_image_lies_where_it_is_said(case: str, size: tuple[int, int], tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    Image.fromarray(np.full((size[1], size[0], 3), 200, np.uint8)).save(tmp_path / "a.png")
    seen = preprocess(tmp_path / "a.png", CASES[case])[0] != 0
    place = place_of(CASES[case], *size)
    wanted = np.zeros_like(seen)
    wanted[place.inner] = True
    assert np.array_equal(seen, wanted)
    assert (place.canvas_width, place.canvas_height) == (seen.shape[1], seen.shape[0])
    assert (place.source_width, place.source_height) == size


def test_a_resize_to_a_size_stretches() -> None:
    place = place_of((DecodePil(), ResizePil(width=5, height=7), ScaleToUnit(), ToNchw()), 50, 21)
    assert (place.width, place.height, place.left, place.top) == (5, 7, 0, 0)


def test_a_resize_behind_a_padding_is_refused() -> None:
    steps = (DecodeCv2(), PadCentredTo(width=9, height=9, value=_ZERO), ResizePil(width=5, height=5))
    with pytest.raises(UsageError, match="ResizePil follows a padding"):
        place_of(steps, 3, 4)
