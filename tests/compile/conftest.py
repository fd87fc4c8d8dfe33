"""Tiny models, and programs that stand for those of the vendor."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.parser
import pytest

FAKES = Path(__file__).resolve().parents[1] / "fakes"

STATIC = """
<ir_version: 8, opset_import: ["" : 11]>
tiny (float[1,3,5,7] image) => (float[1,3,5,7] logits, float[1,3,5,7] halved)
<float half = {0.5}>
{
    halved = Mul(image, half)
    logits = Relu(halved)
}
"""

DYNAMIC = STATIC.replace("float[1,3,5,7]", "float[batch,3,5,7]")


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a model given as ONNX text; its nodes are named Type_index as old exporters do."""

    def write(text: str = STATIC, name: str = "tiny.onnx") -> Path:
        model = onnx.parser.parse_model(text)
        for index, node in enumerate(model.graph.node):
            node.name = f"{node.op_type}_{index}"
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def static_text() -> str:
    """A model of batch 1 with two outputs, as ONNX text."""
    return STATIC


@pytest.fixture
def dynamic_text() -> str:
    """The same model with a symbolic batch."""
    return DYNAMIC


@pytest.fixture
def fake_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program of tests/fakes on the PATH, which keeps only what that program needs."""

    def install(name: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        shutil.copy(FAKES / name, folder / name)
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.fixture
def no_vendor_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a PATH on which there is neither atc nor npu-smi."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
