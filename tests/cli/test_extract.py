from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TEXT = """<ir_version: 8, opset_import: ["" : 13]>
g (float[2,3,5] x) => (float[2,3,5] y) <float[5] w = {1,2,3,4,5}> {
    [first] a = Mul (x, w)
    [second] b = Exp (a)
    [third] y = Neg (b)
}"""


@pytest.fixture
def model(write_model: Callable[[str, str], Path]) -> Path:
    return write_model(TEXT, "m.onnx")


def test_writes_the_part_beside_the_model(graphopt: Any, model: Path) -> None:
    answer = graphopt("extract", model, "--inputs", "first:0", "--outputs", "b")
    assert answer.code == 0, answer.err
    assert "m.part.onnx: 1 of 3 nodes" in answer.out
    assert model.with_name("m.part.onnx.json").is_file()


def test_cuts_around_a_node(graphopt: Any, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.onnx"
    answer = graphopt("extract", model, "--node", "second", "--radius", 1, "-o", out, "--json")
    assert (answer.code, answer.json["nodes"]) == (0, 3)
    assert [spec["name"] for spec in answer.json["inputs"]] == ["x"]


def test_saved_values_are_data_for_the_part(graphopt: Any, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.onnx"
    data = tmp_path / "data.npz"
    np.savez(data, x=np.ones((2, 3, 5), np.float32))
    arguments = ("--inputs", "a", "--outputs", "y", "-o", out)
    answer = graphopt("extract", model, *arguments, "--values", "--data", data)
    assert answer.code == 0, answer.err
    assert "part against whole: proven, on 1 sample (" in answer.out
    again = graphopt("apply", out, "--passes", "remove_identity", "--data", tmp_path / "part.npz")
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what to cut"),
        (("--node", "second", "--outputs", "y"), "say what to cut"),
        (("--inputs", "a"), "--outputs"),
        (("--outputs", "y", "--data", "d.npz"), "only used with --values"),
        (("--inputs", "secnod:0", "--outputs", "y"), "did you mean second:0"),
        (("--node", "secnd"), "did you mean second"),
        (("--inputs", "y", "--outputs", "b"), "output b does not depend on"),
    ],
)
def test_bad_usage_is_explained(graphopt: Any, model: Path, arguments: tuple[str, ...], message: str) -> None:
    answer = graphopt("extract", model, *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert not model.with_name("m.part.onnx").exists()
