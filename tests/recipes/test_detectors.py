"""The detectors' recipes: what they say, and that their passes leave nothing that a device refuses."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import load_model
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.rewrite import rewrite
from graphopt.runtime.preprocess import preprocess
from graphopt.surgery import Verify
from graphopt.surgery.catalogue import make_pass
from graphopt.surgery.shapes.shape_inference import infer_types

EMITTED = {
    "fcos": {"BatchMultiClassNMS": 1},
    "nas_fpn": {"BatchMultiClassNMS": 1},
    "faster_rcnn_dcn": {"BatchMultiClassNMS": 2, "DeformableConv2D": 13, "RoiExtractor": 1},
}
GONE = (
    "NonZero", "NonMaxSuppression", "ScatterND", "Shape", "MMCVDeformConv2d", "RoiAlign", "Loop", "If",
    "ConstantOfShape", "Range", "Expand", "Constant", "Identity", "Dropout",
)  # fmt: skip


@pytest.mark.parametrize("name", EMITTED)
def test_roles_and_passes_are_known(name: str) -> None:
    recipe = find_recipe(name)
    assert {spec.role for spec in recipe.outputs} == {"dets", "labels"}
    front = recipe.inputs[0].shape[:1] if len(recipe.batch_sizes) > 1 else ()
    shapes = {spec.role: spec.shape for spec in recipe.outputs}
    assert shapes == {"dets": (*front, 100, 5), "labels": (*front, 100)}
    for step in recipe.passes:
        make_pass(step)


@pytest.mark.parametrize("name", EMITTED)
@pytest.mark.parametrize("size", [(320, 213), (213, 320), (1500, 900)])
def test_a_picture_becomes_an_input(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    pytest.importorskip("cv2")
    image = pytest.importorskip("PIL.Image")
    recipe = find_recipe(name)
    pixels = np.random.default_rng(5).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    sample = preprocess(tmp_path / "a.png", recipe.preprocessing)
    assert sample.shape == recipe.inputs[0].shape[1:]
    assert recipe.inputs[0].mismatch(sample[np.newaxis]) is None
    assert not sample[:, -1, -1].any()  # padding is zero after normalisation
    assert sample[:, sample.shape[1] // 2].any()


@pytest.mark.shared
@pytest.mark.parametrize("name", EMITTED)
def test_the_recipe_fits_the_real_graph(name: str, shared_dir: Path) -> None:
    graph = onnx.load(shared_dir / "raw" / f"{name}.onnx").graph
    stored = {item.name for item in graph.initializer}
    (given,) = [item for item in graph.input if item.name not in stored]
    (spec,) = find_recipe(name).inputs
    assert spec.name == given.name
    # The graph of 2020 bakes in a batch of 1; graphopt leaves it open where the published model does.
    assert spec.shape[1:] == tuple(dim.dim_value for dim in given.type.tensor_type.shape.dim)[1:]


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "fcos" else [pytest.mark.slow]) for name in EMITTED]
)
def test_the_result_is_ready_for_the_device(name: str, filled: Callable[[str], Path], tmp_path: Path) -> None:
    recipe = find_recipe(name)
    started = time.process_time()
    rewrite(filled(name), tmp_path / "o.onnx", None, recipe_name=name, verify=Verify.OFF)
    assert time.process_time() - started < 10  # 2 to 3 s; of the processor, as others may use the machine
    model = load_model(tmp_path / "o.onnx")
    nodes = list(model.graph)
    counts = Counter(node.op_type for node in nodes)
    assert not set(GONE) & set(counts)
    assert {node.op_type: counts[node.op_type] for node in nodes if node.domain} == EMITTED[name]
    types = infer_types(model)
    made = [value for node in nodes for value in node.outputs]
    assert [value.name for value in made if types[value].static is None] == []
    assert [value.name for value in model.graph.outputs] == [spec.name for spec in recipe.outputs]
    for value, spec in zip(model.graph.outputs, recipe.outputs, strict=True):
        assert types[value].static == tuple(size for size in spec.shape if size != "batch")
        assert value.dtype is not None
        assert value.dtype.numpy().name == spec.dtype
    wide = [node for node in nodes if any(types[v].dtype == ir.DataType.INT64 for v in node.outputs)]
    # Indices of TopK, narrowed at once; one index among the proposals; the labels.
    assert {node.op_type for node in wide} <= {"TopK", "ArgMax", "Cast"}
    for node in nodes:
        _assert_taken_by_atc(node)


def _assert_taken_by_atc(node: ir.Node) -> None:
    """The rules of the target that these graphs broke before."""
    constants = [None if value is None else value.const_value for value in node.inputs]
    if node.op_type == "Slice" and len(node.inputs) > 4:
        assert constants[4] is not None
        assert set(constants[4].numpy().ravel().tolist()) == {1}, node.name
    if node.op_type == "Gather" and constants[1] is not None:
        assert constants[1].numpy().min() >= 0, node.name
    if node.op_type == "Resize":
        assert len(node.inputs) == 3, node.name
        assert constants[1] is not None
        assert constants[2] is not None
    if node.op_type.startswith("Reduce"):
        assert "axes" in node.attributes, node.name
