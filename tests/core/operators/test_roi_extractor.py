"""The body against the definition, written in plain PyTorch."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import from_proto, save_model
from graphopt.core.operator_bodies import body_of, call_of
from graphopt.core.operators import operator_of
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.shapes.shape_inference import infer_types

Feeds = dict[str, np.ndarray]
SCALES = (0.25, 0.125, 0.0625)
OPTIONS: dict[str, Any] = {
    "finest_scale": 14,
    "pooled_height": 3,
    "pooled_width": 3,
    "sample_num": 0,
    "aligned": 1,
    "spatial_scale": SCALES,
}


def model_text(feeds: Feeds, *, opset: int, **attributes: Any) -> str:
    """Write a model of one call, on levels ``f0``, ``f1``, ... and ``rois``."""
    kinds = {"float16": "float16", "float32": "float"}
    given = [
        f"{kinds[str(item.dtype)]}[{','.join(map(str, item.shape))}] {name}" for name, item in feeds.items()
    ]
    options = ", ".join(
        f"{name} = {list(value) if isinstance(value, tuple) else value}" for name, value in attributes.items()
    )
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({", ".join(given)})
        => ({kinds[str(feeds["f0"].dtype)]}[R,C,h,w] y)
        {{ y = RoiExtractor <{options}> ({", ".join(feeds)}) }}"""


def model_of(text: str) -> ir.Model:
    return from_proto(ir.to_proto(ir.from_onnx_text(text)))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., np.ndarray]:
    """A function that runs a saved call in onnxruntime."""

    def go(feeds: Feeds, *, opset: int = 11, **attributes: Any) -> np.ndarray:
        path = tmp_path / "m.onnx"
        text = model_text(feeds, opset=opset, **{**OPTIONS, **attributes})
        save_model(model_of(text), path, force=True)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        with OnnxRuntimeSession(path) as session:
            return session.run(feeds)["y"]

    return go


def by_definition(feeds: Feeds, **attributes: Any) -> np.ndarray:
    """Pool region by region, bin by bin, sample by sample, as PyTorch's documents have it."""
    torch = pytest.importorskip("torch")
    options = {**OPTIONS, **attributes}
    *levels, rois = (torch.from_numpy(item).float() for item in feeds.values())
    bins = (options["pooled_height"], options["pooled_width"])
    pooled = torch.zeros(len(rois), levels[0].shape[1], *bins, dtype=torch.float64)
    for row, roi in enumerate(rois):
        sides = roi[3:] - roi[1:3]
        level = 0
        if len(levels) > 1:
            size = torch.log2(torch.sqrt(sides[0] * sides[1]) / options["finest_scale"] + 1e-6).floor()
            if torch.isnan(size):
                continue  # on no level
            level = int(size.clamp(0, len(levels) - 1))
        corners = roi[1:] * options["spatial_scale"][level] - (0.5 if options["aligned"] else 0)
        spans = corners[2:] - corners[:2]
        if not options["aligned"]:
            spans = spans.clamp(min=1)
        if (spans < 0).any():
            continue  # PyTorch stops with an error
        one = levels[level][int(roi[0])].double()
        counts = [options["sample_num"] or math.ceil(spans[1 - axis] / bins[axis]) for axis in (0, 1)]
        for y in range(bins[0]):
            for x in range(bins[1]):
                values = [
                    _bilinear(
                        one,
                        float(corners[1]) + (y + (i + 0.5) / counts[0]) * float(spans[1]) / bins[0],
                        float(corners[0]) + (x + (j + 0.5) / counts[1]) * float(spans[0]) / bins[1],
                    )
                    for i in range(counts[0])
                    for j in range(counts[1])
                ]
                if values:
                    pooled[row, :, y, x] = torch.stack(values).mean(0)
    return np.asarray(pooled.numpy())


