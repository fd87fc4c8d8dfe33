import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, MissingBackendError, UsageError
from graphopt.core.preprocessing import (
    DecodePil,
    Normalize,
    NormalizePixels,
    PadCentredTo,
    ResizeLongestCv2,
    ResizePil,
    ScaleToUnit,
    Step,
    ToFloat32,
    ToNchw,
)
from graphopt.runtime.preprocess import preprocess, steps_to_json

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
DEEPMAR = (
    DecodePil(colour="RGB"),
    ResizePil(width=224, height=224),
    ScaleToUnit(),
    Normalize(mean=MEAN, std=STD),
    ToNchw(),
)


def by_hand(path: Path, width: int, height: int) -> np.ndarray:
    """The published chain, without our steps."""
    picture = Image.open(path).convert("RGB")
    picture = picture.resize((width, height), 2)  # 2 is PIL.Image.BILINEAR in every version
    pixels = np.array(picture, dtype=np.uint8)
    planes = []
    for channel in range(3):
        plane = pixels[:, :, channel].astype(np.float32)
        plane = np.divide(plane, np.float32(255), dtype=np.float32)
        plane = np.subtract(plane, np.float32(MEAN[channel]), dtype=np.float32)
        plane = np.divide(plane, np.float32(STD[channel]), dtype=np.float32)
        planes.append(plane)
    return np.stack(planes)


@pytest.mark.parametrize("size", [(39, 97), (224, 224), (600, 500), (1, 1)])
def test_deepmar_chain_is_bit_equal_to_pillow_and_numpy_by_hand(
    tmp_path: Path, write_image: Callable[..., Path], size: tuple[int, int]
) -> None:
    path = write_image(tmp_path / "a.png", width=size[0], height=size[1])
    got = preprocess(path, DEEPMAR)
    assert got.dtype == np.float32
    assert got.shape == (3, 224, 224)
    assert got.flags.c_contiguous
    assert got.tobytes() == by_hand(path, 224, 224).tobytes()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_colour_modes_become_rgb_as_pillow_converts_them(tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (17, 9, 3), dtype=np.uint8)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(pixels).convert(mode).save(path)
    assert preprocess(path, DEEPMAR).tobytes() == by_hand(path, 224, 224).tobytes()


@pytest.mark.torch
def test_arithmetic_is_that_of_torch(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    torch = pytest.importorskip("torch")
    path = write_image(tmp_path / "a.png", width=51, height=33)
    picture = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
    mean = torch.tensor(MEAN, dtype=torch.float32).view(-1, 1, 1)
    std = torch.tensor(STD, dtype=torch.float32).view(-1, 1, 1)
    expected = tensor.sub_(mean).div_(std).numpy()
    assert preprocess(path, DEEPMAR).tobytes() == expected.tobytes()


def test_width_and_height_are_not_swapped(
    tmp_path: Path, write_image: Callable[..., Path], steps: tuple[Step, ...]
) -> None:
    path = write_image(tmp_path / "a.png")
    assert preprocess(path, steps).shape == (3, 7, 5)
    assert preprocess(path, steps).tobytes() == by_hand(path, 5, 7).tobytes()


def test_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.png does not exist"):
        preprocess(tmp_path / "nowhere.png", DEEPMAR)


def _truncated_png(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _broken_chunk(whole: bytes) -> bytes:
    return whole[:33] + b"\xff" * 40 + whole[73:]


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda _: b"not a picture", _truncated_png, _broken_chunk, lambda w: w[:20]]
)
def test_broken_image_is_named(
    tmp_path: Path, write_image: Callable[..., Path], damage: Callable[[bytes], bytes]
) -> None:
    path = write_image(tmp_path / "broken.png", width=60, height=60)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=r"broken\.png cannot be decoded"):
        preprocess(path, DEEPMAR)


