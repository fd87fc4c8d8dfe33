from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from graphopt.compile.graph_facts import read_facts
from graphopt.core.errors import InvalidModelError
from graphopt.core.tensors import TensorSpec


def test_facts_of_a_small_graph(model_file: Callable[..., Path], dynamic_text: str) -> None:
    path = model_file(dynamic_text)
    facts = read_facts(path)
    assert facts.inputs == (TensorSpec(name="image", shape=("batch", 3, 5, 7), dtype="float32"),)
    assert [spec.name for spec in facts.outputs] == ["logits", "halved"]
    assert facts.nodes == {"Mul_0": ("halved",), "Relu_1": ("logits",)}
    assert facts.tensors == {"halved", "logits"}
    assert facts.op_types == {"Mul", "Relu"}
    assert (facts.opsets[""], facts.ir_version) == (11, 8)
    assert facts.size_bytes == path.stat().st_size
    assert facts.functions == facts.duplicates == ()


def test_duplicate_names_are_found_also_against_inputs(model_file: Callable[..., Path]) -> None:
    path = model_file()
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = "image"
    onnx.save(model, path)
    assert read_facts(path).duplicates == ("image",)


def test_functions_and_foreign_operators(model_file: Callable[..., Path]) -> None:
    path = model_file("""
        <ir_version: 8, opset_import: ["" : 11, "own" : 1]>
        tiny (float[1] x) => (float[1] y) { y = own.Twice(x) }
        <domain: "own", opset_import: ["" : 11]>
        Twice (a) => (b) { b = Add(a, a) }
    """)
    facts = read_facts(path)
    assert facts.functions == ("own::Twice",)
    assert facts.op_types == {"own::Twice"}


def test_operators_inside_subgraphs_count(model_file: Callable[..., Path]) -> None:
    path = model_file("""
        <ir_version: 8, opset_import: ["" : 11]>
        tiny (float[2] x, bool c) => (float[2] y) {
            y = If (c) <
                then_branch = yes () => (float[2] a) { a = Neg(x) },
                else_branch = no () => (float[2] b) { b = Abs(x) }
            >
        }
    """)
    assert read_facts(path).op_types == {"If", "Neg", "Abs"}


def test_weights_in_another_file_count(model_file: Callable[..., Path], tmp_path: Path) -> None:
    path = model_file()
    model = onnx.load(path)
    weight = onnx.numpy_helper.from_array(np.zeros((100, 100), np.float32), "big")
    model.graph.initializer.append(weight)
    onnx.save(model, path, save_as_external_data=True, location="big.data", size_threshold=100)
    assert path.stat().st_size < 40_000 < read_facts(path).size_bytes


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="does not exist"):
        read_facts(tmp_path / "nowhere.onnx")
