import importlib
import importlib.util
import itertools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import ExportError
from graphopt.exporters.mmdet import mmcv_ops

torch = pytest.importorskip("torch")
if importlib.util.find_spec("mmcv") is None:
    pytest.skip("mmcv is not installed", allow_module_level=True)
pytestmark = [pytest.mark.torch, pytest.mark.mmdet]


@pytest.fixture(scope="module")
def ops() -> ModuleType:
    mmcv_ops.use_mmcv_operators()
    return importlib.import_module("mmcv.ops")


def _boxes(count: int, seed: int, *, grid: float = 0.0) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 4, generator=generator) * 60
    corners[:, 2:] = corners[:, :2] + corners[:, 2:] * 0.7
    scores = torch.rand(count, generator=generator)
    if grid:
        corners, scores = (corners / grid).round() * grid, (scores * 20).round() / 20
    return corners, scores


def _greedy(boxes: Any, scores: Any, threshold: float, offset: int) -> list[int]:
    """One box after the other, in plain numbers."""
    kept: list[int] = []
    values = boxes.numpy().astype(np.float32)

    def overlap(a: Any, b: Any) -> np.float32:
        width = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]) + offset)
        height = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]) + offset)
        areas = [(item[2] - item[0] + offset) * (item[3] - item[1] + offset) for item in (a, b)]
        union = areas[0] + areas[1] - width * height
        return np.float32(width * height / union if union else 0)

    for place in sorted(range(len(boxes)), key=lambda index: (-float(scores[index]), index)):
        if all(overlap(values[place], values[other]) <= np.float32(threshold) for other in kept):
            kept.append(place)
    return kept


@pytest.mark.parametrize(
    ("count", "offset", "grid"), [(0, 0, 0), (1, 0, 0), (120, 0, 0), (120, 1, 0), (90, 0, 6)]
)
def test_suppression_keeps_what_the_definition_keeps(
    ops: ModuleType, count: int, offset: int, grid: float
) -> None:
    boxes, scores = _boxes(count, 3, grid=grid)  # on a grid: ties, and boxes without area

    kept = ops.nms(boxes, scores, 0.4, offset)[1].tolist()

    assert kept == _greedy(boxes, scores, 0.4, offset)


def test_suppression_of_more_boxes_than_one_block(ops: ModuleType) -> None:
    boxes, scores = _boxes(700, 4)

    assert ops.nms(boxes, scores, 0.5)[1].tolist() == _greedy(boxes, scores, 0.5, 0)


def _pooled(features: Any, roi: Any, size: tuple[int, int], scale: float, samples: int, aligned: bool) -> Any:
    """One region, sample by sample."""
    image, (height, width) = int(roi[0]), features.shape[-2:]
    shift = 0.5 if aligned else 0.0
    left, top, right, bottom = (float(value) * scale - shift for value in roi[1:])
    high, wide = bottom - top, right - left
    if not aligned:
        high, wide = max(high, 1.0), max(wide, 1.0)
    steps = high / size[0], wide / size[1]
    counts = [samples or int(np.ceil(np.float32(step))) for step in steps]
    result = np.zeros((features.shape[1], *size))
    for row, column in itertools.product(range(size[0]), range(size[1])):
        for down, across in itertools.product(range(counts[0]), range(counts[1])):
            y = top + row * steps[0] + (down + 0.5) * steps[0] / counts[0]
            x = left + column * steps[1] + (across + 0.5) * steps[1] / counts[1]
            if not (-1 <= y <= height and -1 <= x <= width):
                continue
            y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
            near_y = np.maximum(0, 1 - np.abs(y - np.arange(height)))
            near_x = np.maximum(0, 1 - np.abs(x - np.arange(width)))
            result[:, row, column] += np.einsum("chw,h,w->c", features[image].numpy(), near_y, near_x)
    return result / max(counts[0] * counts[1], 1)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("samples", [0, 2])
