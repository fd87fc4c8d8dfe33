"""Other people's simplifiers as one verified pass."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from graphopt.core import child
from graphopt.core.errors import MissingBackendError, PreconditionError
from graphopt.core.lineage import NODE_PASS
from graphopt.core.onnx_files import load_model
from graphopt.surgery import Status, parse_steps, rewrite_file
from graphopt.surgery.passes.simplify import Simplify

Write = Callable[[str, str], Path]
NO_SUITABLE = "other people's programs do what they do, once and on the whole model"
ENGINES = ("onnxsim", "onnxslim", "onnxscript")
WORDY = """
<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,4,4] x) => (float[1,48] y)
<float[3,3,1,1] w = {1,2,3,4,5,6,7,8,9}> {
    [id] a = Identity (x)
    [conv] b = Conv (a, w)
    [shape] s = Shape (x)
    zero = Constant <value_ints = [0]> ()
    n = Gather <axis = 0> (s, zero)
    minus = Constant <value_ints = [-1]> ()
    t = Concat <axis = 0> (n, minus)
    [flat] y = Reshape (b, t)
}
"""


@pytest.fixture
def wordy(write_text: Write) -> Path:
    return write_text(WORDY, "wordy.onnx")


@pytest.mark.filterwarnings("ignore")  # of the libraries, which run in a child outside tests
@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_simplifies_is_verified_and_finds_nothing_twice(
    wordy: Path, tmp_path: Path, engine: str
) -> None:
    pytest.importorskip(engine)
    step = parse_steps(f"simplify:engine={engine}")
    report = rewrite_file(wordy, tmp_path / "o.onnx", step)
    assert report.verification.status is Status.PROVEN
    assert sorted(report.ops_after) == ["Conv", "Reshape"]
    changes = {change.op_type: change.what for change in report.passes[0].applied}
    assert changes["Identity"] == "1 -> 0 nodes"
    conv = next(node for node in load_model(tmp_path / "o.onnx").graph if node.op_type == "Conv")
    assert NODE_PASS not in conv.metadata_props
    again = rewrite_file(tmp_path / "o.onnx", None, step)
    assert again.passes[0].warning == "matched nothing"


@pytest.mark.parametrize("engine", ["onnxslim", "onnxscript"])
def test_a_missing_library_is_named_with_its_extra(
    wordy: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(MissingBackendError, match=r"graphopt\[simplifiers\]") as caught:
        rewrite_file(wordy, None, parse_steps(f"simplify:engine={engine}"))
    assert caught.value.exit_code == 3


def test_a_crash_of_the_library_is_a_finding(wordy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*arguments: Any, **limits: Any) -> Any:
        raise child.ChildCrashed("_simplify crashed with SIGSEGV")

    monkeypatch.setattr(child, "call", crash)
    with pytest.raises(PreconditionError, match=r"onnxsim fails on this model: .*SIGSEGV"):
        Simplify().run(load_model(wordy))


def test_weights_over_two_gigabytes_are_refused_before_they_are_read(wordy: Path) -> None:
    model = load_model(wordy)

    def never() -> Any:
        raise AssertionError("read")

    tensor = ir.LazyTensor(never, dtype=ir.DataType.FLOAT, shape=ir.Shape([1 << 29]), name="huge")
    model.graph.initializers["huge"] = ir.Value(name="huge", const_value=tensor)
    with pytest.raises(PreconditionError, match=r"2,147,483,6.. bytes of weights"):
        Simplify().run(model)


@pytest.mark.shared
def test_onnxsim_on_deepmar_is_quiet_and_proven(
    filled_deepmar: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = rewrite_file(filled_deepmar, tmp_path / "o.onnx", parse_steps("simplify"))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert report.nodes_after <= 122
    assert report.verification.status is Status.PROVEN
    assert len(onnx.load(tmp_path / "o.onnx", load_external_data=False).graph.node) == report.nodes_after
