import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.onnx_files import load_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.exporters.mmdet.mmcv_ops import use_mmcv_operators

pytestmark = [pytest.mark.torch, pytest.mark.mmdet]

BINS = 3


def _extractor() -> Any:
    from graphopt.exporters.mmdet.packages import mmdet_packages

    mmdet_packages()
    kind: Any = importlib.import_module("mmdet.models.roi_heads").SingleRoIExtractor
    layer = {"type": "RoIAlign", "output_size": BINS, "sampling_ratio": 0}
    return kind(roi_layer=layer, out_channels=2, featmap_strides=[4, 8], finest_scale=20)


def _boxes(*sides: float) -> Any:
    corner = np.random.default_rng(len(sides)).uniform(0, 20, (len(sides), 2))
    return np.concatenate([corner, corner + np.array(sides)[:, None]], axis=1).astype(np.float32)


@pytest.mark.parametrize("traced", [(10, 70), (10, 12, 70, 60), (9, 11), ()])
def test_the_traced_image_does_not_say_how_many_regions_a_level_has(
    traced: tuple[float, ...], tmp_path: Path
) -> None:
    import torch

    from graphopt.exporters.mmdet.regions import pooled
    from graphopt.exporters.mmdet.tracing import exporting
    from graphopt.exporters.torch_export import export_module

    use_mmcv_operators()
    extractor = _extractor()

    class Pooling(torch.nn.Module):
        def forward(self, fine: Any, coarse: Any, boxes: Any) -> Any:
            return pooled(extractor, [fine, coarse], boxes)

        def exporting(self) -> Any:
            return exporting()

    rng = np.random.default_rng(1)
    feeds: dict[str, Any] = {
        "fine": rng.standard_normal((1, 2, 24, 20)).astype(np.float32),
        "coarse": rng.standard_normal((1, 2, 12, 10)).astype(np.float32),
        "boxes": _boxes(*traced),
    }
    export_module(
        Pooling(),
        feeds,
        ["y"],
        tmp_path / "m.onnx",
        dynamic_axes={"boxes": {0: "regions"}, "y": {0: "regions"}},
        known_sizes={"y": ("regions", 2, BINS, BINS)},
        fixed_sizes=True,
    )
    assert [node.op_type for node in load_model(tmp_path / "m.onnx").graph].count("MMCVRoiAlign") == 2
    maps = [torch.from_numpy(feeds[name]) for name in ("fine", "coarse")]
    with OnnxRuntimeSession(tmp_path / "m.onnx") as session:
        for sides in ((10, 70), (1, 2, 3, 80, 90), (8,), (77, 66, 55), ()):
            boxes = _boxes(*sides)
            rois = torch.from_numpy(np.concatenate([np.zeros((len(boxes), 1), np.float32), boxes], axis=1))
            expected = extractor(maps, rois).numpy()  # mmdet's own
            found: Any = session.run({**feeds, "boxes": boxes})["y"]
            assert found.shape == expected.shape == (len(sides), 2, BINS, BINS)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
