from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str, str], Path]

FRONT = """<ir_version: 8, opset_import: ["" : 13]>
front (float[2,3] x) => (float[2,3] features, float[2,3] aux) { features = Exp (x)  aux = Neg (x) }"""
BACK = """<ir_version: 8, opset_import: ["" : 13]>
back (float[2,3] input) => (float[2,3] y) { y = Neg (input) }"""


@pytest.fixture
def paths(write_model: Write) -> list[Path]:
    return [write_model(FRONT, "front.onnx"), write_model(BACK, "back.onnx")]


@pytest.mark.slow
def test_joins_and_proves(graphopt: Any, paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    answer = graphopt("concat", *paths, "-o", out, "--connect", "features=input")
    assert answer.code == 0, answer.err
    assert "front:features  back:input" in answer.out
    assert "the whole against its parts: proven, on 2 inputs" in answer.out
    again = graphopt("concat", *paths, "-o", out, "--connect", "features=input", "--force", "--json")
    assert again.json["connections"] == [{"tensor": "front:features", "input": "back:input"}]
    assert again.json["verification"]["status"] == "proven"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((), "no name fits; say what belongs together with --connect"),
        (("--connect", "feature=input"), "did you mean features"),
        (("--connect", "features=inptu"), "did you mean input"),
        (("--connect", "features"), "write OUTPUT=INPUT"),
        (("--connect", "features=input,aux=input"), "names the input input twice"),
    ],
)
def test_bad_connections_are_explained(
    graphopt: Any, paths: list[Path], tmp_path: Path, extra: tuple[str, ...], message: str
) -> None:
    answer = graphopt("concat", *paths, "-o", tmp_path / "out.onnx", *extra)
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "out.onnx").exists()


def test_a_file_that_is_no_model(graphopt: Any, paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.onnx").write_text("notes")
    answer = graphopt("concat", paths[0], tmp_path / "notes.onnx", "-o", tmp_path / "out.onnx")
    assert answer.code == 2
    assert "notes.onnx cannot be read: it is a text file" in answer.err
    assert "at least two" in graphopt("concat", paths[0], "-o", tmp_path / "out.onnx").err
