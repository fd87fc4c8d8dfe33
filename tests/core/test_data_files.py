"""A model that no single file can hold gets a data file; here the limit is lowered, the code is the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from graphopt.core import onnx_files
from graphopt.core.errors import InvalidModelError
from graphopt.core.onnx_files import load_model, save_model

Linear = Callable[..., onnx.ModelProto]
ArraysOf = Callable[[onnx.ModelProto], dict[str, np.ndarray]]


def test_weights_go_to_a_data_file(tmp_path: Path, everything: onnx.ModelProto, arrays_of: ArraysOf) -> None:
    onnx.save(everything, tmp_path / "in.onnx")
    target = tmp_path / "out.onnx"

    save_model(load_model(tmp_path / "in.onnx"), target, force=False, limit=40_000)

    assert {path.name for path in tmp_path.iterdir()} == {"in.onnx", "out.onnx", "out.onnx.data"}
    assert target.stat().st_size < 40_000
    onnx.checker.check_model(target, full_check=True)
    expected, written = arrays_of(everything), arrays_of(onnx.load(target))
    assert expected.keys() == written.keys()
    assert all(np.array_equal(expected[name], written[name]) for name in expected)
    save_model(load_model(target), tmp_path / "back.onnx", force=False)
    save_model(load_model(tmp_path / "in.onnx"), tmp_path / "direct.onnx", force=False)
    assert (tmp_path / "back.onnx").read_bytes() == (tmp_path / "direct.onnx").read_bytes()


def test_replacing_keeps_the_old_pair_until_the_new_one_is_complete(
    tmp_path: Path, linear: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.onnx"
    save_model(onnx_files.from_proto(linear()), target, force=False, limit=1000)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def killed(self: Path, other: Path) -> None:
        if other == target:
            raise KeyboardInterrupt
        rename(self, other)

    rename = Path.replace
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_model(onnx_files.from_proto(linear(elements=2000)), target, force=True, limit=1000)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_replacing_removes_the_old_data(tmp_path: Path, linear: Linear) -> None:
    target = tmp_path / "out.onnx"
    for elements in (1500, 2000, 2500):
        save_model(onnx_files.from_proto(linear(elements=elements)), target, force=True, limit=1000)
        assert len(list(tmp_path.iterdir())) == 2
        assert numpy_helper.to_array(onnx.load(target).graph.initializer[0]).size == elements
    save_model(onnx_files.from_proto(linear()), target, force=True)
    assert list(tmp_path.iterdir()) == [target]


def test_a_model_is_replaced_by_itself(tmp_path: Path, linear: Linear) -> None:
    target = tmp_path / "out.onnx"
    save_model(onnx_files.from_proto(linear()), target, force=False, limit=1000)
    save_model(load_model(target), target, force=True, limit=1000)
    assert numpy_helper.to_array(onnx.load(target).graph.initializer[0])[-1] == 1499


def test_data_of_an_input_stay(tmp_path: Path, linear: Linear) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    save_model(onnx_files.from_proto(linear()), target, force=False, limit=1000)
    source.write_bytes(target.read_bytes())  # refers to out.onnx.data as well

    save_model(load_model(source), target, force=True, inputs=(source,), limit=1000)

    assert load_model(source).graph.initializers["w"].const_value is not None
    assert (tmp_path / "out.onnx.data").is_file()


def test_a_foreign_file_of_that_name_is_left_alone(tmp_path: Path, linear: Linear) -> None:
    (tmp_path / "out.onnx.data").write_text("mine")
    save_model(onnx_files.from_proto(linear()), tmp_path / "out.onnx", force=False, limit=1000)
    assert (tmp_path / "out.onnx.data").read_text() == "mine"
    assert numpy_helper.to_array(onnx.load(tmp_path / "out.onnx").graph.initializer[0])[-1] == 1499


def test_large_constants_that_cannot_move_are_refused(tmp_path: Path, everything: onnx.ModelProto) -> None:
    model = onnx_files.from_proto(everything)
    with pytest.raises(InvalidModelError, match="turn its large Constant nodes into initializers"):
        save_model(model, tmp_path / "out.onnx", force=False, limit=10_000)
    assert not list(tmp_path.iterdir())
