"""``graphopt operators`` and ``graphopt new operator``: words, exit codes, JSON, the way between them."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

Graphopt = Callable[..., Any]
GRAPH = """<ir_version: 8, opset_import: ["" : 13, "acme" : 1]>
agraph (float[1,3,5,7] x) => (float[1,3,5,7] y) {
    [Scale_1] a = acme.HTTPScale <factor = 0.5> (x)
    [Identity_2] b = Identity (a)
    [Scale_3] y = acme.HTTPScale <factor = 2.0> (b)
}"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(onnx.parser.parse_model(GRAPH), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    return Path("m.onnx")


def test_all_are_listed(graphopt: Graphopt) -> None:
    answer = graphopt("operators")
    assert answer.code == 0
    (line,) = [line for line in answer.out.splitlines() if line.startswith("MMCVDeformConv2d ")]
    assert line.split()[1:5] == ["exporters", "mmcv,", "default,", "mmdeploy"]


def test_one_is_shown_with_its_limits(graphopt: Graphopt) -> None:
    answer = graphopt("operators", "batchmulticlassnms")
    assert answer.code == 0
    assert "  Body: standard operators; it runs here\n" in answer.out
    assert "  Limits: at most 1000 boxes" in answer.out
    assert "max_total_size" in answer.out


def test_json_of_all_and_of_one(graphopt: Graphopt) -> None:
    names = [item["name"] for item in graphopt("operators", "--json").json["operators"]]
    assert names == sorted(names, key=str.lower)
    assert graphopt("operators", "RoiExtractor", "--json").json["operator"]["home"] == "npu"


@pytest.mark.parametrize(
    "options", [("RoiExtractor", "--markdown"), ("--markdown", "--json"), ("--in", "m.onnx", "--markdown")]
)
def test_options_that_exclude_each_other(graphopt: Graphopt, options: tuple[str, ...]) -> None:
    assert graphopt("operators", *options).code == 2


def test_a_model_of_standard_operators(graphopt: Graphopt, model: Path) -> None:
    onnx.save(
        onnx.parser.parse_model(
            GRAPH.replace("acme.HTTPScale <factor = 0.5>", "Relu").replace(
                "acme.HTTPScale <factor = 2.0>", "Relu"
            )
        ),
        model,
    )
    answer = graphopt("operators", "--in", model)
    assert (answer.code, answer.out) == (0, "m.onnx has none but standard operators\n")


def test_from_an_unknown_operator_to_a_proven_rewrite(graphopt: Graphopt, model: Path) -> None:
    answer = graphopt("operators", "--in", model)
    assert answer.code == 1
    assert "acme::HTTPScale      2  nobody" in answer.out
    (advice,) = [line for line in answer.out.splitlines() if line.startswith("describe it: ")]
    command = shlex.split(advice.removeprefix("describe it: graphopt "))
    assert command == ["new", "operator", "http_scale", "--from", "m.onnx", "--node", "Scale_1"]
    answer = graphopt(*command)
    assert answer.code == 0
    assert "HTTPScale has 2 calls in m.onnx" in answer.out
    answer = graphopt("apply", model, "--passes", "remove_identity")
    assert answer.code == 2
    assert "http_scale.py" in answer.err
    assert "the body of HTTPScale is not written yet" in answer.err
    file = Path("http_scale.py")
    text = file.read_text().replace(
        'raise NotImplementedError("the body of HTTPScale is not written yet")',
        'return [new.op("Mul", x, new.constant(np.array(factor, dtype=np.float32)))]',
    )
    file.write_text(text)
    answer = graphopt("apply", model, "--passes", "remove_identity")
    assert answer.code == 0, answer.err
    assert "verification: proven" in answer.out
    answer = graphopt("operators", "--in", "m.opt.onnx", "--json")
    assert answer.code == 0
    assert [(item["name"], item["count"]) for item in answer.json["known"]] == [("HTTPScale", 2)]


def test_json_of_strangers_and_of_what_was_written(graphopt: Graphopt, model: Path) -> None:
    answer = graphopt("operators", "--in", model, "--json")
    assert answer.json["unknown"] == [{"domain": "acme", "name": "HTTPScale", "count": 2, "node": "Scale_1"}]
    answer = graphopt("new", "operator", "scale", "--from", model, "--node", "Scale_3", "--json")
    assert answer.json["files"] == ["scale.py", "test_scale.py", "graphopt.toml"]
    assert answer.json["calls"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("operators", "Nms"), "unknown operator 'Nms'"),
        (("operators", "--in", "n.onnx"), "did you mean m.onnx"),
        (("new", "operator", "scale", "--from", "m.onnx", "--node", "Scale_2"), "did you mean"),
    ],
)
def test_what_is_typed_wrong(graphopt: Graphopt, model: Path, arguments: tuple[str, ...], said: str) -> None:
    answer = graphopt(*arguments)
    assert answer.code == 2
    assert said in answer.err
