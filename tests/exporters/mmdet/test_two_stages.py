"""Detectors of two stages: the exported and the rewritten graph against mmdet's own ``predict``."""

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import DetectionComparison, Detections, DetectionTolerance
from graphopt.core.onnx_files import load_model, save_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery import Verify, rewrite_file
from graphopt.surgery.graph_edits import add_constant
from graphopt.surgery.presets import PRESETS
from graphopt.surgery.steps import parse_steps

pytestmark = [pytest.mark.torch, pytest.mark.mmdet]

Size = tuple[int, int]
SIZE = (96, 160)
PLAIN = "faster-rcnn_r50_fpn_1x_coco"
DEFORMABLE = "faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco"
MODULATED = "faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco"
CASCADE = "cascade-rcnn_r50_fpn_1x_coco"
# The network itself moves by 2e-3 px and 7e-5 when its input moves by 1e-7 of it.
BOUNDS = DetectionTolerance(box=0.01, score=2e-4, why="five times what one rounding of the input does")
WHAT = Detections(dets="dets", limit=100, score_threshold=0.05, iou_threshold=0.5, tolerance=BOUNDS)
Rows = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Exported:
    """A detector, its graph, and what ``predict`` of mmdet answers for some scenes."""

    module: Any
    path: Path
    images: list[Any]
    expected: list[Rows]

    def compare(self, path: Path) -> list[DetectionComparison]:
        """Run a graph on all scenes."""
        with OnnxRuntimeSession(path) as session:
            found = [session.run({"input": image.numpy()}) for image in self.images]
        return [
            compare_detections(rows, (item["dets"], item["labels"]), WHAT)
            for rows, item in zip(self.expected, found, strict=True)
        ]


