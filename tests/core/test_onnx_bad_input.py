"""Whatever a file holds, loading it gives a model or a sentence; never a traceback, a crash, a hang."""

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from graphopt.core import onnx_files
from graphopt.core.errors import GraphoptError, InvalidModelError
from graphopt.core.onnx_files import load_model

Linear = Callable[..., onnx.ModelProto]
Edit = Callable[[onnx.ModelProto], object]


def _refusal(path: Path) -> str:
    with pytest.raises(InvalidModelError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_missing_file_with_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "deepmar.onnx").touch()
    assert "deepmra.onnx does not exist; did you mean deepmar.onnx?" in _refusal(tmp_path / "deepmra.onnx")


def test_missing_file_without_one(tmp_path: Path) -> None:
    assert "does not exist; check the path" in _refusal(tmp_path / "model.onnx")
    assert f"there is no folder {tmp_path}/sub" in _refusal(tmp_path / "sub" / "model.onnx")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder; give an ONNX file" in _refusal(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    assert "is empty; fetch or export it again" in _refusal(path)


def test_names_that_cannot_be_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="is no file name"):
        load_model(tmp_path / "a\0b.onnx")
    assert "name too long" in _refusal(tmp_path / ("x" * 300)).lower()
    (tmp_path / "file").touch()
    assert "Not a directory" in _refusal(tmp_path / "file" / "model.onnx")


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    assert "is not a regular file" in _refusal(tmp_path / "model.onnx")


def test_device_is_refused() -> None:
    assert "is not a regular file" in _refusal(Path("/dev/zero"))


