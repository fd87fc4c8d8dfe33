"""The body against the operator as detectors run it in PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import from_proto, save_model
from graphopt.core.operator_bodies import body_of
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.shapes.shape_inference import infer_types

Feeds = dict[str, np.ndarray]
OPTIONS: dict[str, Any] = {
    "output_height": 4,
    "output_width": 3,
    "spatial_scale": 0.25,
    "sampling_ratio": 0,
    "mode": '"avg"',
    "aligned": 1,
}


def model_of(feeds: Feeds, *, opset: int = 11, domain: str = "mmcv.", **options: Any) -> ir.Model:
    kinds = {"float16": "float16", "float32": "float"}
    (maps, kind), (rois, other) = (
        (",".join(map(str, item.shape)), kinds[str(item.dtype)]) for item in feeds.values()
    )
    text = ", ".join(f"{name} = {value}" for name, value in {**OPTIONS, **options}.items())
    model = ir.from_onnx_text(
        f"""<ir_version: 8, opset_import: ["" : {opset}, "mmcv" : 1, "mmdeploy" : 1]>
        g ({kind}[{maps}] x, {other}[{rois}] rois) => ({kind}[R,C,h,w] y)
        {{ y = {domain}MMCVRoiAlign <{text}> (x, rois) }}"""
    )
    return from_proto(ir.to_proto(model))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., np.ndarray]:
    """A function that runs a saved call in onnxruntime."""

    def go(feeds: Feeds, **options: Any) -> np.ndarray:
        path = tmp_path / "m.onnx"
        save_model(model_of(feeds, **options), path, force=True)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        with OnnxRuntimeSession(path) as session:
            return session.run(feeds)["y"]

    return go


def in_torch(feeds: Feeds, **options: Any) -> np.ndarray:
    """Return what the network's own operator answers."""
    torch = pytest.importorskip("torch")
    from graphopt.exporters.mmdet.mmcv_kernels import roi_align_forward

    given = {**OPTIONS, **options}
    maps, rois = (torch.from_numpy(item.astype(np.float32)) for item in feeds.values())
    output = torch.empty(len(rois), maps.shape[1], given["output_height"], given["output_width"])
    roi_align_forward(
        maps,
        rois,
        output,
        output,
        output,
        aligned_height=given["output_height"],
        aligned_width=given["output_width"],
        spatial_scale=given["spatial_scale"],
        sampling_ratio=given["sampling_ratio"],
        pool_mode=1,
        aligned=bool(given["aligned"]),
    )
    return np.asarray(output.numpy())


def make_feeds(seed: int, count: int = 50, dtype: str = "float32") -> Feeds:
    """Make a map of 3 channels and regions: a third below one cell, some outside, some without a side."""
    rng = np.random.default_rng(seed)
    corner, sides = rng.uniform(-10, 90, (count, 2)), np.exp(rng.uniform(-2, 4.5, (count, 2)))
    kinds = rng.integers(0, 9, count)
    sides[kinds == 0, 0] = rng.uniform(0, 3.9)
    sides[kinds == 1, 1] = rng.uniform(0, 3.9)
    sides[kinds == 2] = rng.uniform(0, 3.9, (2,))
    sides[kinds == 3, 0] = 0
    rois = np.concatenate([rng.integers(0, 2, (count, 1)), corner, corner + sides], axis=1)
    return {"x": rng.standard_normal((2, 3, 24, 20)).astype(dtype), "rois": rois.astype(dtype)}


@pytest.mark.torch
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("opset", [11, 13, 16])
def test_the_body_computes_what_the_network_does(
    run: Callable[..., Any], opset: int, samples: int, aligned: int
) -> None:
    feeds, options = make_feeds(10 * opset + samples), {"sampling_ratio": samples, "aligned": aligned}
    expected = in_torch(feeds, **options)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(run(feeds, opset=opset, **options), expected, rtol=0, atol=2e-5)


@pytest.mark.torch
def test_enlarging_regions_below_one_cell_would_be_noticed(run: Callable[..., Any]) -> None:
    feeds = make_feeds(1)
    small = (feeds["rois"][:, 3:] - feeds["rois"][:, 1:3]).min(axis=1) < 4
    found, expected = run(feeds), in_torch(feeds)
    enlarged = feeds["rois"].copy()
    enlarged[small, 3:] = np.maximum(enlarged[small, 3:], enlarged[small, 1:3] + 4)
    assert small.sum() > 5
    assert np.abs(found - expected).max() < 2e-5
    assert np.abs(run({**feeds, "rois": enlarged}) - expected)[small].max() > 0.1


@pytest.mark.torch
def test_float16(run: Callable[..., Any]) -> None:
    feeds = make_feeds(2, dtype="float16")
    found = run(feeds)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype(np.float32), in_torch(feeds), rtol=0, atol=3e-3)


@pytest.mark.parametrize("domain", ["", "mmdeploy.", "mmcv."])
def test_its_spellings_come_home(domain: str) -> None:
    node = model_of(make_feeds(3), domain=domain).graph[0]
    assert (node.domain, node.op_type) == ("mmcv", "MMCVRoiAlign")


def test_its_output_has_one_answer_for_each_region() -> None:
    model = model_of(make_feeds(4, 9))
    found = infer_types(model)[model.graph.outputs[0]]
    assert (found.shape, found.dtype) == ((9, 3, 4, 3), ir.DataType.FLOAT)


@pytest.mark.parametrize(
    "options", [{"mode": '"max"'}, {"output_height": '"none"'}, {"spatial_scale": "[1]"}]
)
def test_a_call_that_no_body_computes_is_left_bare(options: dict[str, Any]) -> None:
    assert body_of(model_of(make_feeds(5), **options).graph[0], 11) is None
