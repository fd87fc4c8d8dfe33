import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import Detections, DetectionTolerance
from graphopt.core.errors import ExportError, UsageError
from graphopt.exporters.mmdet.mmcv_ops import use_mmcv_operators

pytestmark = [pytest.mark.torch, pytest.mark.mmdet]

Pictures = Callable[[int, tuple[int, int]], Any]
RANDOM_WEIGHTS = DetectionTolerance(box=0.5, score=5e-3, why="random weights amplify float32 noise")
ALL = ("retinanet", "fcos", "atss", "faster_rcnn_dcn", "cascade_rcnn")


def _size(name: str) -> tuple[int, int]:
    return (128, 128) if name == "nas_fpn" else (96, 128)


def _answers(module: Any, image: Any) -> tuple[Any, Any]:
    import torch

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dets, labels = module(image)
    found = dets[:, 4] > 0
    return dets[found], labels[found]


def _predicted(module: Any, image: Any) -> tuple[Any, Any]:
    from graphopt.exporters.mmdet.detector import predicted

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return predicted(module.model, image)[0]


@pytest.mark.parametrize("name", ALL)
def test_it_answers_what_mmdet_predicts(
    name: str, detector: Callable[[str], Any], pictures: Pictures
) -> None:
    module = detector(name)
    counts = []
    for image in pictures(3, _size(name)).split(1):
        dets, labels = _answers(module, image)
        wanted, classes = _predicted(module, image)
        counts.append(len(wanted))

        assert dets.shape == wanted.shape
        compared = compare_detections(
            (wanted.numpy(), classes.numpy()), (dets.numpy(), labels.numpy()), Detections(dets="dets")
        )
        assert compared.passed or compared.says_nothing, compared.failure
    assert max(counts) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retinanet"])
def test_the_graph_answers_what_mmdet_predicts_for_each_image(
    name: str, detector: Callable[[str], Any], pictures: Pictures, tmp_path: Path
) -> None:
    from graphopt.core.session import OnnxRuntimeSession
    from graphopt.exporters.torch_export import export_module

    module, images = detector(name), pictures(3, _size(name)).split(1)
    path = tmp_path / "model.onnx"
    axes = {} if module.rows else {"dets": {0: "n"}, "labels": {0: "n"}}
    export_module(
        module,
        {"input": images[0].numpy()},
        ["dets", "labels"],
        path,
        dynamic_axes=axes,
        known_sizes={"dets": ("n", 5)},
        fixed_sizes=True,
    )

    answers = []
    with OnnxRuntimeSession(path) as session:
        for image in images:
            found = session.run({"input": image.numpy()})
            wanted, classes = _predicted(module, image)
            compared = compare_detections(
                (wanted.numpy(), classes.numpy()),
                (found["dets"], found["labels"]),
                Detections(dets="dets", tolerance=RANDOM_WEIGHTS),
            )
            assert compared.passed, compared.failure
            answers.append(found["dets"])
    # A suppression that is baked in keeps the boxes of the traced image.
    assert answers[0].shape != answers[1].shape or not np.allclose(answers[0], answers[1], atol=1)


def test_an_image_without_detections_has_none(detector: Callable[[str], Any]) -> None:
    import torch

    from graphopt.exporters.mmdet.suppression import best_of_classes, best_of_listed

    nothing = torch.zeros(1, 4, 3)
    dets, labels = best_of_classes(torch.rand(1, 4, 4), nothing, iou=0.5, above=0.05, most=6)
    assert dets.shape == (1, 6, 5)
    assert not dets.any()
    assert not labels.any()

    rows, classes = best_of_listed(
        torch.rand(4, 4), torch.zeros(4), torch.zeros(4, dtype=torch.int64), iou=0.5, above=0.05, most=6
    )
    assert rows.shape == (0, 5)
    assert classes.shape == (0,)


def test_what_is_changed_for_tracing_is_undone_also_by_an_error() -> None:
    use_mmcv_operators()
    function: Any = importlib.import_module("mmcv.ops.deform_conv").DeformConv2dFunction
    cell: Any = importlib.import_module("mmcv.ops.merge_cells").BaseMergeCell
    from graphopt.exporters.mmdet.tracing import exporting

    before = cell._resize, function.symbolic

    def fail() -> None:
        with exporting():
            assert cell._resize is not before[0]
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert (cell._resize, function.symbolic) == before


