from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import InvalidModelError, MissingBackendError, UsageError
from graphopt.runtime.sessions import open_session


@pytest.mark.parametrize("optimize", [True, False])
def test_onnx_opens_in_onnxruntime(write_model: Callable[..., Path], optimize: bool) -> None:
    with open_session(write_model(), optimize=optimize) as session:
        assert session.run({"image": np.zeros((2, 3, 7, 5), np.float32)})["logits"].shape == (2, 4)


@pytest.mark.openvino
def test_xml_opens_in_openvino(write_model: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from graphopt.core.openvino import load_openvino

    openvino = load_openvino(purpose="this test")
    target = tmp_path / "model.xml"
    openvino.save_model(openvino.convert_model(str(write_model())), str(target), compress_to_fp16=False)
    with open_session(target) as session:
        assert session.inputs[0].name == "image"
        assert session.run({"image": np.zeros((2, 3, 7, 5), np.float32)})["logits"].shape == (2, 4)


def test_om_needs_pyacl(tmp_path: Path) -> None:
    path = tmp_path / "model.om"
    path.write_bytes(b"x")
    with pytest.raises(MissingBackendError, match="pyACL"):
        open_session(path)


def test_other_suffixes_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"x")
    with pytest.raises(UsageError, match=r"\.onnx, \.ort, \.xml or \.om"):
        open_session(path)
    with pytest.raises(InvalidModelError, match="does not exist"):
        open_session(tmp_path / "nowhere.onnx")
