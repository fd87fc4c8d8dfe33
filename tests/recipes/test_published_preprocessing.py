"""The preprocessing of the published detectors at their published sizes, bit by bit as in OpenCV by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.models.fcos import fcos_recipe
from graphopt.runtime.preprocess import preprocess

cv2: Any = pytest.importorskip("cv2")

IMAGENET: Any = np.array([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]], np.float32)
CAFFE: Any = np.array([[102.9801, 115.9465, 122.7717], [1.0, 1.0, 1.0]], np.float32)


def _by_hand(path: Path, height: int, width: int, *, rgb: bool, half_up: bool, moments: Any) -> np.ndarray:
    """Decode, resize with the aspect kept, (swap,) normalise in place, centre: the scripts' order."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    rows, columns = pixels.shape[:2]
    scale = min(width / columns, height / rows)
    size = [int(side * scale + (0.5 if half_up else 0)) for side in (columns, rows)]
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if rgb:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels)
    cv2.subtract(pixels, np.float64(moments[:1]), pixels)
    cv2.multiply(pixels, 1 / np.float64(moments[1:]), pixels)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    borders = (top, height - size[1] - top, left, width - size[0] - left)
    whole = cv2.copyMakeBorder(pixels, *borders, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    return np.ascontiguousarray(whole.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(640, 480), (427, 640), (500, 333), (1333, 800), (97, 641)])
@pytest.mark.parametrize(
    ("name", "sides", "options"),
    [
        ("fcos", (800, 1333), {"rgb": False, "half_up": False, "moments": CAFFE}),
        ("nas_fpn", (640, 640), {"rgb": True, "half_up": True, "moments": IMAGENET}),
        ("faster_rcnn_dcn", (1216, 1216), {"rgb": True, "half_up": True, "moments": IMAGENET}),
    ],
)
def test_every_bit_is_that_of_opencv(
    tmp_path: Path, name: str, sides: tuple[int, int], options: dict[str, Any], size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(size)
    coarse = rng.integers(0, 256, (size[1] // 16 + 2, size[0] // 16 + 2, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))
    got = preprocess(tmp_path / "a.jpg", find_recipe(name).preprocessing)
    assert got.shape == (3, *sides)
    assert got.tobytes() == _by_hand(tmp_path / "a.jpg", *sides, **options).tobytes()


def test_another_size_keeps_the_rest(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((50, 70, 3), 99, np.uint8))
    got = preprocess(tmp_path / "a.jpg", fcos_recipe(96, 160).preprocessing)
    hand = _by_hand(tmp_path / "a.jpg", 96, 160, rgb=False, half_up=False, moments=CAFFE)
    assert got.tobytes() == hand.tobytes()
