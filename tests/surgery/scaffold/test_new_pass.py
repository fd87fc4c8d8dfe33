"""What ``new pass`` writes: it finds its node, fails until written, and is right once written."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import pytest

from graphopt.core.errors import OutputError, UsageError
from graphopt.core.plugins import load_plugin, plugin_scope
from graphopt.surgery import PassStep, Status, make_pass, rewrite_file
from graphopt.surgery.explaining import candidates_of
from graphopt.surgery.lookup import find_node
from graphopt.surgery.scaffold.new_pass import NewPass, new_pass

GRAPH = """
<ir_version: 8, opset_import: ["" : 13]>
agraph (float[1,3,5,7] x) => (float[1,3,5,7] y, float[1,3,5,7] z) <float one = {1}, float two = {2}>
{
    [Sigmoid_0] a = Sigmoid (x)
    [Mul_1] b = Mul (a, one)
    [Relu_2] y = Relu (b)
    [Sigmoid_3] c = Sigmoid (b)
    [Mul_4] d = Mul (c, two)
    [Mul_5] e = Mul (c, d)
    [Tanh_6] z = Tanh (e)
}
"""


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with plugin_scope():
        yield


@pytest.fixture
def source(tmp_path: Path) -> Path:
    ir.save(ir.from_onnx_text(GRAPH), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def write(
    source: Path, folder: Path, node: str = "Mul_1", *, surgeon: bool = False, force: bool = False
) -> NewPass:
    model = ir.from_onnx_text(GRAPH)
    return new_pass(
        "drop_one", model, find_node(model, node), folder, source=source, surgeon=surgeon, force=force
    )


EDIT = """for reader in list(node.outputs[0].outputs):
            reader.inputs[reader.inputs.index(node.outputs[0])] = node.inputs[0]
        node.outputs.clear()"""
REWRITES = {
    False: ('raise NotImplementedError("write rewrite() of drop_one")', "bypass(model, node)"),
    True: ('raise NotImplementedError("write edit() of drop_one")', EDIT),
}


@pytest.mark.parametrize("surgeon", [False, True])
def test_the_pass_finds_its_node_and_no_other_kind(source: Path, tmp_path: Path, surgeon: bool) -> None:
    made = write(source, tmp_path / "own", surgeon=surgeon)
    assert [path.name for path in made.files] == [
        *("drop_one.py", "test_drop_one.py", "drop_one.fixture.onnx", "graphopt.toml")
    ]
    load_plugin(made.files[0])
    found = candidates_of(lambda: ir.from_onnx_text(GRAPH), make_pass(PassStep("drop_one")))
    assert [(place.node, place.applies, place.reason) for place in found] == [
        ("Mul_1", True, "say what changes here"),
        ("Mul_4", False, "input 1 of Mul is 2.0"),
        ("Mul_5", False, "input 1 of Mul is computed at run time"),
    ]


@pytest.mark.parametrize("surgeon", [False, True])
def test_once_written_it_is_proven_on_the_model_and_on_the_fixture(
    source: Path, tmp_path: Path, surgeon: bool
) -> None:
    made = write(source, tmp_path / "own", surgeon=surgeon)
    text = made.files[0].read_text()
    old, new = REWRITES[surgeon]
    assert old in text
    made.files[0].write_text(text.replace(old, new))
    load_plugin(made.files[0])
    for model in (source, made.files[2]):
        report = rewrite_file(model, tmp_path / "out.onnx", [PassStep("drop_one")], force=True)
        assert [change.node for change in report.passes[0].applied] == ["Mul_1"]
        assert report.verification.status is Status.PROVEN


def run_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "."]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_test_fails_before_and_passes_after(source: Path, tmp_path: Path) -> None:
    made = write(source, tmp_path / "own")
    done = run_tests(tmp_path / "own")
    assert done.returncode == 1, done.stdout
    assert "3 failed" in done.stdout
    assert "NotImplementedError: write rewrite() of drop_one" in done.stdout
    made.files[0].write_text(made.files[0].read_text().replace(*REWRITES[False]))
    done = run_tests(tmp_path / "own")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.slow
def test_without_a_runnable_fixture_the_test_checks_the_structure(tmp_path: Path) -> None:
    text = GRAPH.replace('["" : 13]', '["" : 13, "vendor" : 1]').replace("Sigmoid (x)", "vendor.Odd (x)")
    model = ir.from_onnx_text(text)
    for node in model.graph:
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([1, 3, 5, 7])
    made = new_pass("drop_one", model, find_node(model, "Mul_1"), tmp_path, source=Path("m.onnx"))
    assert "onnxruntime does not run it" in made.notes[0]
    assert '_is(odd, "Odd", "vendor")' in made.files[0].read_text()
    made.files[0].write_text(made.files[0].read_text().replace(*REWRITES[False]))
    done = run_tests(tmp_path)
    assert "2 passed" in done.stdout, done.stdout


def test_nothing_of_the_users_is_replaced_unasked(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    write(source, folder)
    (folder / "drop_one.py").write_text("mine")
    with pytest.raises(OutputError, match="exists; use --force"):
        write(source, folder)
    assert (folder / "drop_one.py").read_text() == "mine"
    write(source, folder, force=True)
    assert (folder / "graphopt.toml").read_text() == 'plugins = ["drop_one.py"]\n'


def test_a_project_file_that_cannot_be_edited_is_left_and_said(source: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "graphopt.toml").write_text("plugins = [")
    made = write(source, tmp_path / "own")
    assert "was left as it is" in made.notes[0]
    assert "--plugin" in made.commands[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("remove_pad", "there is a pass called remove_pad"),
        ("Drop", "in lower case"),
        ("drop-one", "is no name for a pass"),
        ("class", "is no name for a pass"),
        ("_drop", "is no name for a pass"),
        ("../drop", "is no name for a pass"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(tmp_path: Path, name: str, said: str) -> None:
    model = ir.from_onnx_text(GRAPH)
    with pytest.raises(UsageError, match=said):
        new_pass(name, model, find_node(model, "Mul_1"), tmp_path / "own", source=Path("m.onnx"))
    assert not (tmp_path / "own").exists()