@pytest.mark.parametrize(
    "size", [((8, 12), (16, 24)), ((16, 24), (8, 12)), ((7, 9), (4, 5)), ((8, 12), (8, 12))]
)
def test_merge_cells_compute_the_same_for_tracing(size: tuple[tuple[int, int], tuple[int, int]]) -> None:
    import torch

    use_mmcv_operators()
    from graphopt.exporters.mmdet.tracing import exporting

    kind: Any = importlib.import_module("mmcv.ops.merge_cells").SumCell
    cell, maps = kind(2, 2, with_out_conv=False), torch.randn(1, 2, *size[0])
    plain = cell._resize(maps, torch.Size(size[1]))
    with exporting():
        assert torch.equal(cell._resize(maps, torch.Size(size[1])), plain)


def test_other_detectors_are_refused_by_name() -> None:
    from graphopt.recipes.mmdet_export import build_detector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ExportError, match="GFLHead, which decodes in a way of its own"):
            build_detector("gfl_r50_fpn_1x_coco", (64, 64))


@pytest.mark.parametrize("nms", [{"type": "soft_nms", "iou_threshold": 0.5}, {"type": "nms"}, {}])
def test_other_suppressions_are_refused(nms: dict[str, Any]) -> None:
    from graphopt.exporters.mmdet.detector import overlap_of

    with pytest.raises(ExportError, match="only type nms, class by class"):
        overlap_of({"nms": nms}, "test_cfg")


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 4, 64, 64), (1, 3, 0, 64)])
def test_shapes_that_make_no_sense(shape: tuple[int, int, int, int]) -> None:
    from graphopt.recipes.mmdet_export import DetectorRequest

    with pytest.raises(UsageError, match="1,3,HEIGHT,WIDTH"):
        DetectorRequest(config="x", shape=shape)


@pytest.mark.parametrize("name", ["fcos", "retinanet"])
def test_of_each_level_the_best_pairs_are_candidates(
    name: str, detector: Callable[[str], Any], pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphopt.exporters.mmdet.decoding import DenseDecoder
    from graphopt.exporters.mmdet.detector import exportable
    from graphopt.exporters.mmdet.packages import quiet

    module = detector(name)
    settings = module.model.bbox_head.test_cfg
    monkeypatch.setitem(settings, "nms_pre", 20)
    monkeypatch.setitem(settings, "score_thr", 1e-3)  # far more pairs than that
    (image,) = pictures(1, _size(name)).split(1)
    wanted = _predicted(module, image)

    def compared() -> Any:
        with quiet():
            limited = exportable(module.model, _size(name))
        one, two = ((dets.numpy(), labels.numpy()) for dets, labels in (wanted, _answers(limited, image)))
        return compare_detections(one, two, Detections(dets="dets"))

    found = compared()
    assert found.passed, found.failure
    # All pairs of the best locations are more.
    monkeypatch.setattr(DenseDecoder, "_best_pairs", lambda _self, chances: chances)
    assert not compared().passed


def test_a_suppression_that_is_baked_in_is_refused(tmp_path: Path) -> None:
    import torch

    from graphopt.core.tensors import TensorSpec
    from graphopt.exporters.bundle import write_bundle
    from graphopt.exporters.mmdet.mmcv_kernels import nms
    from graphopt.exporters.mmdet.mmcv_ops import untraced

    class Baked(torch.nn.Module):
        """Scores depend on the picture; which boxes stay is computed where tracing does not see it."""

        def forward(self, picture: Any) -> Any:
            corners = torch.arange(8.0).repeat_interleave(2).reshape(8, 2) * 3
            boxes = torch.cat((corners, corners + 7), 1)
            scores = picture.flatten()[:8].sigmoid()
            kept = untraced(nms)(boxes, scores, 0.1, 0)[:2]
            return torch.cat((boxes[kept], scores[kept, None]), 1), kept * 0

    picture = TensorSpec(name="input", shape=(1, 2, 4), dtype="float32")
    dets = TensorSpec(name="dets", shape=(2, 5), dtype="float32", role="dets")
    labels = TensorSpec(name="labels", shape=(2,), dtype="int64", role="labels")
    values = np.random.default_rng(3).standard_normal((2, 1, 2, 4)).astype(np.float32)
    for samples in (values, values[:1]):  # of one, another is made
        with pytest.raises(ExportError, match=r"differs from the network on sample 1|answers samples"):
            write_bundle(
                tmp_path / "bundle",
                module=Baked(),
                inputs=(picture,),
                outputs=(dets, labels),
                samples=[{"input": sample} for sample in samples],
                recipe="",
                opset=11,
                checkpoint_sha256="",
                force=False,
                fixed_sizes=True,
            )
    assert list(tmp_path.iterdir()) == []