def _calm() -> ModuleType:
    path = Path(__file__).with_name("calm_detectors.py")
    spec = importlib.util.spec_from_file_location("calm_detectors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def export(config: str, size: Size, folder: Path, *, images: int = 2) -> Exported:
    """Export a thin detector with calm weights."""
    from graphopt.exporters.mmdet.detector import predicted
    from graphopt.exporters.torch_export import export_module

    calm = _calm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = calm.calm_detector(config, size, changes=calm.thin(config))
        scenes = list(calm.scenes(images, size).split(1))
        expected = [predicted(module.model, image)[0] for image in scenes]
    path = folder / "raw.onnx"
    export_module(
        module,
        {"input": scenes[0].numpy()},
        ["dets", "labels"],
        path,
        dynamic_axes={"dets": {0: "n"}, "labels": {0: "n"}},
        known_sizes={"dets": ("n", 5)},
        fixed_sizes=True,
        keep_batchnorm=True,
    )
    return Exported(module, path, scenes, [(dets.numpy(), labels.numpy()) for dets, labels in expected])


@pytest.fixture(scope="module")
def deformable(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The detector of the recipe, thin and small."""
    return export(DEFORMABLE, SIZE, tmp_path_factory.mktemp("dcn"))


def assert_equal(compared: list[DetectionComparison], least: int = 20) -> None:
    """All detections of every image have their partners."""
    assert all(item.passed for item in compared), [item.failure for item in compared]
    assert min(item.paired for item in compared) >= least


def test_the_graph_answers_what_mmdet_predicts(deformable: Exported) -> None:
    assert_equal(deformable.compare(deformable.path))
    first, second = (dets for dets, _ in deformable.expected)
    assert len({*deformable.expected[0][1].tolist()}) >= 5
    assert not np.allclose(first[:10], second[:10], atol=1)


def _tensor(model: ir.Model, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    value = model.graph.initializers[name]
    assert value.const_value is not None
    value.const_value = ir.tensor(change(value.const_value.numpy()), name=name)


def wrong_level(model: ir.Model) -> None:
    """Let every region be pooled from the next coarser map."""
    node = next(node for node in model.graph if node.op_type == "Floor")
    one = add_constant(model, node, np.array(1, np.float32), "one")
    moved = ir.node("Add", [node.outputs[0], one])
    moved.outputs[0].name = "moved"
    for user, place in list(node.outputs[0].uses()):
        user.replace_input_with(place, moved.outputs[0])
    moved.replace_input_with(0, node.outputs[0])
    model.graph.insert_after(node, moved)


def enlarged(model: ir.Model) -> None:
    """Pool by ONNX's own operator, behind a shift, as mmcv 2 writes it: small regions become one cell."""
    for node in [node for node in model.graph if node.op_type == "MMCVRoiAlign"]:
        maps, rois = node.inputs
        scale = node.attributes.get_float("spatial_scale")
        picks = {
            "first": np.array([0]),
            "corners": np.arange(1, 5),
            "shift": np.array(0.5 / scale, np.float32),
        }
        first, corners, shift = (add_constant(model, node, array, name) for name, array in picks.items())
        column = ir.node("Gather", [rois, first], {"axis": 1})
        flat = ir.node("Squeeze", column.outputs, {"axes": [1]})
        index = ir.node("Cast", flat.outputs, {"to": 7})
        boxes = ir.node("Gather", [rois, corners], {"axis": 1})
        moved = ir.node("Sub", [boxes.outputs[0], shift])
        kept = ("output_height", "output_width", "sampling_ratio", "spatial_scale")
        pooled = ir.node(
            "RoiAlign",
            [maps, moved.outputs[0], index.outputs[0]],
            {name: node.attributes[name].value for name in kept},
        )
        for new in (column, flat, index, boxes, moved, pooled):
            new.outputs[0].name = f"{node.outputs[0].name}.{new.op_type}.{id(new)}"
        model.graph.insert_before(node, [column, flat, index, boxes, moved, pooled])
        for user, place in list(node.outputs[0].uses()):
            user.replace_input_with(place, pooled.outputs[0])
        model.graph.remove(node, safe=True)


def classes_rolled(model: ir.Model) -> None:
    """Count the background first, as mmdet 1.x did."""
    for part in ("weight", "bias"):
        _tensor(model, f"model.roi_head.bbox_head.fc_cls.{part}", lambda array: np.roll(array, 1, axis=0))


def offsets_swapped(model: ir.Model) -> None:
    """Take shifts down for shifts to the right in the last deformable convolution."""
    name = "model.backbone.layer4.2.conv2.conv_offset"
    for part in ("weight", "bias"):
        _tensor(
            model,
            f"{name}.{part}",
            lambda array: array.reshape(-1, 2, *array.shape[1:])[:, ::-1].reshape(array.shape),
        )


def threshold_changed(model: ir.Model) -> None:
    """Suppress from another overlap on, in the last suppression."""
    node = [node for node in model.graph if node.op_type == "NonMaxSuppression"][-1]
    node.replace_input_with(3, add_constant(model, node, np.array([0.6], np.float32), "overlap"))


MISTAKES = (wrong_level, enlarged, classes_rolled, offsets_swapped, threshold_changed)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_graph_is_noticed(
    deformable: Exported, mistake: Callable[[ir.Model], None], tmp_path: Path
) -> None:
    model = load_model(deformable.path)
    mistake(model)
    save_model(model, tmp_path / "wrong.onnx", force=False)
    assert not all(item.passed for item in deformable.compare(tmp_path / "wrong.onnx"))


def test_a_suppression_that_is_baked_in_is_noticed(deformable: Exported, tmp_path: Path) -> None:
    model = load_model(deformable.path)
    node = next(node for node in model.graph if node.op_type == "NonMaxSuppression")
    (chosen,) = _values(model, node.outputs[0], deformable.images[0], tmp_path)
    fixed = add_constant(model, node, chosen, "baked")
    for user, place in list(node.outputs[0].uses()):
        user.replace_input_with(place, fixed)
    save_model(model, tmp_path / "wrong.onnx", force=False)
    first, second = deformable.compare(tmp_path / "wrong.onnx")
    assert first.passed  # the image it was traced with
    assert not second.passed


def _values(model: ir.Model, value: ir.Value, image: Any, folder: Path) -> Iterator[np.ndarray]:
    """Yield what a tensor holds."""
    asked = model.clone()
    found = next(item for node in asked.graph for item in node.outputs if item.name == value.name)
    asked.graph.outputs[:] = [found]
    save_model(asked, folder / "asked.onnx", force=False)
    with OnnxRuntimeSession(folder / "asked.onnx") as session:
        yield session.run({"input": image.numpy()})[value.name or ""]


def test_the_recipes_passes_fire_in_one_go_and_the_result_answers_the_same(
    deformable: Exported, tmp_path: Path
) -> None:
    from graphopt.recipes.models.faster_rcnn_dcn import RECIPE

    path = tmp_path / "o.onnx"
    # The recipe expects 13 deformable convolutions, 1 pooling of regions and 2 suppressions.
    rewrite_file(deformable.path, path, RECIPE.passes, verify=Verify.OFF)
    model = load_model(path)
    assert _targets(model) == {"DeformableConv2D": 13, "RoiExtractor": 1, "BatchMultiClassNMS": 2}
    assert [list(value.shape or ()) for value in model.graph.outputs] == [[100, 5], [100]]
    assert_equal(deformable.compare(path))


def _targets(model: ir.Model) -> dict[str, int]:
    names = [node.op_type for node in model.graph if node.domain]
    return {name: names.count(name) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "size", "emitted"),
    [
        (PLAIN, (96, 160), {"RoiExtractor": 1, "BatchMultiClassNMS": 2}),
        (PLAIN, (160, 96), {"RoiExtractor": 1, "BatchMultiClassNMS": 2}),
        (DEFORMABLE, (128, 128), {"DeformableConv2D": 13, "RoiExtractor": 1, "BatchMultiClassNMS": 2}),
        (MODULATED, (90, 150), {"DeformableConv2D": 13, "RoiExtractor": 1, "BatchMultiClassNMS": 2}),
        (CASCADE, (96, 160), {"RoiExtractor": 3, "BatchMultiClassNMS": 2}),
    ],
)
def test_both_graphs_answer_what_mmdet_predicts(
    config: str, size: Size, emitted: dict[str, int], tmp_path: Path
) -> None:
    exported = export(config, size, tmp_path, images=3)
    assert_equal(exported.compare(exported.path))
    path = tmp_path / "o.onnx"
    rewrite_file(exported.path, path, parse_steps(PRESETS["detector"]), verify=Verify.OFF)
    assert _targets(load_model(path)) == emitted
    assert_equal(exported.compare(path))
