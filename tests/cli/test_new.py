"""``graphopt new``: the files, the commands it prints, and that these commands work."""

import json
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from graphopt import cli

GRAPH = """
<ir_version: 8, opset_import: ["" : 13]>
agraph (float[1,3,5,7] x) => (float[1,3,5,7] y) <float one = {1}>
{
    [Sigmoid_0] a = Sigmoid (x)
    [Mul_1] b = Mul (a, one)
    [Relu_2] y = Relu (b)
}
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``graphopt`` in a folder with the model ``m.onnx``."""
    ir.save(ir.from_onnx_text(GRAPH), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["graphopt", *arguments])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return run


def commands(out: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in out.splitlines() if line.startswith("  graphopt ")]


def write(path: Path) -> None:
    text = path.read_text()
    path.write_text(
        text.replace('raise NotImplementedError("write rewrite() of drop_one")', "bypass(model, node)")
    )


def test_a_pass_from_nothing_to_a_proven_model(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("new", "pass", "drop_one", "--from", "m.onnx", "--node", "Mul_1")
    assert code == 0
    assert "pytest test_drop_one.py" in out
    why, apply = commands(out)
    code, said, _ = call(*why)
    assert code == 0
    assert "it applies at 1 of 1 candidate\n" in said
    code, _, err = call(*apply)
    assert code == 2
    assert "NotImplementedError: write rewrite() of drop_one" in err
    write(tmp_path / "drop_one.py")
    code, said, err = call(*apply)
    assert code == 0, err
    assert "verification: proven" in said


def test_in_another_folder_the_commands_name_the_file(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("new", "pass", "drop_one", "--from", "m.onnx", "--node", "b", "-o", "my passes")
    assert code == 0
    _, apply = commands(out)
    assert apply[-2:] == ["--plugin", "my passes/drop_one.py"]
    write(tmp_path / "my passes" / "drop_one.py")
    assert call(*apply)[0] == 0


def test_after_other_passes(call: Call, tmp_path: Path) -> None:
    code, _, err = call(
        *("new", "pass", "drop_one", "--from", "m.onnx", "--node", "Mul_1", "--after", "remove_identity")
    )
    assert code == 0, err
    assert (tmp_path / "drop_one.fixture.onnx").is_file()


def test_a_recipe_from_nothing_to_a_report(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("new", "recipe", "mine", "--from", "m.onnx", "--json")
    assert code == 0
    content = json.loads(out)
    assert content["files"] == ["mine.py", "graphopt.toml"]
    _, pipeline = (shlex.split(line)[1:] for line in content["commands"])
    code, out, err = call(*pipeline, "--targets", "onnxruntime")
    assert code == 0, err
    assert "verdict: passed" in out
    assert (tmp_path / "out" / "mine" / "report.html").is_file()
    code, _, err = call("pipeline", "mine", "--checkpoint", "c.pth")
    assert code == 2
    assert "--checkpoint needs what the recipe mine lacks: build" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pas", "x"), "pas"),
        (("pass", "remove_pad", "--from", "m.onnx", "--node", "Mul_1"), "there is a pass called remove_pad"),
        (("pass", "drop_one", "--from", "m.onnx", "--node", "Mul_2"), "did you mean Mul_1"),
        (("pass", "drop_one", "--from", "n.onnx", "--node", "Mul_1"), "n.onnx"),
        (("pass", "drop_one", "--from", "m.onnx"), "--node"),
        (("recipe", "deepmar", "--from", "m.onnx"), "there is a recipe called deepmar"),
    ],
)
def test_mistakes_are_said_and_leave_nothing(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = call("new", *arguments)
    assert code == 2
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