def test_folder_in_place_of_an_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be decoded"):
        preprocess(tmp_path, DEEPMAR)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((), "starts with nothing"),
        ((ScaleToUnit(),), "starts with ScaleToUnit"),
        ((DecodePil(), DecodePil()), "DecodePil cannot follow"),
        ((DecodePil(), ScaleToUnit(), ScaleToUnit()), r"ScaleToUnit needs uint8 \[H, W, 3\]"),
        ((DecodePil(), ScaleToUnit(), ResizePil(width=3, height=3)), "ResizePil needs uint8"),
        ((DecodePil(), Normalize(mean=MEAN, std=STD)), "Normalize needs float32"),
        ((DecodePil(), ScaleToUnit(), Normalize(mean=MEAN, std=(1, 0, 1))), "divides by zero"),
        ((DecodePil(), ScaleToUnit(), ToNchw(), ToNchw()), "ToNchw needs float32"),
        ((DecodePil(), ScaleToUnit()), "ends with ScaleToUnit"),
        ((DecodePil(),), "ends with DecodePil in uint8"),
    ],
)
def test_steps_that_do_not_fit_are_refused(
    tmp_path: Path, write_image: Callable[..., Path], steps: tuple[Step, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        preprocess(write_image(tmp_path / "a.png"), steps)


def test_steps_as_data_name_their_kind_and_options() -> None:
    content = steps_to_json(DEEPMAR)
    assert [item["step"] for item in content] == [
        "DecodePil",
        "ResizePil",
        "ScaleToUnit",
        "Normalize",
        "ToNchw",
    ]
    assert content[1] == {"step": "ResizePil", "width": 224, "height": 224, "interpolation": "bilinear"}


REFINENET = (
    DecodePil(colour="RGB"),
    ToFloat32(),
    ResizeLongestCv2(size=500),
    PadCentredTo(height=500, width=500, value=(0.485 * 255, 0.456 * 255, 0.406 * 255)),
    NormalizePixels(mean=MEAN, std=STD),
    ToNchw(),
)


def refinenet_by_hand(path: Path) -> np.ndarray:
    """What the published preprocessing does through albumentations 1.1.0, call by call."""
    cv2: Any = pytest.importorskip("cv2")
    pixels = np.array(Image.open(path).convert("RGB"), dtype=np.float32)
    scale = 500 / float(max(pixels.shape[:2]))
    if scale != 1.0:
        height, width = (round(side * scale) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, dsize=(width, height), interpolation=cv2.INTER_LINEAR)
    rows, columns = pixels.shape[:2]
    top, left = int((500 - rows) / 2.0), int((500 - columns) / 2.0)
    pixels = cv2.copyMakeBorder(
        pixels,
        top,
        500 - rows - top,
        left,
        500 - columns - left,
        cv2.BORDER_CONSTANT,
        value=np.array(MEAN) * 255,
    )
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    mean *= 255.0
    std *= 255.0
    pixels = np.ascontiguousarray(pixels.astype("float32"))
    cv2.subtract(pixels, np.array([*mean.tolist(), 0]), pixels)
    cv2.multiply(pixels, np.array([*np.reciprocal(std, dtype=np.float32).tolist(), 1]), pixels)
    return pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (640, 427), (431, 299), (101, 57), (500, 500)])
def test_refinenet_chain_is_bit_equal_to_opencv_by_hand(
    tmp_path: Path, write_image: Callable[..., Path], size: tuple[int, int]
) -> None:
    path = write_image(tmp_path / "a.png", width=size[0], height=size[1])
    expected = refinenet_by_hand(path)
    got = preprocess(path, REFINENET)
    assert (got.dtype.name, got.shape, got.flags.c_contiguous) == ("float32", (3, 500, 500), True)
    assert got.tobytes() == expected.tobytes()


def test_padding_is_next_to_nothing_after_normalisation(
    tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    got = preprocess(write_image(tmp_path / "a.png", width=500, height=401), REFINENET)
    assert np.abs(got[:, :49]).max() < 1e-6
    assert np.abs(got[:, -50:]).max() < 1e-6
    assert np.abs(got[:, 49]).max() > 0.1
    assert np.abs(got[:, -51]).max() > 0.1


def test_uint8_is_scaled_and_padded_as_uint8(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    cv2: Any = pytest.importorskip("cv2")
    path = write_image(tmp_path / "a.png", width=11, height=13)
    steps: tuple[Step, ...] = (
        DecodePil(),
        ResizeLongestCv2(size=26),
        PadCentredTo(height=26, width=27, value=(123.675, 116.28, 300)),
        ScaleToUnit(),
        ToNchw(),
    )
    got = preprocess(path, steps)
    grown = cv2.resize(np.asarray(Image.open(path)), (22, 26), interpolation=cv2.INTER_LINEAR)
    canvas = np.full((26, 27, 3), (124, 116, 255), np.uint8)
    canvas[:, 2:24] = grown
    assert got.tobytes() == (canvas.astype(np.float32) / np.float32(255)).transpose(2, 0, 1).tobytes()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (PadCentredTo(height=12, width=50, value=(0, 0, 0)), r"50 x 12 .* gets an image of 11 x 13"),
        (ResizeLongestCv2(size=0), "0 pixels"),
        (NormalizePixels(mean=MEAN, std=(1, 0, 1)), "divides by zero"),
    ],
)
def test_letterbox_steps_that_make_no_sense(
    tmp_path: Path, write_image: Callable[..., Path], step: Step, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        preprocess(write_image(tmp_path / "a.png"), (DecodePil(), step, ToNchw()))
    with pytest.raises(UsageError, match=r"needs uint8 or float32 \[H, W, 3\]"):
        preprocess(write_image(tmp_path / "a.png"), (DecodePil(), ScaleToUnit(), ToNchw(), step))


def test_without_opencv_the_error_says_what_to_install(
    tmp_path: Path, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    path = write_image(tmp_path / "a.png", width=500, height=401)
    preprocess(path, REFINENET)  # nothing to resize
    with pytest.raises(MissingBackendError, match=r"pip install 'graphopt\[vision\]'"):
        preprocess(write_image(tmp_path / "b.png"), REFINENET)