def _bilinear(one: Any, y: float, x: float) -> Any:
    height, width = one.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0 * one[:, 0, 0]
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = 0
    for row in {math.floor(y), math.ceil(y)}:
        for column in {math.floor(x), math.ceil(x)}:
            total = total + one[:, row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def make_feeds(
    seed: int, count: int = 60, *, levels: int = 3, images: int = 2, dtype: str = "float32"
) -> Feeds:
    """Make maps of 3 channels, and regions of all kinds: tiny, flat, empty, large, outside, inside out."""
    rng = np.random.default_rng(seed)
    sizes = [(24, 20), (12, 10), (6, 5)][:levels]
    feeds = {f"f{i}": rng.standard_normal((images, 3, *size)) for i, size in enumerate(sizes)}
    corner = rng.uniform(-15, 95, (count, 2))
    sides = np.exp(rng.uniform(-3, 5, (count, 2)))
    kinds = rng.integers(0, 12, count)
    sides[kinds == 0] = 0
    sides[kinds == 1, 0] = 0
    sides[kinds == 2, 1] = rng.uniform(0, 3)
    sides[kinds == 3, 0] = rng.uniform(0, 3)
    sides[kinds == 4, 0] *= -1
    sides[kinds == 5] *= -1
    corner[kinds == 6] += 200
    corner[kinds == 7] = np.floor(corner[kinds == 7])
    which = rng.integers(0, images, (count, 1))
    feeds["rois"] = np.concatenate([which, corner, corner + sides], axis=1)
    return {name: item.astype(dtype) for name, item in feeds.items()}


def assert_close(expected: np.ndarray, got: np.ndarray, bound: float = 1e-5) -> None:
    assert got.shape == expected.shape
    assert np.isfinite(got).all()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound * max(1, np.abs(expected).max()))


@pytest.mark.torch
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("samples", [0, 1, 2, 3])
@pytest.mark.parametrize("opset", [11, 13, 16, 21])
def test_the_body_computes_the_definition(
    run: Callable[..., Any], opset: int, samples: int, aligned: int
) -> None:
    feeds = make_feeds(100 * opset + 10 * samples + aligned)
    options = {"sample_num": samples, "aligned": aligned, "pooled_height": 4, "pooled_width": 3}
    assert_close(by_definition(feeds, **options), run(feeds, opset=opset, **options))


@pytest.mark.torch
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("options", [{}, {"aligned": 0}, {"sample_num": 2}, {"finest_scale": 40}])
def test_any_number_of_levels(run: Callable[..., Any], levels: int, options: dict[str, Any]) -> None:
    feeds = make_feeds(levels, levels=levels)
    options = {**options, "spatial_scale": SCALES[:levels]}
    assert_close(by_definition(feeds, **options), run(feeds, **options))


@pytest.mark.torch
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("sides", [(3.9, 90.0), (90.0, 3.9), (0.5, 0.5), (4.0, 4.0), (3.9, 4.1), (1e-6, 50)])
def test_regions_smaller_than_a_cell_are_not_made_larger(
    run: Callable[..., Any], sides: tuple[float, float], samples: int
) -> None:
    feeds = make_feeds(3, levels=1, images=1)
    corner = np.random.default_rng(4).uniform(-6, 90, (40, 2))
    feeds["rois"] = np.concatenate([np.zeros((40, 1)), corner, corner + sides], axis=1).astype(np.float32)
    options = {"sample_num": samples, "spatial_scale": SCALES[:1]}
    assert_close(by_definition(feeds, **options), run(feeds, **options))


@pytest.mark.torch
def test_maps_narrower_than_the_window_of_a_small_region(run: Callable[..., Any]) -> None:
    rng = np.random.default_rng(5)
    corner = rng.uniform(-4, 8, (30, 2))
    rois = np.concatenate([np.zeros((30, 1)), corner, corner + rng.uniform(0, 3.9, (30, 2))], axis=1)
    feeds = {"f0": rng.standard_normal((1, 3, 2, 1)).astype(np.float32), "rois": rois.astype(np.float32)}
    assert_close(by_definition(feeds), run(feeds, spatial_scale=SCALES[:1]))


@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("opset", [11, 16])
def test_no_regions_at_all(run: Callable[..., Any], opset: int, samples: int) -> None:
    feeds = make_feeds(6)
    feeds["rois"] = feeds["rois"][:0]
    assert run(feeds, opset=opset, sample_num=samples).shape == (0, 3, 3, 3)


