"""Kernels against the libraries they are named for, and torch's where it has one."""

import numpy as np
import pytest
from PIL import Image

from graphopt.validate.inputs.resampling import Kernel, kernels, moved_by_halves

cv2 = pytest.importorskip("cv2")
PIXELS = np.random.default_rng(9).integers(0, 256, (23, 31, 3), np.uint8)


def by_title() -> dict[str, Kernel]:
    return {kernel.title: kernel for kernel in kernels()}


def test_titles_tell_kernels_apart() -> None:
    found = (*kernels(), *moved_by_halves(kernels()[0]))
    assert len({kernel.title for kernel in found}) == len(found)


@pytest.mark.parametrize("size", [(40, 50), (11, 13), (23, 31), (1, 1)])
def test_all_give_levels_of_the_size_asked_for(size: tuple[int, int]) -> None:
    for kernel in (*kernels(), *moved_by_halves(kernels()[0])):
        levels = kernel.scale(PIXELS, *size)
        assert levels.shape == (*size, 3), kernel.title
        assert levels.dtype == np.float32, kernel.title


def test_opencv_and_pillow_are_theirs() -> None:
    found = by_title()
    wanted = cv2.resize(PIXELS, (50, 40), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(found["OpenCV's cubic"].scale(PIXELS, 40, 50), wanted)
    picture = Image.fromarray(PIXELS).resize((13, 11), Image.Resampling.BILINEAR)
    assert np.array_equal(found["Pillow's bilinear"].scale(PIXELS, 11, 13), np.asarray(picture))


@pytest.mark.torch
def test_other_positions_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(PIXELS.astype(np.float32)).permute(2, 0, 1)[None]
    found = by_title()
    for title, aligned in (
        ("bilinear, with its corners aligned", True),
        ("OpenCV's linear in float", False),
    ):
        scaled = torch.nn.functional.interpolate(image, (40, 50), mode="bilinear", align_corners=aligned)
        wanted = scaled[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found[title].scale(PIXELS, 40, 50), wanted, atol=0.02)


def test_half_a_pixel_lies_between_two() -> None:
    (kernel,) = [each for each in moved_by_halves(kernels()[0]) if "moved right by" in each.title]
    levels = kernel.scale(PIXELS, 23, 31)
    wanted = (PIXELS[:, 4].astype(np.float32) + PIXELS[:, 5]) / 2
    np.testing.assert_allclose(levels[:, 5], wanted)
    np.testing.assert_allclose(levels[:, 0], PIXELS[:, 0])
