"""``graphopt why``: exit codes, words, JSON."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from graphopt import cli

GRAPH = """
<ir_version: 8, opset_import: ["" : 13]>
agraph (float[1,3,5,7] x) => (float[1,3,5,7] y) <int64[8] zeros = {0,0,0,0,0,0,0,0}>
{
    [Pad_0] a = Pad (x, zeros)
    [Identity_1] b = Identity (a)
    [Relu_2] y = Relu (b)
}
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``graphopt why`` in a folder with the model ``m.onnx``."""
    ir.save(ir.from_onnx_text(GRAPH), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["graphopt", "why", *arguments])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return run


def test_a_node_where_it_applies(call: Call) -> None:
    code, out, _ = call("remove_pad", "m.onnx", "--node", "Pad_0")
    assert code == 0
    assert out.startswith("remove_pad at Pad Pad_0: applies: the 8 pads are all zero\n")
    assert "read by Identity Identity_1" in out


def test_a_node_it_never_looks_at(call: Call) -> None:
    code, out, _ = call("remove_pad", "m.onnx", "--node", "Relu_2")
    assert code == 1
    assert "it looks for: x[N,C,H,W] -> Pad" in out
    assert "nearest candidate: Pad Pad_0, 2 away; applies" in out


def test_all_candidates_and_none(call: Call) -> None:
    code, out, _ = call("remove_pad", "m.onnx")
    assert code == 0
    assert "it applies at 1 of 1 candidate\n" in out
    code, out, _ = call("remove_pad", "m.onnx", "--after", "remove_pad")
    assert code == 1
    assert "it applies at 0 of 0 candidates" in out


def test_json_says_the_same(call: Call) -> None:
    code, out, _ = call("remove_pad", "m.onnx", "--node", "y", "--json")
    content = json.loads(out)
    assert code == 1
    assert (content["ok"], content["verdict"], content["distance"]) == (False, "not considered", 2)
    assert content["node"]["ports"][1]["other"] == "read by an output of the graph"
    code, out, _ = call("remove_pad", "m.onnx", "--json")
    assert json.loads(out)["candidates"][0]["applies"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("remove_pads", "m.onnx"), "did you mean remove_pad"),
        (("remove_pad", "n.onnx"), "n.onnx"),
        (("remove_pad", "m.onnx", "--node", "Rely_2"), "did you mean Relu_2"),
        (("remove_pad,remove_identity", "m.onnx"), "give those before it with --after"),
        (("remove_pad", "m.onnx", "--node", "Pad_0", "--after", "remove_pad"), "(after remove_pad)"),
    ],
)
def test_bad_input_is_said(call: Call, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert said in err
