"""Preprocessing read from configurations, against mmdet's own transforms and data preprocessor."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import UsageError
from graphopt.core.preprocessing import DecodeCv2, NormalizeMmcv, PadBehindTo, ResizeEdgesCv2, ToFloat32
from graphopt.exporters.mmdet.pipelines import Preprocessing
from graphopt.runtime.preprocess import preprocess

LOAD: dict[str, Any] = {"type": "LoadImageFromFile", "backend_args": None}
PACK: dict[str, Any] = {
    "type": "PackDetInputs",
    "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
}
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
CAFFE = {"mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "bgr_to_rgb": False}
RGB = {"mean": MEAN, "std": STD, "bgr_to_rgb": True}


def resize(*scale: int, keep_ratio: bool = True, **more: Any) -> dict[str, Any]:
    return {"type": "Resize", "scale": scale, "keep_ratio": keep_ratio, **more}


def settings(*transforms: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {
        "model": {
            "type": "X",
            "data_preprocessor": {"type": "DetDataPreprocessor", "pad_size_divisor": 32, **data},
        },
        "test_dataloader": {"dataset": {"pipeline": [LOAD, *transforms, PACK]}},
    }


def write_image(path: Path, *, width: int, height: int) -> Path:
    """A photograph-like picture: large structures and noise, seeded by its size."""
    rng = np.random.default_rng(width * 1000 + height)
    coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    pixels = pixels + rng.integers(-20, 21, pixels.shape, np.int16)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def mmdets_own(config: dict[str, Any], image: Path) -> np.ndarray:
    """What mmdet makes of an image, padded to multiples of its divisor."""
    from graphopt.exporters.mmdet.packages import mmdet_packages

    mmdet_packages()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mmdet.datasets.transforms")
        registry: Any = importlib.import_module("mmdet.registry")
        compose: Any = importlib.import_module("mmengine.dataset").Compose
        chain = compose([dict(item) for item in config["test_dataloader"]["dataset"]["pipeline"]])
        found = chain({"img_path": str(image), "img_id": 0})
        model = registry.MODELS.build(dict(config["model"]["data_preprocessor"]))
        batch = model({"inputs": [found["inputs"]], "data_samples": [found["data_samples"]]})
    array: np.ndarray = batch["inputs"][0].numpy()
    return array


@pytest.mark.torch
@pytest.mark.mmdet
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(settings(resize(133, 80), **RGB), id="aspect kept, RGB"),
        pytest.param(settings(resize(133, 80), **CAFFE), id="aspect kept, BGR"),
        pytest.param(settings(resize(96, 64, keep_ratio=False), **RGB), id="fixed size, RGB"),
        pytest.param(settings(resize(96, 64, keep_ratio=False), **CAFFE, pad_value=3), id="fixed size, BGR"),
        pytest.param(settings(resize(96, 96), pad_value=7, **RGB), id="square"),
        pytest.param(
            settings(
                resize(96, 96), {"type": "Pad", "size": (96, 96), "pad_val": {"img": (114, 30, 7)}}, **RGB
            ),
            id="padded before normalisation",
        ),
        pytest.param(
            settings(
                resize(96, 96), {"type": "Pad", "pad_to_square": True, "pad_val": {"img": (114.0,) * 3}}
            ),
            id="not normalised",
        ),
        pytest.param(
            settings(resize(133, 80), {"type": "mmcv.Normalize", "mean": MEAN, "std": STD, "to_rgb": True}),
            id="normalised by the pipeline",
        ),
    ],
)
@pytest.mark.parametrize("size", [(64, 48), (61, 43), (640, 427), (43, 61), (333, 500), (80, 80)])
def test_inputs_are_bit_equal_to_those_of_mmdet(
    tmp_path: Path, config: dict[str, Any], size: tuple[int, int]
) -> None:
    image = write_image(tmp_path / "a.png", width=size[0], height=size[1])
    wanted = mmdets_own(config, image)
    steps = Preprocessing(config, "c").steps(*wanted.shape[1:])
    assert preprocess(image, steps).tobytes() == wanted.tobytes()


@pytest.mark.torch
@pytest.mark.mmdet
def test_a_larger_input_is_that_of_mmdet_with_more_padding_behind(
    tmp_path: Path,
) -> None:
    config = settings(resize(133, 80), **RGB)
    image = write_image(tmp_path / "a.png", width=43, height=61)
    wanted = mmdets_own(config, image)
    assert wanted.shape == (3, 128, 96)
    found = preprocess(image, Preprocessing(config, "c").steps(160, 160))
    assert np.array_equal(found[:, :128, :96], wanted)
    assert not found[:, 128:].any()
    assert not found[:, :, 96:].any()


def test_an_upright_image_is_made_to_fit_a_lying_input(
    tmp_path: Path,
) -> None:
    image = write_image(tmp_path / "a.png", width=43, height=61)
    found = preprocess(image, Preprocessing(settings(resize(133, 80), **RGB), "c").steps(96, 160))
    assert found.shape == (3, 96, 160)
    assert found[:, :, : round(43 / 61 * 96)].any(axis=(0, 1)).all()
    assert not found[:, :, round(43 / 61 * 96) :].any()


@pytest.mark.parametrize(
    ("transforms", "data", "size", "divisor"),
    [
        ((resize(133, 80),), {}, None, 32),
        ((resize(96, 96),), {}, (96, 96), 32),
        ((resize(97, 65, keep_ratio=False),), {}, (96, 128), 32),
        ((resize(97, 65, keep_ratio=False),), {"pad_size_divisor": 1}, (65, 97), 1),
        ((resize(97, 65), {"type": "Pad", "size": (160, 96)}), {}, (96, 160), 32),
        ((resize(100, 100), {"type": "Pad", "size_divisor": 64}), {}, (128, 128), 64),
    ],
)
def test_the_size_of_inputs_where_a_configuration_fixes_it(
    transforms: Any, data: Any, size: Any, divisor: int
) -> None:
    found = Preprocessing(settings(*transforms, **data), "c")
    assert found.size == size
    assert found.divisor == divisor


def test_a_pipeline_of_version_2_is_taken_out_of_its_augmentation() -> None:
    inner: list[dict[str, Any]] = [
        {"type": "Resize", "keep_ratio": True},
        {"type": "RandomFlip"},
        {"type": "Normalize", "mean": MEAN, "std": STD, "to_rgb": False},
        {"type": "Pad", "size_divisor": 32},
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]
    test = {"type": "MultiScaleFlipAug", "img_scale": (133, 80), "flip": False, "transforms": inner}
    old = {"model": {"type": "X"}, "data": {"test": {"pipeline": [{"type": "LoadImageFromFile"}, test]}}}
    steps = Preprocessing(old, "c").steps(96, 160)
    assert [type(step) for step in steps[:4]] == [DecodeCv2, ResizeEdgesCv2, NormalizeMmcv, PadBehindTo]
    assert ToFloat32() not in steps
    # As in version 2, the size of the augmentation wins over one of the inner transform.
    own = [{"type": "Resize", "keep_ratio": True, "img_scale": (40, 20)}, *inner[1:]]
    other = {
        **old,
        "data": {"test": {"pipeline": [{"type": "LoadImageFromFile"}, {**test, "transforms": own}]}},
    }
    assert Preprocessing(other, "c").steps(96, 160) == steps
    with pytest.raises(UsageError, match="several sizes or mirrored"):
        Preprocessing({**old, "data": {"test": {"pipeline": [{**test, "flip": True}]}}}, "c")


@pytest.mark.parametrize(
    ("transforms", "data", "said"),
    [
        ((resize(133, 80), {"type": "YOLOXHSVRandomAug"}), {}, "the transform YOLOXHSVRandomAug"),
        ((resize(133, 80, backend="pillow"),), {}, "Resize with backend='pillow'"),
        ((resize(133, 80), {"type": "RandomFlip", "prob": 0.5}), {}, "the transform RandomFlip"),
        ((resize(133, 80),), {"mean": MEAN}, "a mean without a std"),
        ((resize(133, 80, interpolation="area"),), {}, "Resize with interpolation='area'"),
        ((resize(133, 80, ratio_range=2),), {}, "the option ratio_range of the transform Resize"),
        ((), {}, "a test pipeline in the order LoadImageFromFile,"),
        ((resize(133, 80), resize(133, 80)), {}, "in the order LoadImageFromFile, Resize, Resize"),
        (({"type": "Pad", "size": (9, 9)}, resize(133, 80)), {}, "in the order LoadImageFromFile, Pad"),
        (({"type": "Resize", "scale_factor": 2.0},), {}, "the option scale_factor"),
        ((resize(133, 0),), {}, "resizes to"),
        ((resize(133, 80),), {"type": "BoxInstDataPreprocessor"}, "BoxInstDataPreprocessor; only"),
    ],
)
def test_what_is_not_imitated_is_refused_by_name(transforms: Any, data: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Preprocessing(settings(*transforms, **data), "c").steps(32, 32)


def test_a_configuration_without_a_test_pipeline_is_refused() -> None:
    with pytest.raises(UsageError, match="c has no test pipeline"):
        Preprocessing({"model": {"type": "X"}}, "c")
