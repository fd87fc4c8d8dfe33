"""The chains of the published detectors, against OpenCV called by hand."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, MissingBackendError, UsageError
from graphopt.core.preprocessing import (
    DecodeCv2,
    DecodePil,
    NormalizeMmcv,
    PadCentredTo,
    ResizeToFitCv2,
    Step,
    SwapChannels,
    ToNchw,
)
from graphopt.runtime.preprocess import preprocess, steps_to_json

cv2: Any = pytest.importorskip("cv2")

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
BLACK = (0.0, 0.0, 0.0)
SQUARE = (
    DecodeCv2(),
    ResizeToFitCv2(width=64, height=64, rounding="half_up"),
    SwapChannels(),
    NormalizeMmcv(mean=MEAN, std=STD),
    PadCentredTo(width=64, height=64, value=BLACK),
    ToNchw(),
)
WIDE = (
    DecodeCv2(),
    ResizeToFitCv2(width=133, height=80, rounding="floor"),
    NormalizeMmcv(mean=(102.9801, 115.9465, 122.7717), std=(1.0, 1.0, 1.0)),
    PadCentredTo(width=133, height=80, value=BLACK),
    ToNchw(),
)


def padded(pixels: Any, width: int, height: int) -> np.ndarray:
    rows, columns = pixels.shape[:2]
    left, top = (width - columns) // 2, (height - rows) // 2
    borders = (top, height - rows - top, left, width - columns - left)
    whole = cv2.copyMakeBorder(pixels, *borders, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(whole).transpose(2, 0, 1)


def normalised(pixels: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    """Subtraction and multiplication by the inverse, in place, as mmcv does both."""
    result = pixels.copy().astype(np.float32)
    cv2.subtract(result, np.float64(np.array(mean, np.float32).reshape(1, -1)), result)
    cv2.multiply(result, 1 / np.float64(np.array(std, np.float32).reshape(1, -1)), result)
    return result


@pytest.mark.parametrize("size", [(64, 48), (61, 43), (43, 61), (640, 427), (101, 7), (64, 64), (333, 500)])
def test_the_square_chain_is_bit_equal_to_opencv(
    tmp_path: Path, write_image: Callable[..., Path], size: tuple[int, int]
) -> None:
    path = write_image(tmp_path / "a.png", width=size[0], height=size[1])
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    scale = min(64 / max(size), 64 / min(size))
    new = tuple(int(side * float(scale) + 0.5) for side in size)
    pixels = cv2.resize(pixels, new, interpolation=cv2.INTER_LINEAR)
    pixels = normalised(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), MEAN, STD)
    got = preprocess(path, SQUARE)
    assert (got.dtype.name, got.shape, got.flags.c_contiguous) == ("float32", (3, 64, 64), True)
    assert got.tobytes() == padded(pixels, 64, 64).tobytes()


@pytest.mark.parametrize("size", [(133, 80), (640, 427), (427, 640), (133, 79), (17, 500), (900, 541)])
def test_the_wide_chain_is_bit_equal_to_opencv(
    tmp_path: Path, write_image: Callable[..., Path], size: tuple[int, int]
) -> None:
    path = write_image(tmp_path / "a.png", width=size[0], height=size[1])
    ratio = min(133 / size[0], 80 / size[1])
    new = tuple(int(np.floor(side * ratio)) for side in size)
    pixels = cv2.resize(cv2.imread(str(path)), new, interpolation=cv2.INTER_LINEAR)
    pixels = normalised(pixels, (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))
    assert preprocess(path, WIDE).tobytes() == padded(pixels, 133, 80).tobytes()


def test_channels_come_as_opencv_has_them(tmp_path: Path) -> None:
    Image.new("RGB", (80, 80), (255, 0, 7)).save(tmp_path / "red.png")
    steps: tuple[Step, ...] = (DecodeCv2(), NormalizeMmcv(mean=BLACK, std=(1.0, 1.0, 1.0)), ToNchw())
    assert preprocess(tmp_path / "red.png", steps)[:, 0, 0].tolist() == [7, 0, 255]
    swapped = (*steps[:1], SwapChannels(), *steps[1:])
    assert preprocess(tmp_path / "red.png", swapped)[:, 0, 0].tolist() == [255, 0, 7]


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 24))
    exif = picture.getexif()
    exif[0x0112] = 6  # orientation: to be turned by a quarter
    picture.save(tmp_path / "a.jpg", exif=exif)
    steps: tuple[Step, ...] = (DecodeCv2(), NormalizeMmcv(mean=BLACK, std=(1.0, 1.0, 1.0)), ToNchw())
    assert preprocess(tmp_path / "a.jpg", steps).shape == (3, 40, 24)


def test_missing_and_broken_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.png does not exist"):
        preprocess(tmp_path / "nowhere.png", SQUARE)
    for content in (b"", b"not a picture"):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(DatasetError, match=r"broken\.png cannot be decoded"):
            preprocess(tmp_path / "broken.png", SQUARE)
    with pytest.raises(DatasetError, match="cannot be decoded"):
        preprocess(tmp_path, SQUARE)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((SwapChannels(), DecodeCv2()), "starts with SwapChannels, not DecodePil or DecodeCv2"),
        ((DecodePil(), DecodeCv2()), "DecodeCv2 cannot follow"),
        ((*SQUARE[:4], SQUARE[1]), "ResizeToFitCv2 needs uint8"),
        ((DecodeCv2(), ResizeToFitCv2(width=0, height=8, rounding="floor")), "0 x 8 pixels leaves nothing"),
        ((DecodeCv2(), NormalizeMmcv(mean=MEAN, std=(1.0, 0.0, 1.0))), "divides by zero"),
    ],
)
def test_steps_that_make_no_sense(
    tmp_path: Path, write_image: Callable[..., Path], steps: tuple[Step, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        preprocess(write_image(tmp_path / "a.png"), steps)


def test_without_opencv_the_error_says_what_to_install(
    tmp_path: Path, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingBackendError, match=r"pip install 'graphopt\[vision\]'"):
        preprocess(write_image(tmp_path / "a.png"), SQUARE)


def test_steps_as_data_name_their_options() -> None:
    assert steps_to_json(SQUARE)[1] == {
        "step": "ResizeToFitCv2",
        "width": 64,
        "height": 64,
        "rounding": "half_up",
        "interpolation": "bilinear",
    }
