"""The look-up against the steps one by one: the same bits."""

from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import UsageError
from graphopt.core.preprocessing import (
    DecodeCv2,
    Normalize,
    NormalizeMmcv,
    NormalizePixels,
    PadBehindTo,
    PadCentredTo,
    ResizeLongestCv2,
    ResizeToFitCv2,
    ScaleToUnit,
    Step,
    SwapChannels,
    ToFloat32,
    ToNchw,
)
from graphopt.runtime.look_up import framed, look_up_of
from graphopt.runtime.preprocess import _apply, preprocess

pytest.importorskip("cv2")

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MMCV = NormalizeMmcv(mean=MEAN, std=STD)
PAD = PadCentredTo(height=14, width=17, value=(1.5, 200.25, 77.0))
BEHIND = PadBehindTo(height=14, width=17, value=(1.5, 200.25, 77.0))
FIT = ResizeToFitCv2(width=17, height=14, rounding="half_up")
UNIT = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

CHAINS: dict[str, tuple[Step, ...]] = {
    "mmcv": (MMCV, PAD),
    "mmcv, other order": (PAD, MMCV),
    "swapped": (SwapChannels(), MMCV, PAD),
    "swapped after the normalisation": (MMCV, SwapChannels(), PAD),
    "swapped after the padding": (MMCV, PAD, SwapChannels()),
    "swapped twice": (SwapChannels(), MMCV, SwapChannels(), PAD),
    "padded behind": (SwapChannels(), ToFloat32(), UNIT, BEHIND),
    "padded behind first": (BEHIND, SwapChannels(), ToFloat32(), UNIT),
    "unit": (ScaleToUnit(), UNIT),
    "padded between": (ScaleToUnit(), PAD, UNIT),
    "albumentations": (PAD, NormalizePixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))),
    "floats": (ToFloat32(), PAD, MMCV),
    "twice normalised": (MMCV, PAD, NormalizeMmcv(mean=(1.0, 2.0, 3.0), std=(0.1, 0.2, 0.3))),
}


def _one_by_one(steps: tuple[Step, ...], pixels: np.ndarray) -> np.ndarray:
    for step in steps:
        pixels = np.asarray(_apply(step, pixels))
    return pixels


@pytest.mark.parametrize("opencv", [True, False])
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("size", [(14, 17), (13, 17), (9, 4), (1, 1)])
def test_every_bit_is_that_of_the_steps_one_by_one(chain: str, size: tuple[int, int], opencv: bool) -> None:
    steps = (*CHAINS[chain], ToNchw())
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = look_up_of((DecodeCv2(), FIT, *steps), _apply)
    assert found is not None
    assert found.start == 2
    assert found.takes(pixels)
    got = found.sample(pixels, opencv=opencv)
    assert (got.dtype.name, got.flags.c_contiguous) == ("float32", True)
    assert got.tobytes() == _one_by_one(steps, pixels).tobytes()


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((DecodeCv2(), MMCV), id="does not end in planes"),
        pytest.param((DecodeCv2(), ToNchw()), id="stays uint8"),
        pytest.param((DecodeCv2(), PAD, SwapChannels(), ToNchw()), id="stays uint8 though padded"),
        pytest.param(
            (DecodeCv2(), ToFloat32(), ResizeLongestCv2(size=9), MMCV, ToNchw()), id="resizes floats"
        ),
        pytest.param((DecodeCv2(), MMCV, PAD, PAD, ToNchw()), id="pads twice"),
        pytest.param((), id="no steps"),
    ],
)
def test_other_chains_are_left_to_their_steps(steps: tuple[Step, ...]) -> None:
    assert look_up_of(steps, _apply) is None


def test_pixels_that_do_not_fit_are_left_to_the_steps_which_say_why(tmp_path: Path) -> None:
    import cv2

    steps = (DecodeCv2(), MMCV, PAD, ToNchw())
    found = look_up_of(steps, _apply)
    assert found is not None
    for shape, kind in (
        ((15, 3, 3), np.uint8),
        ((3, 18, 3), np.uint8),
        ((3, 3, 3), np.float32),
        ((3, 3), np.uint8),
    ):
        assert not found.takes(np.zeros(shape, kind))
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((15, 3, 3), np.uint8))
    with pytest.raises(UsageError, match=r"large\.png: PadCentredTo 17 x 14 .* gets an image of 3 x 15"):
        preprocess(tmp_path / "large.png", steps)


def test_steps_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ScaleToUnit needs uint8"):
        look_up_of((DecodeCv2(), MMCV, ScaleToUnit(), ToNchw()), _apply)
    with pytest.raises(UsageError, match="divides by zero"):
        look_up_of((DecodeCv2(), NormalizeMmcv(mean=MEAN, std=(1.0, 0.0, 1.0)), ToNchw()), _apply)


def test_preprocessing_takes_the_short_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.full((5, 6, 3), 7, np.uint8))
    steps = (DecodeCv2(), MMCV, PAD, ToNchw())
    expected = preprocess(tmp_path / "a.png", steps)
    with monkeypatch.context() as patch:
        patch.setattr("graphopt.runtime.preprocess.look_up_of", lambda *_: None)
        assert preprocess(tmp_path / "a.png", steps).tobytes() == expected.tobytes()
    monkeypatch.setattr("graphopt.runtime.look_up.LookUp.sample", lambda *_, **__: np.zeros(0))
    assert not preprocess(tmp_path / "a.png", steps).size


def test_the_border_is_the_rest_and_its_odd_pixel_is_behind() -> None:
    pad = PadCentredTo(height=6, width=5, value=(0.0, 0.0, 0.0))
    whole, inner = framed((3, 2), pad, np.array([1, 2, 3], np.uint8))
    inner[:] = 9
    assert whole.shape == (3, 6, 5)
    assert np.argwhere(whole[1] == 9).min(axis=0).tolist() == [1, 1]
    assert np.argwhere(whole[1] == 9).max(axis=0).tolist() == [3, 2]
    assert (whole[2][whole[2] != 9] == 3).all()
    assert np.shares_memory(whole, inner)


def test_all_of_the_border_may_be_behind_or_there_may_be_none() -> None:
    pad = PadBehindTo(height=6, width=5, value=(0.0, 0.0, 0.0))
    whole, inner = framed((3, 2), pad, np.array([1, 2, 3], np.uint8))
    inner[:] = 9
    assert np.array_equal(np.argwhere(whole[1] == 9)[-1], [2, 1])
    assert (whole[2][whole[2] != 9] == 3).all()
    assert framed((3, 2), None, np.array([1, 2, 3], np.uint8))[0].shape == (3, 3, 2)
