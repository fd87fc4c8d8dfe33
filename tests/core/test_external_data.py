"""References of an untrusted model lead to ordinary files beside it, or nowhere."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphopt.core.errors import InvalidModelError
from graphopt.core.onnx_files import load_model

VALUES = np.arange(5, dtype=np.float32)


def _model(folder: Path, **entries: str) -> Path:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[5])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "external",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5])],
        [weight],
    )
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def _values(path: Path) -> list[float]:
    weight = load_model(path).graph.initializers["w"].const_value
    assert weight is not None
    return [float(value) for value in weight.numpy()]


def _refusal(path: Path) -> str:
    with pytest.raises(InvalidModelError) as caught:
        load_model(path)
    assert f"tensor 'w' of {path}" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("location", ["data.bin", "./data.bin", "sub/folder/data.bin"])
def test_files_beside_and_below_the_model_are_read(tmp_path: Path, location: str) -> None:
    path = _model(tmp_path, location=location, offset="4", length="20", checksum="unused")
    data = tmp_path / location
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_bytes(b"head" + VALUES.tobytes())
    assert _values(path) == VALUES.tolist()


def test_offset_and_length_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(VALUES.tobytes() + b"more")
    assert _values(_model(tmp_path, location="data.bin")) == VALUES.tolist()


def test_the_folder_of_the_model_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _model(tmp_path / "models", location="data.bin")
    (tmp_path / "models" / "data.bin").write_bytes(VALUES.tobytes())
    monkeypatch.chdir(tmp_path / "models")
    assert _values(Path(path.name)) == VALUES.tolist()
    monkeypatch.chdir(tmp_path)
    assert _values(Path("models") / path.name) == VALUES.tolist()


def test_relative_paths_survive_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _model(tmp_path, location="data.bin")
    (tmp_path / "data.bin").write_bytes(VALUES.tobytes())
    monkeypatch.chdir(tmp_path)
    model = load_model(Path(path.name))
    monkeypatch.chdir("/")
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    assert weight.numpy()[4] == 4


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(
    "location", ["../secret", "sub/../../secret", "{tmp}/secret", "..\\secret", "/etc/passwd"]
)
def test_traversal_is_refused_whether_or_not_the_file_exists(
    tmp_path: Path, location: str, exists: bool
) -> None:
    if exists:
        (tmp_path / "secret").write_bytes(VALUES.tobytes())
    path = _model(tmp_path / "models", location=location.replace("{tmp}", str(tmp_path)))
    reason = _refusal(path)
    assert "leads outside the model's folder" in reason
    assert "put the data file beside the model" in reason


def test_missing_file(tmp_path: Path) -> None:
    path = _model(tmp_path, location="data.bin")
    assert f"its external data file {tmp_path}/data.bin does not exist; put it beside the model" in _refusal(
        path
    )


def test_folder_instead_of_file(tmp_path: Path) -> None:
    (tmp_path / "data.bin").mkdir()
    assert "not a regular file" in _refusal(_model(tmp_path, location="data.bin"))


@pytest.mark.parametrize("inside", [True, False])
def test_symbolic_link_to_a_file(tmp_path: Path, inside: bool) -> None:
    path = _model(tmp_path / "models", location="data.bin")
    real = (path.parent if inside else tmp_path) / "real.bin"
    real.write_bytes(VALUES.tobytes())
    (path.parent / "data.bin").symlink_to(real)
    assert "cannot be used: a symbolic link; put a copy beside the model" in _refusal(path)


def test_symbolic_link_among_the_folders(tmp_path: Path) -> None:
    path = _model(tmp_path / "models", location="sub/data.bin")
    (tmp_path / "data.bin").write_bytes(VALUES.tobytes())
    (path.parent / "sub").symlink_to(tmp_path)
    assert "a symbolic link" in _refusal(path)


def test_hard_link(tmp_path: Path) -> None:
    path = _model(tmp_path, location="data.bin")
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    os.link(tmp_path / "secret", tmp_path / "data.bin")
    assert "it has several hard links" in _refusal(path)


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.bin")
    assert "not a regular file" in _refusal(_model(tmp_path, location="data.bin"))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({}, "has no location"),
        ({"location": ""}, "has no location"),
        ({"location": "data.bin", "basepath": "/etc"}, "unknown external data key 'basepath'"),
        ({"location": "data.bin", "offset": "-4"}, "offset is '-4', not a number of bytes"),
        ({"location": "data.bin", "offset": "0x4"}, "offset is '0x4'"),
        ({"location": "data.bin", "length": "many"}, "length is 'many'"),
        ({"location": "data.bin", "offset": "٣"}, "not a number of bytes"),
        ({"location": "data.bin", "length": "16"}, "need 20 bytes, its external data has 16"),
        ({"location": "data.bin", "offset": "1"}, "end at byte 21 of"),
        ({"location": "data.bin", "offset": "9" * 19}, "which has 20 bytes; the file is cut off"),
        ({"location": "data.bin", "offset": "9" * 30}, "not a number of bytes"),
        ({"location": "graphopt-" + "0" * 32 + "-0."}, "does not exist"),
        ({"location": "a\0b"}, "leads outside"),
        ({"location": "x" * 300}, "cannot be used: File name too long"),
    ],
)
def test_malformed_references(tmp_path: Path, entries: dict[str, str], reason: str) -> None:
    (tmp_path / "data.bin").write_bytes(VALUES.tobytes())
    assert reason in _refusal(_model(tmp_path, **entries))


def test_keys_given_twice(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(VALUES.tobytes())
    path = _model(tmp_path, location="data.bin")
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].external_data.add(key="location", value="other.bin")
    path.write_bytes(proto.SerializeToString())
    assert "has an external data key twice" in _refusal(path)


def test_strings_cannot_be_external(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(VALUES.tobytes())
    path = _model(tmp_path, location="data.bin")
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].data_type = TensorProto.STRING
    path.write_bytes(proto.SerializeToString())
    assert "strings cannot be external data" in _refusal(path)


def test_a_file_exchanged_after_loading_is_noticed(tmp_path: Path) -> None:
    path = _model(tmp_path, location="data.bin")
    (tmp_path / "data.bin").write_bytes(VALUES.tobytes())
    weight = load_model(path).graph.initializers["w"].const_value
    assert weight is not None
    (tmp_path / "data.bin").write_bytes(VALUES.tobytes()[:8])
    with pytest.raises(InvalidModelError, match="changed while it was in use"):
        weight.numpy()
