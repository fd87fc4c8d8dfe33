"""A model is another one when weights beside it change."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from graphopt.core.errors import InvalidModelError
from graphopt.core.model_digest import model_digest

TEXT = """
<ir_version: 8, opset_import: ["" : 11]>
g (float[3,70] x) => (float[3,70] y) { y = Add (x, w) }
"""


def write(path: Path, *, value: float = 1.0, beside: bool) -> Path:
    model = onnx.parser.parse_model(TEXT)
    weights = np.full((3, 70), value, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    onnx.save_model(model, path, save_as_external_data=beside, location=f"{path.stem}.data", size_threshold=0)
    return path


def test_a_single_file_has_its_own_sha256(tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", beside=False)
    assert model_digest(model) == hashlib.sha256(model.read_bytes()).hexdigest()
    (tmp_path / "m.om").write_bytes(b"compiled")
    assert model_digest(tmp_path / "m.om") == hashlib.sha256(b"compiled").hexdigest()


def test_weights_beside_an_onnx_file_count(tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", beside=True)
    content, digest = model.read_bytes(), model_digest(model)
    assert model_digest(model) == digest
    (tmp_path / "m.data").unlink()
    write(model, value=2.0, beside=True)
    assert model.read_bytes() == content
    assert model_digest(model) != digest
    (tmp_path / "m.data").unlink()
    with pytest.raises(InvalidModelError, match=r"m\.data does not exist"):
        model_digest(model)


def test_weights_beside_a_graph_of_openvino_count(tmp_path: Path) -> None:
    graph = tmp_path / "m.xml"
    graph.write_text("<net/>")
    alone = model_digest(graph)
    graph.with_suffix(".bin").write_bytes(b"a")
    first = model_digest(graph)
    graph.with_suffix(".bin").write_bytes(b"b")
    assert len({alone, first, model_digest(graph)}) == 3
