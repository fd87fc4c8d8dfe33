import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.compile.targets.openvino import OpenVinoTarget
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import InvalidModelError, MissingBackendError, OutputError, UsageError
from graphopt.core.files import sha256_of
from graphopt.core.openvino import load_openvino
from graphopt.core.session import OnnxRuntimeSession

pytestmark = pytest.mark.openvino
ModelFile = Callable[..., Path]
IMAGE = np.random.default_rng(7).standard_normal((1, 3, 5, 7)).astype(np.float32)

WITH_FUNCTION = """
<ir_version: 8, opset_import: ["" : 11, "own" : 1]>
tiny (float[1,3,5,7] image) => (float[1,3,5,7] logits)
{
    logits = own.Twice(image)
}
<domain: "own", opset_import: ["" : 11]>
Twice (x) => (y) { y = Add(x, x) }
"""


@pytest.fixture(autouse=True)
def _needs_openvino() -> None:
    try:
        load_openvino(purpose="these tests")
    except MissingBackendError:
        pytest.skip("openvino is not installed")


def run(path: Path) -> dict[str, Any]:
    openvino: Any = load_openvino(purpose="these tests")
    compiled = openvino.Core().compile_model(str(path), "CPU")
    result = compiled({"image": IMAGE})
    return {port.get_any_name(): np.array(result[port]) for port in compiled.outputs}


def test_result_computes_the_same(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file()
    content = model.read_bytes()
    artefact = OpenVinoTarget().compile(model, tmp_path / "tiny.xml", force=False, recipe="tiny")
    with OnnxRuntimeSession(model) as session:
        expected = session.run({"image": IMAGE})
    got = run(artefact.path)
    assert set(got) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])
    assert model.read_bytes() == content
    assert (artefact.recipe, artefact.target, artefact.batch) == ("tiny", "openvino", 1)
    assert artefact.settings["weights_sha256"] == sha256_of(tmp_path / "tiny.bin")
    assert Artefact.load(artefact.path) == artefact
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "tiny.bin",
        "tiny.onnx",
        "tiny.xml",
        "tiny.xml.json",
    ]


def test_weights_stay_float32_unless_asked(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file(f"""
        <ir_version: 8, opset_import: ["" : 11]>
        wide (float[1,3,5,7] image) => (float[1,3,5,7] logits)
        <float[1,3,5,7] w = {{{", ".join(["0.1"] * 105)}}}> {{ logits = Mul(image, w) }}
    """)
    wide = OpenVinoTarget().compile(model, tmp_path / "wide.xml", force=False)
    half = OpenVinoTarget(compress_to_fp16=True).compile(model, tmp_path / "half.xml", force=False)
    assert (tmp_path / "half.bin").stat().st_size < (tmp_path / "wide.bin").stat().st_size
    np.testing.assert_allclose(run(wide.path)["logits"], IMAGE * np.float32(0.1), rtol=1e-6)
    assert half.settings["compress_to_fp16"] is True


def test_functions_are_inlined(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file(WITH_FUNCTION)
    plan = OpenVinoTarget().plan(model, tmp_path / "tiny.xml")
    assert "inline" in plan.steps[0]
    artefact = OpenVinoTarget().compile(model, tmp_path / "tiny.xml", force=False)
    np.testing.assert_allclose(run(artefact.path)["logits"], IMAGE * 2, rtol=1e-6)


def test_calls_of_target_operators_are_written_out(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
    g (float[1,8,6,7] image, float[1,27,6,7] moves) => (float[1,4,6,7] logits)
    <float[4,8,3,3] w = {WEIGHTS}> {
        logits = npu.DeformableConv2D <strides = [1,1], pads = [1,1], dilations = [1,1], groups = 1,
            deformable_groups = 1, data_format = "NCHW", modulated = 1> (image, w, moves)
    }"""
    rng = np.random.default_rng(5)
    weights = ",".join(f"{item:.3f}" for item in rng.standard_normal(4 * 8 * 9))
    onnx.save(onnx.parser.parse_model(text.replace("WEIGHTS", weights)), tmp_path / "m.onnx")
    assert "npu::DeformableConv2D" in OpenVinoTarget().plan(tmp_path / "m.onnx", tmp_path / "m.xml").steps[0]
    artefact = OpenVinoTarget().compile(tmp_path / "m.onnx", tmp_path / "m.xml", force=False)
    feeds = {
        "image": rng.standard_normal((1, 8, 6, 7)).astype(np.float32),
        "moves": rng.uniform(-2, 2, (1, 27, 6, 7)).astype(np.float32),
    }
    openvino: Any = load_openvino(purpose="these tests")
    compiled = openvino.Core().compile_model(str(artefact.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with OnnxRuntimeSession(tmp_path / "m.onnx") as session:
        expected: Any = session.run(feeds)["logits"]
    np.testing.assert_allclose(compiled(feeds)[compiled.output(0)], expected, rtol=1e-4, atol=1e-4)


def test_hash_of_the_description_follows_the_weights(
    model_file: ModelFile, static_text: str, tmp_path: Path
) -> None:
    first = OpenVinoTarget().compile(model_file(), tmp_path / "a.xml", force=False)
    other = model_file(static_text.replace("{0.5}", "{0.25}"))
    second = OpenVinoTarget().compile(other, tmp_path / "b.xml", force=False)
    assert first.sha256 != second.sha256


def test_outputs_are_not_overwritten(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file()
    for name in ("t.xml", "t.bin"):
        (tmp_path / name).write_text("old")
        with pytest.raises(OutputError, match=f"{name} exists"):
            OpenVinoTarget().compile(model, tmp_path / "t.xml", force=False)
        assert (tmp_path / name).read_text() == "old"
        (tmp_path / name).unlink()
    (tmp_path / "t.xml").write_text("old")
    OpenVinoTarget().compile(model, tmp_path / "t.xml", force=True)
    assert set(run(tmp_path / "t.xml")) == {"logits", "halved"}


def test_refused_model_leaves_what_was_there(model_file: ModelFile, static_text: str, tmp_path: Path) -> None:
    model = model_file(static_text.replace("Relu(", "Relux("))
    for name in ("t.xml", "t.bin"):
        (tmp_path / name).write_text("old")
    with pytest.raises(InvalidModelError, match="OpenVINO cannot compile"):
        OpenVinoTarget().compile(model, tmp_path / "t.xml", force=True)
    assert (tmp_path / "t.xml").read_text() == (tmp_path / "t.bin").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.bin", "t.xml", "tiny.onnx"]


def test_output_must_be_xml(model_file: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"name the output .*t\.xml"):
        OpenVinoTarget().plan(model_file(), tmp_path / "t.onnx")


def test_import_sends_no_telemetry(tmp_path: Path) -> None:
    code = (
        "import sys; from graphopt.core.openvino import load_openvino\n"
        "load_openvino(purpose='x'); load_openvino(purpose='x')\n"
        "sys.exit(any(name.startswith('openvino_telemetry') for name in sys.modules))"
    )
    home = {"HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert list(tmp_path.iterdir()) == []