def test_unreadable_file(tmp_path: Path, linear: Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(linear(), path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: say no in the system's place
        monkeypatch.setattr(os, "open", _permission_denied)
    assert "cannot be opened: Permission denied" in _refusal(path)


def _permission_denied(path: Path, flags: int) -> int:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"just some text\n" * 20, "text file, starting with 'just some text"),
        (b"<!DOCTYPE html>\n<html></html>", "text file"),
        (b'{"graph": {"node": []}}', "text file"),
        (b"IMOD" + bytes(300), "it is an om, compiled already"),
        (b"PK\x03\x04" + bytes(300), "zip archive (a PyTorch checkpoint?)"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "pickle (an old PyTorch checkpoint?)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (bytes(100), "damaged or no ONNX model"),
        (b"\xff" * 100, "damaged or no ONNX model"),
    ],
)
def test_other_files_are_recognised(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert reason in _refusal(path)


def test_random_bytes(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / "model.onnx"
    for size in (1, 2, 3, 10, 1000, 10_000, 100_000):
        for _ in range(10):
            path.write_bytes(rng.randbytes(size))
            _refusal(path)


def test_a_message_of_another_kind(tmp_path: Path, linear: Linear) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(linear().graph.SerializeToString())
    _refusal(path)
    path.write_bytes(helper.make_tensor("t", TensorProto.FLOAT, [2], [1, 2]).SerializeToString())
    _refusal(path)


def test_every_truncation(tmp_path: Path, linear: Linear) -> None:
    path = tmp_path / "model.onnx"
    whole = linear(elements=3).SerializeToString()
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        _refusal(path)


def test_truncations_of_functions_and_subgraphs(tmp_path: Path, everything: onnx.ModelProto) -> None:
    path = tmp_path / "model.onnx"
    whole = everything.SerializeToString()
    # What follows the graph is optional: without it the file is a complete, other model.
    for size in range(len(whole) - 3000, len(whole), 41):
        path.write_bytes(whole[:size])
        _loads_or_refuses(path)


def test_truncations_inside_large_weights(tmp_path: Path, everything: onnx.ModelProto) -> None:
    path = tmp_path / "model.onnx"
    whole = everything.SerializeToString()
    for size in range(1000, len(whole), 4001):
        path.write_bytes(whole[:size])
        assert "cannot be read" in _refusal(path)


def test_flipped_bytes(tmp_path: Path, everything: onnx.ModelProto, recwarn: pytest.WarningsRecorder) -> None:
    rng = random.Random(11)
    path = tmp_path / "model.onnx"
    whole = everything.SerializeToString()
    small = len(everything.graph.node[0].SerializeToString()) + 4000
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            place = rng.choice((rng.randrange(len(whole)), rng.randrange(small)))
            damaged[place] = rng.randrange(256)
        path.write_bytes(damaged)
        _loads_or_refuses(path)


def _loads_or_refuses(path: Path) -> None:
    try:
        model = load_model(path)
    except GraphoptError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is fine, a nameless one is not
    else:
        onnx_files.count_nodes(model)
        onnx_files.input_specs(model)
        onnx_files.output_specs(model)


@pytest.mark.parametrize("depth", [40, 5000])
def test_nesting_is_bounded(tmp_path: Path, linear: Linear, depth: int) -> None:
    graph = linear(elements=3).graph.SerializeToString()
    for _ in range(depth):
        attribute = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        graph = _field(1, _field(4, b"If") + _field(5, attribute))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x0d"))
    assert "cannot be read" in _refusal(path)


def _field(number: int, content: bytes) -> bytes:
    size = len(content)
    encoded = b""
    while size > 127:
        encoded += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + content


def test_budget(tmp_path: Path, linear: Linear) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(linear(), path)
    with pytest.raises(InvalidModelError, match="larger than the 100 bytes allowed"):
        load_model(path, max_bytes=100)
    onnx.save(linear(), path, save_as_external_data=True, location="data.bin")
    with pytest.raises(InvalidModelError, match="larger than the 5000 bytes allowed"):
        load_model(path, max_bytes=5000)


def _sparse(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [2])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def _sparse_attribute(model: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    _sparse(other)
    attribute = model.graph.node[0].attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.CopyFrom(other.graph.sparse_initializer[0])


def _no_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


def _weight(**fields: object) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        for name, value in fields.items():
            if isinstance(value, list):
                tensor.ClearField(name)
                getattr(tensor, name).extend(value)
            else:
                setattr(tensor, name, value)

    return edit


_EDITS: list[tuple[Edit, str]] = [
    (lambda m: m.training_info.add(), "training information"),
    (_sparse, "sparse initializer 's'"),
    (_sparse_attribute, "sparse attribute 'sparse_value'"),
    (_no_graph, "has no graph"),
    (lambda m: m.ClearField("opset_import"), "has no opset import"),
    (lambda m: m.opset_import.add(domain="", version=12), "opset import of domain '' twice"),
    (lambda m: m.ClearField("ir_version"), "IR version 0"),
    (lambda m: setattr(m, "ir_version", 99), "install a newer onnx"),
    (lambda m: m.graph.ClearField("node"), "has no node"),
    (lambda m: m.graph.ClearField("output"), "has no output"),
    (lambda m: m.graph.output.add(name="z"), "nothing computes the output 'z'"),
    (lambda m: m.graph.node[0].input.append("v"), "nothing computes 'v', which node 'add' (Add) reads"),
    (lambda m: m.graph.initializer.add().CopyFrom(m.graph.initializer[0]), "initializer 'w' twice"),
    (lambda m: m.graph.initializer.add(data_type=1, dims=[0]), "initializer without a name"),
    (lambda m: m.graph.input.add().CopyFrom(m.graph.input[0]), "graph input 'x' twice"),
    (lambda m: m.graph.node.add().CopyFrom(m.graph.node[0]), "redeclared"),
    (lambda m: m.graph.node[0].attribute.add(name="axis"), "attribute 'axis' has no type"),
    (_weight(dims=[7]), "has 6000 bytes of data, its dtype and shape need 28"),
    (_weight(dims=[-1500]), "impossible shape [-1500]"),
    (_weight(dims=[1 << 40, 1 << 40]), "impossible shape"),
    (_weight(data_type=0), "unknown data type 0"),
    (_weight(data_type=77), "unknown data type 77"),
    (_weight(float_data=[1.0]), "data in several places"),
    (_weight(raw_data=b""), "the weights were stripped"),
    (lambda m: m.graph.initializer[0].segment.MergeFrom(TensorProto.Segment(begin=0, end=9)), "in segments"),
    (
        lambda m: setattr(m.graph.node[0], "name", "NOT~UTF8"),
        "the name b'NOT\\xffUTF8', which is no UTF-8 text",
    ),
    (
        lambda m: m.functions.extend([onnx.FunctionProto(name="f", domain="d")] * 2),
        "has function ('d', 'f', '')",
    ),
]


@pytest.mark.parametrize(("edit", "reason"), _EDITS, ids=[reason for _, reason in _EDITS])
def test_what_would_be_lost_or_is_wrong_is_refused(
    tmp_path: Path, linear: Linear, edit: Edit, reason: str
) -> None:
    model = linear()
    edit(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(b"NOT~UTF8", b"NOT\xffUTF8"))
    assert reason in _refusal(path)


def test_damaged_notes_are_found_on_writing(tmp_path: Path, linear: Linear) -> None:
    model = linear()
    model.doc_string = "NOT~UTF8"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(b"NOT~UTF8", b"NOT\xffUTF8"))
    with pytest.raises(InvalidModelError, match="text that is not UTF-8"):
        onnx_files.save_model(load_model(path), tmp_path / "out.onnx", force=False)
    assert list(tmp_path.iterdir()) == [path]


def test_sparse_initializers_of_subgraphs_are_found(tmp_path: Path, everything: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    _sparse(other)
    everything.graph.node[1].attribute[0].g.sparse_initializer.append(other.graph.sparse_initializer[0])
    path = tmp_path / "model.onnx"
    path.write_bytes(everything.SerializeToString())
    assert "sparse initializer 's'" in _refusal(path)


def test_messages_in_memory_are_checked_too(linear: Linear) -> None:
    model = linear()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].ClearField("raw_data")
    with pytest.raises(InvalidModelError, match="tensor 'w' is in another file; use load_model"):
        onnx_files.from_proto(model)
    with pytest.raises(InvalidModelError, match="has no graph"):
        onnx_files.from_proto(onnx.ModelProto())


def test_inputs_are_never_touched(tmp_path: Path, linear: Linear) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(linear(), path)
    before = path.stat()
    load_model(path)
    after = path.stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    assert stat.S_IMODE(before.st_mode) == stat.S_IMODE(after.st_mode)
