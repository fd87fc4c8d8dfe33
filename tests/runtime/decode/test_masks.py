"""Masks: upsampling against the textbook formula, and there and back through the network's frame."""

from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import UsageError
from graphopt.runtime.decode.masks import mask_from_logits, mask_on_canvas, mask_on_source
from graphopt.runtime.letterbox import Letterbox

pytest.importorskip("cv2")


def _logits(classes: int = 5, height: int = 7, width: int = 6) -> Any:
    return np.random.default_rng(3).standard_normal((classes, height, width)).astype(np.float32)


def _bilinear(plane: Any, height: int, width: int) -> Any:
    """Half-pixel centres, edges repeated, in float64."""
    grown = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * plane.shape[0] / height - 0.5, 0), plane.shape[0] - 1)
            u = min(max((x + 0.5) * plane.shape[1] / width - 0.5, 0), plane.shape[1] - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
            b, a = v - top, u - left
            upper = plane[top, left] * (1 - a) + plane[top, right] * a
            lower = plane[bottom, left] * (1 - a) + plane[bottom, right] * a
            grown[y, x] = upper * (1 - b) + lower * b
    return grown


@pytest.mark.parametrize("size", [(28, 24), (7, 6), (19, 31)])
def test_logits_are_upsampled_bilinearly_before_the_largest_is_taken(size: tuple[int, int]) -> None:
    logits = _logits()
    got = mask_from_logits(logits, height=size[0], width=size[1])
    grown = np.stack([_bilinear(plane.astype(np.float64), *size) for plane in logits])
    expected = grown.argmax(axis=0)
    two = np.sort(grown, axis=0)[-2:]
    clear = two[1] - two[0] > 1e-5
    assert (got.dtype.name, got.shape) == ("uint8", size)
    assert clear.mean() > 0.95
    assert np.array_equal(got[clear], expected[clear])


def test_nearest_upsampling_would_be_noticed() -> None:
    logits = _logits()
    nearest = np.kron(logits.argmax(axis=0), np.ones((4, 4), int))
    assert not np.array_equal(mask_from_logits(logits, height=28, width=24), nearest)


@pytest.mark.torch
def test_the_mask_is_that_of_the_original_post_processing() -> None:
    torch = pytest.importorskip("torch")
    logits = _logits(21, 25, 25)
    grown = torch.nn.functional.interpolate(
        torch.from_numpy(logits.astype(np.float64))[None],
        size=(100, 100),
        mode="bilinear",
        align_corners=False,
    )
    assert np.array_equal(mask_from_logits(logits, height=100, width=100), grown[0].numpy().argmax(axis=0))


def test_of_equal_classes_the_first_wins() -> None:
    assert not mask_from_logits(np.ones((4, 3, 2), np.float32), height=6, width=4).any()


def test_half_precision_logits_are_taken() -> None:
    logits = _logits().astype(np.float16)
    wide = mask_from_logits(logits.astype(np.float32), height=14, width=12)
    assert np.array_equal(mask_from_logits(logits, height=14, width=12), wide)


@pytest.mark.parametrize("logits", [np.zeros((3, 4)), np.zeros((2, 3, 4), np.int64), np.zeros((0, 3, 4))])
def test_other_arrays_are_refused(logits: Any) -> None:
    with pytest.raises(UsageError, match="logits are"):
        mask_from_logits(logits, height=6, width=8)


@pytest.mark.parametrize("size", [(12, 9), (9, 12), (6, 3), (24, 18)])
def test_a_mask_goes_to_the_frame_and_back(size: tuple[int, int]) -> None:
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, : width // 2] = 3
    mask[height // 2 :, width // 2 :] = 7
    place = Letterbox.fitted(width, height, longest=12, canvas=(12, 13))
    canvas = mask_on_canvas(mask, place, fill=255)
    assert canvas.shape == (12, 13)
    assert (canvas == 255).sum() == 12 * 13 - place.width * place.height
    back = mask_on_source(canvas, place)
    assert (back.shape, set(np.unique(back))) == (mask.shape, {0, 3, 7})
    assert (back == mask).mean() > 0.75
    if max(size) == 12:
        assert np.array_equal(back, mask)


@pytest.mark.parametrize("size", [(25, 14), (7, 18), (19, 20)])
def test_the_nearest_pixel_is_the_one_at_or_before_the_corner(size: tuple[int, int]) -> None:
    """OpenCV's old rule, with which the published labels were made; others differ by a pixel."""
    height, width = size
    mask = np.random.default_rng(2).integers(0, 21, size).astype(np.uint8)
    place = Letterbox.fitted(width, height, longest=20, canvas=(20, 20))
    rows = np.floor(np.arange(place.height) * (1 / (place.height / height))).astype(int)
    columns = np.floor(np.arange(place.width) * (1 / (place.width / width))).astype(int)
    expected = mask[np.minimum(rows, height - 1)][:, np.minimum(columns, width - 1)]
    assert np.array_equal(mask_on_canvas(mask, place, fill=255)[place.inner], expected)
