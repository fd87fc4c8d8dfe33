"""What ``new operator`` writes: it says what the call has, fails until written, and is right once written."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from graphopt.core.errors import OutputError, UsageError
from graphopt.core.onnx_files import load_model
from graphopt.core.operator_catalogue import find_operator
from graphopt.core.plugins import load_plugin, plugin_scope
from graphopt.surgery import PassStep, Status, rewrite_file
from graphopt.surgery.lookup import find_node
from graphopt.surgery.scaffold.new_operator import NewOperator, new_operator

GRAPH = """<ir_version: 8, opset_import: ["" : 13, "acme" : 1]>
agraph (float[1,3,5,7] x, float[3] w) => (float[1,3,5,7] y) <float one = {1}> {
    [Relu_0] a = Relu (x)
    [ScaledTanh_1] b = DOMAIN.ScaledTanh <alpha = 0.5, mode = "soft", taps = [1, 2]> (a, , w)
    [Mul_2] c = Mul (b, one)
    [Identity_3] y = Identity (c)
}"""
UNWRITTEN = 'raise NotImplementedError("the body of ScaledTanh is not written yet")'
BODY = """factor = new.constant(np.array(alpha, dtype=np.float32))
    shift = new.constant(np.array(taps[1], dtype=np.float32))
    return [new.op("Add", new.op("Mul", new.op("Tanh", a), factor), shift)]"""


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with plugin_scope():
        yield


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx", "acme.")


def write_model(path: Path, domain: str) -> Path:
    onnx.save(onnx.parser.parse_model(GRAPH.replace("DOMAIN.", domain)), path)
    return path


def write(source: Path, folder: Path, node: str = "ScaledTanh_1", *, force: bool = False) -> NewOperator:
    model = load_model(source)
    return new_operator("scaled_tanh", model, find_node(model, node), folder, source=source, force=force)


def fill(folder: Path) -> None:
    place = folder / "scaled_tanh.py"
    place.write_text(place.read_text().replace(UNWRITTEN, BODY))


def spelling(file: Path) -> list[str]:
    """Return under which names the operator is written."""
    words = ("op_type=", "home=", "domains=")
    return [line.strip() for line in file.read_text().splitlines() if line.strip().startswith(words)]


def test_the_file_says_what_the_call_has(source: Path, tmp_path: Path) -> None:
    made = write(source, tmp_path / "own")
    assert [path.name for path in made.files] == ["scaled_tanh.py", "test_scaled_tanh.py", "graphopt.toml"]
    text = made.files[0].read_text()
    assert "Inputs: a float32 [1, 3, 5, 7]; input_1, left out here; w float32 [3]." in text
    assert 'alpha = call.number("alpha")  # 0.5 at this node' in text
    assert 'mode = call.text("mode")  # "soft" at this node' in text
    assert 'taps = call.integers("taps")  # (1, 2) at this node' in text
    test = made.files[1].read_text()
    assert 'ATTRIBUTES: dict[str, Any] = {"alpha": 0.5, "mode": "soft", "taps": (1, 2)}' in test
    assert "None,  # input_1" in test
    assert made.commands[1] == f"graphopt operators --in {source} --plugin {made.files[0]}"


def test_a_body_that_is_not_written_says_so_when_it_is_needed(source: Path, tmp_path: Path) -> None:
    made = write(source, tmp_path / "own")
    load_plugin(made.files[0])
    assert find_operator("ScaledTanh").home == "acme"
    with pytest.raises(NotImplementedError, match="the body of ScaledTanh is not written yet"):
        rewrite_file(source, tmp_path / "out.onnx", [PassStep("remove_trivial")])


@pytest.mark.parametrize("domain", ["acme.", ""])
def test_with_a_body_what_is_around_the_call_is_proven(tmp_path: Path, domain: str) -> None:
    source = write_model(tmp_path / "m.onnx", domain)
    made = write(source, tmp_path / "own")
    assert any("domain custom" in note for note in made.notes) is (domain == "")
    fill(tmp_path / "own")
    load_plugin(made.files[0])
    report = rewrite_file(
        source, tmp_path / "out.onnx", [PassStep("remove_trivial"), PassStep("static_shapes")]
    )
    assert report.verification.status is Status.PROVEN
    assert report.passes[0].modified
    assert [item.name for item in onnx.load(tmp_path / "out.onnx").functions] == ["ScaledTanh"]


@pytest.mark.torch
def test_its_own_test_fails_until_written_and_passes_then(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    made = write(source, tmp_path / "own")

    def run() -> None:
        runpy.run_path(str(made.files[1]))["test_the_body_computes_what_pytorch_does"]()

    with pytest.raises(NotImplementedError, match="the body of ScaledTanh is not written yet"):
        run()
    fill(tmp_path / "own")
    with pytest.raises(NotImplementedError, match="write with PyTorch what ScaledTanh computes"):
        run()
    text = made.files[1].read_text()
    unwritten = 'raise NotImplementedError("write with PyTorch what ScaledTanh computes")'
    made.files[1].write_text(text.replace(unwritten, "return a.tanh() * 0.5 + 2"))
    run()
    made.files[1].write_text(text.replace(unwritten, "return a.tanh() * 0.5 + 2.1"))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run()


@pytest.mark.parametrize(
    ("text", "node", "said"),
    [
        (GRAPH.replace("DOMAIN.", "acme."), "Relu_0", "is an operator of ONNX itself"),
        (
            GRAPH.replace("DOMAIN.", "acme.")
            + '<domain: "acme", opset_import: ["" : 13]> ScaledTanh (a, b, c) => (d) { d = Neg (a) }',
            "ScaledTanh_1",
            "is a call of a function in the model",
        ),
        (
            GRAPH.replace("DOMAIN.ScaledTanh", "RoiExtractor"),
            "ScaledTanh_1",
            "is known already: graphopt operators RoiExtractor",
        ),
    ],
)
def test_what_needs_no_new_operator_is_refused(tmp_path: Path, text: str, node: str, said: str) -> None:
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=said):
        write(tmp_path / "m.onnx", tmp_path / "own", node)
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("name", ["Scaled", "roi_extractor", "2x", "class"])
def test_a_name_that_cannot_be_used_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    model = load_model(source)
    with pytest.raises(UsageError, match=name):
        new_operator(name, model, find_node(model, "ScaledTanh_1"), tmp_path, source=source)


@pytest.mark.parametrize("domain", ["acme.", ""])
def test_files_are_replaced_only_by_force_and_then_anew(tmp_path: Path, domain: str) -> None:
    source = write_model(tmp_path / "m.onnx", domain)
    made = write(source, tmp_path / "own")
    before = spelling(made.files[0])
    fill(tmp_path / "own")
    load_plugin(made.files[0])
    with pytest.raises(OutputError, match=r"scaled_tanh\.py"):
        write(source, tmp_path / "own")
    write(source, tmp_path / "own", force=True)
    assert UNWRITTEN in made.files[0].read_text()
    assert spelling(made.files[0]) == before