def test_regions_are_pooled_by_definition(ops: ModuleType, samples: int, aligned: bool) -> None:
    generator = torch.Generator().manual_seed(samples)
    features = torch.randn(2, 3, 11, 13, generator=generator)
    boxes, _ = _boxes(25, 5)
    boxes -= 6  # some begin outside
    boxes[0, 2:] = boxes[0, :2] + 0.3  # below a cell
    boxes[1, 2] = boxes[1, 0]  # without area
    rois = torch.cat(((torch.arange(25) % 2)[:, None].float(), boxes), 1)

    layer = ops.RoIAlign((3, 2), 0.25, samples, aligned=aligned)
    found = layer(features, rois)

    expected = np.stack([_pooled(features, roi, (3, 2), 0.25, samples, aligned) for roi in rois])
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def test_no_region_is_no_region(ops: ModuleType) -> None:
    layer = ops.RoIAlign((3, 2), 0.5, 0)

    assert layer(torch.zeros(1, 4, 5, 6), torch.zeros(0, 5)).shape == (0, 4, 3, 2)


@pytest.mark.parametrize(
    ("stride", "pad", "dilation", "groups", "moved"), [(1, 1, 1, 1, 1), (2, 2, 2, 2, 1), (2, 0, 1, 1, 3)]
)
@pytest.mark.parametrize("modulated", [True, False])
def test_deformable_convolutions_are_as_defined(
    ops: ModuleType,
    deformed: Callable[..., Any],
    stride: int,
    pad: int,
    dilation: int,
    groups: int,
    moved: int,
    modulated: bool,
) -> None:
    generator = torch.Generator().manual_seed(7)

    def noise(*sizes: int) -> Any:
        return torch.randn(*sizes, generator=generator)

    image, weight, bias = noise(2, 6, 9, 11), noise(4, 6 // groups, 3, 3), noise(4)
    sizes = torch.nn.functional.conv2d(image, weight, None, stride, pad, dilation, groups).shape[-2:]
    offset, mask = noise(2, moved * 18, *sizes) * 3, noise(2, moved * 9, *sizes).sigmoid()
    if modulated:
        found = ops.modulated_deform_conv2d(
            image, offset, mask, weight, bias, stride, pad, dilation, groups, moved
        )
    else:
        found = ops.deform_conv2d(image, offset, weight, stride, pad, dilation, groups, moved)
        mask, bias = torch.ones_like(mask), bias * 0

    expected = deformed(
        image,
        weight,
        offset.view(2, moved, 3, 3, 2, *sizes),
        mask.view(2, moved, 3, 3, *sizes),
        strides=(stride, stride),
        pads=(pad, pad),
        dilations=(dilation, dilation),
        groups=groups,
    ) + bias.view(1, -1, 1, 1)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def deformed() -> Callable[..., Any]:
    """The definition that the operators' bodies are compared with, too."""
    path = Path(__file__).parents[2] / "core" / "operators" / "conftest.py"
    spec = importlib.util.spec_from_file_location("definitions", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., Any] = module.deformable_convolution
    return function


def test_other_operators_say_which_they_are() -> None:
    with pytest.raises(ExportError, match="softmax_focal_loss of mmcv needs the compiled mmcv"):
        mmcv_ops.StandIn().softmax_focal_loss(1, gamma=2)


def test_maxima_are_refused(ops: ModuleType) -> None:
    layer = ops.RoIAlign((2, 2), 1.0, 0, pool_mode="max")

    with pytest.raises(ExportError, match="maxima"):
        layer(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]]))


def test_a_stand_in_looks_like_a_module_without_hidden_names() -> None:
    with pytest.raises(AttributeError):
        mmcv_ops.StandIn().__path__  # noqa: B018


def test_compiled_operators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = ModuleType(mmcv_ops.EXTENSION)
    monkeypatch.setitem(sys.modules, mmcv_ops.EXTENSION, compiled)

    assert mmcv_ops.use_mmcv_operators() == "compiled"
    assert sys.modules[mmcv_ops.EXTENSION] is compiled


def test_an_installed_extension_is_seen_without_importing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "mmcv"
    package.mkdir()
    (package / "_ext.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: type("Spec", (), {"submodule_search_locations": [str(package)]}),
    )

    assert mmcv_ops.mmcv_operators() == "compiled"
    (package / "_ext.py").unlink()
    assert mmcv_ops.mmcv_operators() == "PyTorch"


def test_what_a_kernel_does_is_not_traced() -> None:
    def traced(value: Any) -> Any:
        seen.append(torch._C._get_tracing_state())
        return value + 1

    seen: list[Any] = []
    hidden = mmcv_ops.untraced(traced)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(lambda x: x * hidden(x.detach()).sum(), torch.ones(2), check_trace=False)

    assert seen == [None]


def test_without_mmcv_there_are_no_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert mmcv_ops.mmcv_operators() == ""