def test_empty_regions_and_those_inside_out_are_zero(run: Callable[..., Any]) -> None:
    feeds = make_feeds(7, images=1)
    rois = [[0, 10, 10, 10, 10], [0, 10, 10, 10, 90], [0, 90, 10, 10, 90], [0, 90, 90, 10, 10]]
    feeds["rois"] = np.array(rois, dtype=np.float32)
    for opset in (11, 16):
        assert not run(feeds, opset=opset).any()


def test_an_exact_power_of_two_belongs_to_the_coarser_level_as_in_mmdet(run: Callable[..., Any]) -> None:
    feeds = {f"f{i}": np.full((1, 1, 8, 8), i + 1, dtype=np.float32) for i in range(3)}
    sides = [14, 27.9, 28, 28.1, 55.9, 56, 57, 112, 120]
    feeds["rois"] = np.array([[0, 0, 0, side, side] for side in sides], dtype=np.float32)
    found = run(feeds, aligned=0)[:, 0, 0, 0].round(3)
    assert found.tolist() == [1, 1, 2, 2, 2, 3, 3, 3, 3]


@pytest.mark.torch
def test_float16_maps_and_regions(run: Callable[..., Any]) -> None:
    feeds = make_feeds(8, dtype="float16")
    found = run(feeds)
    assert found.dtype == np.float16
    assert_close(by_definition(feeds), found.astype(np.float64), bound=1e-3)


def test_its_output_has_one_answer_for_each_region() -> None:
    model = model_of(model_text(make_feeds(1, 9), opset=11, **{**OPTIONS, "pooled_width": 5}))
    found = infer_types(model)[model.graph.outputs[0]]
    assert (found.shape, found.dtype) == ((9, 3, 3, 5), ir.DataType.FLOAT)


@pytest.mark.parametrize(
    "changes", [{"pool_mode": '"max"'}, {"spatial_scale": (0.25, 0.125)}, {"finest_scale": '"no number"'}]
)
def test_a_call_that_no_body_computes_is_left_bare(changes: dict[str, Any]) -> None:
    model = model_of(model_text(make_feeds(1, 4), opset=11, **{**OPTIONS, **changes}))
    assert body_of(model.graph[0], 11) is None


def complaints(feeds: Feeds, *, opset: int = 11, **changes: Any) -> Sequence[str]:
    model = model_of(model_text(feeds, opset=opset, **{**OPTIONS, **changes}))
    operator = operator_of(model.graph[0])
    assert operator is not None
    return list(operator.check(call_of(model.graph[0], opset)))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, None),
        ({"roi_scale_factor": 1.0}, None),
        ({"roi_scale_factor": 1.5}, "roi_scale_factor is 1.5"),
        ({"pooled_width": 5}, "pools 3 x 5 bins"),
        ({"pool_mode": '"max"'}, "pool_mode is max"),
        ({"spatial_scale": (0.25,)}, "1 numbers for 3 levels"),
        ({"opset": 18}, "opsets 8 to 16, the model has 18"),
    ],
)
def test_limits_of_the_target(changes: dict[str, Any], complaint: str | None) -> None:
    found = complaints(make_feeds(1, 4), **changes)
    assert len(found) == (complaint is not None), found
    assert complaint is None or complaint in found[0]


def test_mixed_dtypes_and_a_missing_map_are_complaints() -> None:
    feeds = make_feeds(1, 4)
    mixed = {**feeds, "rois": feeds["rois"].astype(np.float16)}
    assert complaints(mixed) == ["its inputs are FLOAT, FLOAT16, not all float16 or all float32"]
    model = model_of(model_text(feeds, opset=11, **OPTIONS))
    node = model.graph[0]
    node.resize_inputs(1)
    operator = operator_of(node)
    assert operator is not None
    found = list(operator.check(call_of(node, 11)))
    assert found == ["it has no feature map", "spatial_scale has 3 numbers for 0 levels"]
