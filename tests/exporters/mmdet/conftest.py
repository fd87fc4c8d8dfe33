"""Small-image detectors of mmdet whose random weights detect something."""

import functools
import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

SIZE = (96, 128)
CONFIGS = {
    "retinanet": "retinanet_r50_fpn_1x_coco",
    "fcos": "fcos_r50-caffe_fpn_gn-head_1x_coco",
    "atss": "atss_r50_fpn_1x_coco",
    "nas_fpn": "retinanet_r50_nasfpn_crop640-50e_coco",
    "faster_rcnn_dcn": "faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco",
    "cascade_rcnn": "cascade-rcnn_r50_fpn_1x_coco",
}
SIZES = {"nas_fpn": (128, 128)}
_LAST = ("conv_cls", "retina_cls", "atss_cls", "fc_cls")
_DEVIATION = 4.0
_CANDIDATES = 150
"""Scores above the threshold: mmdet looks at 1000 of each level."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("torch", "mmdet") if importlib.util.find_spec(name) is None]
    for item in items:
        if missing and "exporters/mmdet" in str(item.path) and item.get_closest_marker("mmdet"):
            item.add_marker(pytest.mark.skip(reason=f"{missing[0]} is not installed"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Run small networks in one thread: two that wait for each other take five times the processor time."""
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def detector() -> Callable[[str], Any]:
    """A function that makes a detector of ``CONFIGS`` for export, each once."""
    from graphopt.recipes.mmdet_export import build_detector

    @functools.cache
    def make(name: str) -> Any:
        size = SIZES.get(name, SIZE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = build_detector(CONFIGS[name], size)
            _randomise(module, size)
        return module

    return make


@pytest.fixture(scope="session")
def pictures() -> Callable[[int, tuple[int, int]], Any]:
    """A function that makes as many images of coarse noise, float32 [n, 3, H, W]."""
    return _noise


def _noise(count: int, size: tuple[int, int]) -> Any:
    """One image and its mirror images, so that all have the same distribution of values."""
    import torch

    generator = torch.Generator().manual_seed(5)
    coarse = torch.randn(1, 3, size[0] // 8, size[1] // 8, generator=generator)
    large = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    image = large + 0.3 * torch.randn(1, 3, *size, generator=generator)
    return torch.cat([image, image.flip(3), image.flip(2), image.flip(2, 3)][:count])


def _randomise(module: Any, size: tuple[int, int]) -> None:
    """Calibrate norms, move deformable taps, and spread the scores so that some stand out."""
    import torch

    generator = torch.Generator().manual_seed(1)
    images = _noise(2, size)
    model = module.model
    with torch.no_grad():
        for name, layer in model.named_modules():
            if name.endswith("conv_offset"):
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.5)
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
                layer.reset_running_stats()
                layer.train()
        model.extract_feat(images)
        model.eval()
        for name, layer in model.named_modules():
            last = name.rpartition(".")[2]
            if last in _LAST:
                answers = _spread(layer, images[:1], module)
                if last != "fc_cls":
                    best = answers.topk(_CANDIDATES)[0][-1]
                    layer.bias.fill_(math.log(0.05 / 0.95) - float(best))


def _spread(layer: Any, image: Any, module: Any) -> Any:
    """Scale a layer, called by the whole network, so that its answers deviate by 4; return these."""
    import torch

    seen: list[Any] = []
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(2)))
    layer.bias.zero_()
    handle = layer.register_forward_hook(lambda _layer, _inputs, answer: seen.append(answer.flatten()))
    module(image)
    handle.remove()
    answers = torch.cat(seen)
    factor = _DEVIATION / float(answers.std())
    layer.weight.mul_(factor)
    return answers * factor
