from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.preprocessing import DecodePil, Normalize, ResizePil, ScaleToUnit, Step, ToNchw
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
