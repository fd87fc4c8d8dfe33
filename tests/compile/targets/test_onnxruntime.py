from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from graphopt.compile.targets.onnxruntime import OnnxRuntimeTarget
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import InvalidModelError, OutputError, UsageError
from graphopt.core.files import sha256_of
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import TensorSpec

ModelFile = Callable[..., Path]
IMAGE = np.random.default_rng(7).standard_normal((1, 3, 5, 7)).astype(np.float32)


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
def test_result_computes_the_same(model_file: ModelFile, level: str, tmp_path: Path) -> None:
    model = model_file()
    content = model.read_bytes()
    artefact = OnnxRuntimeTarget(level=level).compile(model, tmp_path / "tiny.ort.onnx", force=False)
    with OnnxRuntimeSession(model) as before, OnnxRuntimeSession(artefact.path, optimize=True) as after:
        expected, got = before.run({"image": IMAGE}), after.run({"image": IMAGE})
    assert list(got) == ["logits", "halved"]
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])
    assert model.read_bytes() == content


def test_calls_of_target_operators_are_written_out(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file("""<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
        g (float[1,9,1,4] boxes, float[1,9,2] scores) => (float[1,5,4] dets) {
            dets, kept, labels, count = npu.BatchMultiClassNMS <iou_threshold = 0.5, score_threshold = 0.1,
                max_size_per_class = 5, max_total_size = 5> (boxes, scores)
        }""")
    artefact = OnnxRuntimeTarget(level="basic").compile(model, tmp_path / "out.onnx", force=False)
    proto = onnx.load(artefact.path)
    assert not proto.functions
    assert {node.domain for node in proto.graph.node} == {""}
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 50, (1, 9, 1, 2))
    feeds = {
        "boxes": np.concatenate([corners, corners + 20], axis=-1).astype(np.float32),
        "scores": rng.uniform(0, 1, (1, 9, 2)).astype(np.float32),
    }
    with OnnxRuntimeSession(model) as before, OnnxRuntimeSession(artefact.path) as after:
        np.testing.assert_array_equal(after.run(feeds)["dets"], before.run(feeds)["dets"])


def test_constants_are_folded_offline(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file("""
        <ir_version: 8, opset_import: ["" : 11]>
        folds (float[1,3] x) => (float[1,3] y) <float a = {2.0}, float b = {3.0}>
        { c = Add(a, b)  y = Mul(x, c) }
    """)
    artefact = OnnxRuntimeTarget().compile(model, tmp_path / "out.onnx", force=False)
    assert [node.op_type for node in onnx.load(artefact.path).graph.node] == ["Mul"]


def test_artefact_names_its_parent_and_keeps_roles(
    model_file: ModelFile, dynamic_text: str, tmp_path: Path
) -> None:
    model = model_file(dynamic_text)
    parent = Artefact(
        path=model,
        stage="rewritten",
        target="onnx",
        sha256=sha256_of(model),
        recipe="tiny",
        outputs=(TensorSpec(name="logits", shape=(), dtype="float32", role="attributes", unit="logit"),),
    )
    artefact = OnnxRuntimeTarget().compile(model, tmp_path / "t.onnx", force=False, parent=parent)
    assert (artefact.recipe, artefact.stage, artefact.target) == ("tiny", "compiled", "onnxruntime")
    assert artefact.parent_sha256 == sha256_of(model)
    assert artefact.batch is None
    assert (artefact.outputs[0].role, artefact.outputs[0].unit) == ("attributes", "logit")
    assert artefact.outputs[0].shape == ("batch", 3, 5, 7)
    assert artefact.settings["level"] == "extended"
    assert Artefact.load(tmp_path / "t.onnx") == artefact


def test_outputs_are_not_overwritten(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file()
    with pytest.raises(OutputError, match="is the input"):
        OnnxRuntimeTarget().compile(model, model, force=True)
    (tmp_path / "old.onnx").write_text("old")
    with pytest.raises(OutputError, match="--force"):
        OnnxRuntimeTarget().compile(model, tmp_path / "old.onnx", force=False)
    assert (tmp_path / "old.onnx").read_text() == "old"
    OnnxRuntimeTarget().compile(model, tmp_path / "old.onnx", force=True)
    onnx.checker.check_model(tmp_path / "old.onnx", full_check=True)


def test_refused_model_leaves_nothing(model_file: ModelFile, static_text: str, tmp_path: Path) -> None:
    model = model_file(static_text.replace("Relu(", "Relux("))
    with pytest.raises(InvalidModelError, match=r"onnxruntime cannot compile .*Relux"):
        OnnxRuntimeTarget().compile(model, tmp_path / "out.onnx", force=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.onnx"]


def test_plan_refuses_what_the_graph_is_not(model_file: ModelFile, dynamic_text: str, tmp_path: Path) -> None:
    model = model_file(dynamic_text)
    plan = OnnxRuntimeTarget().plan
    fixed = TensorSpec(name="image", shape=(4, 3, 5, 7), dtype="float32")
    with pytest.raises(UsageError, match=r"\[batch, 3, 5, 7\], not \[4, 3, 5, 7\].*set_batch"):
        plan(model, tmp_path / "t.onnx", inputs=(fixed,))
    with pytest.raises(UsageError, match="no input picture"):
        plan(model, tmp_path / "t.onnx", inputs=(TensorSpec(name="picture", shape=(), dtype="float32"),))
    with pytest.raises(UsageError, match=r"no output boxes; it has logits, halved"):
        plan(model, tmp_path / "t.onnx", outputs=(TensorSpec(name="boxes", shape=(), dtype="float32"),))
    with pytest.raises(UsageError, match="unknown level 'most'"):
        OnnxRuntimeTarget(level="most")


def test_machine_specific_level_is_noted(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file()
    (note,) = OnnxRuntimeTarget(level="all").plan(model, tmp_path / "t.onnx").notes
    assert "this machine" in note
    assert OnnxRuntimeTarget().plan(model, tmp_path / "t.onnx").notes == ()
