"""``graphopt support`` as its user sees it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx.parser
import pytest

Call = Callable[..., Any]
Write = Callable[[str, str], Path]

HEAD = '<ir_version: 8, opset_import: ["" : 11]> net (float[1,5,8,9] x) => (float[1,5,8,9] y) '
FINE = HEAD + "{ y = Relu(x) }"
BAD = HEAD + "{ h = Selu<alpha=1.5>(x) y = Relu(h) }"
MENDABLE = HEAD + "<float[5,1,1] s = {1, 2, 3, 4, 5}> { y = PRelu(x, s) }"
AIM = ("--soc", "310P3", "--cann", "6.0.1")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_fine_model_is_exit_0_and_the_next_step_compiles(graphopt: Call, write_model: Write) -> None:
    done = graphopt("support", write_model(FINE, "fine.onnx"), *AIM)
    assert done.code == 0
    assert "fine.onnx for Ascend310P3, CANN 6.0.1: 1 fine\n" in done.out
    assert "fine: Relu 1" in done.out
    assert "needs attention" not in done.out
    assert done.out.splitlines()[-1].startswith("next: graphopt compile ")


def test_an_unsupported_node_is_exit_1_with_reason_and_source(graphopt: Call, write_model: Write) -> None:
    done = graphopt("support", write_model(BAD, "bad.onnx"), *AIM)
    assert done.code == 1
    assert "1 fine, 1 unsupported" in done.out
    row = next(line for line in done.out.splitlines() if line.startswith("unsupported"))
    assert (
        row.split()
        == "unsupported Selu 1 alpha 1.5; only the default is taken y - OPS".replace(" y ", " h ").split()
    )
    assert "OPS  hicann" in done.out
    assert "Nothing here ran on a device" in done.out
    assert "--record ok" in done.out.splitlines()[-2]
    assert done.out.splitlines()[-1].endswith("--node NODE")


def test_what_mends_is_named_and_applied(graphopt: Call, write_model: Write, tmp_path: Path) -> None:
    model = write_model(MENDABLE, "net.onnx")
    done = graphopt("support", model, *AIM)
    assert done.code == 1
    assert "prelu_slope" in done.out
    assert f"next: graphopt support {model} --soc Ascend310P3 --cann 6.0.1 --fix" in done.out
    done = graphopt("support", model, *AIM, "--fix")
    assert (done.code, done.err) == (0, "")
    assert "passes: prelu_slope" in done.out
    assert "verification: proven" in done.out
    assert graphopt("support", tmp_path / "net.opt.onnx", *AIM).code == 0
    again = graphopt("support", model, *AIM, "--fix")
    assert again.code == 2
    assert "--force" in again.err
    forced = graphopt("support", model, *AIM, "--fix", "--force", "--json").json
    assert forced["ok"]
    assert forced["passes"] == [{"name": "prelu_slope", "options": {}}]
    assert (forced["counts_before"]["unsupported"], forced["counts"]["unsupported"]) == (1, 0)


def test_fix_without_anything_that_mends_writes_nothing(
    graphopt: Call, write_model: Write, tmp_path: Path
) -> None:
    done = graphopt("support", write_model(BAD, "bad.onnx"), *AIM, "--fix", "-o", tmp_path / "out.onnx")
    assert done.code == 1
    assert "no pass of the catalogue mends what is left; nothing is written" in done.out
    done = graphopt("support", write_model(FINE, "fine.onnx"), *AIM, "--fix", "-o", tmp_path / "out.onnx")
    assert done.code == 0
    assert "nothing is to be mended" in done.out
    assert not (tmp_path / "out.onnx").exists()


def test_json_holds_every_node(graphopt: Call, write_model: Write) -> None:
    done = graphopt("support", write_model(BAD, "bad.onnx"), *AIM, "--json")
    assert done.code == 1
    assert (done.json["ok"], done.json["verb"], done.json["cann"]) == (False, "support", "6.0.1")
    assert [node["operator"] for node in done.json["nodes"]] == ["Selu", "Relu"]
    assert done.json["nodes"][0]["findings"][1]["mended_by"] is None


def test_one_node_and_all_nodes(graphopt: Call, write_model: Write) -> None:
    model = write_model(BAD, "bad.onnx")
    done = graphopt("support", model, *AIM, "--node", "y")
    assert done.code == 0
    assert "y: Relu at opset 11: fine" in done.out
    assert "registered for opset 11 in mid-2022" in done.out
    assert graphopt("support", model, *AIM, "--node", "h").code == 1
    assert graphopt("support", model, *AIM, "--node", "h", "--json").json["verdict"] == "unsupported"
    done = graphopt("support", model, *AIM, "--node", "z")
    assert done.code == 2
    done = graphopt("support", model, *AIM, "--all", "--no-trial")
    assert "\ny     Relu      fine         registered for opset 11 in mid-2022\n" in done.out
    assert "without --no-trial" in done.out.splitlines()[-2]


def test_records_decide_and_are_said(graphopt: Call, write_model: Write, tmp_path: Path) -> None:
    model = write_model(FINE, "fine.onnx")
    old = ("--soc", "310P3", "--cann", "5.0.4")
    assert "1 unknown" in graphopt("support", model, *old).out
    done = graphopt("support", model, *old, "--record", "ok", "--note", "box 3")
    assert done.code == 0
    assert "1 record added" in done.out
    assert "Relu at opset 11: fine" in done.out
    assert 'note = "box 3"' in (tmp_path / "graphopt-support.toml").read_text()
    done = graphopt("support", model, *old)
    assert "1 fine" in done.out
    assert "graphopt-support.toml were heeded" in done.out
    assert "recorded here: compiles (box 3)" in graphopt("support", model, *old, "--node", "y").out
    done = graphopt("support", model, *old, "--record", "ok", "--json")
    assert done.json["added"] == []


def test_without_a_release_both_dates_count(graphopt: Call, write_model: Write) -> None:
    done = graphopt("support", write_model(FINE, "fine.onnx"), "--soc", "310P3")
    assert done.code == 0
    assert "note: no --cann" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--soc", "310P"), "is a family"),
        (("--soc", "310P3", "--cann", "six"), "takes a release"),
        ((), "--soc"),
        ((*AIM, "--fix", "--record", "ok"), "exclude each other"),
        ((*AIM, "-o", "x.onnx"), "are for --fix"),
        (("--soc", "310P3", "--record", "ok"), "needs --cann"),
        ((*AIM, "--record", "no.log"), "takes 'ok' or the log"),
    ],
)
def test_wrong_usage_is_exit_2(
    graphopt: Call, write_model: Write, arguments: tuple[str, ...], message: str
) -> None:
    done = graphopt("support", write_model(FINE, "fine.onnx"), *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_missing_or_broken_file_is_exit_2(graphopt: Call, tmp_path: Path) -> None:
    assert graphopt("support", tmp_path / "none.onnx", *AIM).code == 2
    (tmp_path / "text.onnx").write_text("hello")
    done = graphopt("support", tmp_path / "text.onnx", *AIM)
    assert done.code == 2
    assert "text.onnx" in done.err


def test_broken_records_are_exit_2(graphopt: Call, write_model: Write, tmp_path: Path) -> None:
    (tmp_path / "graphopt-support.toml").write_text("record = 3")
    done = graphopt("support", write_model(FINE, "fine.onnx"), *AIM)
    assert done.code == 2
    assert "graphopt-support.toml" in done.err


def test_compile_stops_with_exit_1(graphopt: Call, write_model: Write, tmp_path: Path) -> None:
    model = write_model(BAD, "bad.onnx")
    command = ("compile", model, "--target", "atc", *AIM, "--script-only", "-o", tmp_path / "out")
    done = graphopt(*command)
    assert done.code == 1
    assert "h (Selu): alpha 1.5" in done.err
    assert not (tmp_path / "out").exists()
    done = graphopt(*command, "--allow-unsupported")
    assert done.code == 0
    assert "note: ATC would refuse bad.onnx" in done.out


def test_models_are_as_onnx_reads_them() -> None:
    for text in (FINE, BAD, MENDABLE):
        onnx.checker.check_model(onnx.parser.parse_model(text))


def test_the_project_file_names_chip_and_release(graphopt: Call, write_model: Write, tmp_path: Path) -> None:
    (tmp_path / "graphopt.toml").write_text('[defaults.support]\nsoc = "310P3"\ncann = "6.0.1"\n')
    done = graphopt("support", write_model(FINE, "fine.onnx"))
    assert done.code == 0
    assert "for Ascend310P3, CANN 6.0.1: 1 fine" in done.out


def test_an_open_batch_is_said_with_what_closes_it(graphopt: Call, write_model: Write) -> None:
    model = write_model(FINE.replace("float[1,5", "float[n,5"), "open.onnx")
    done = graphopt("support", model, *AIM)
    assert done.code == 0
    assert "the model as a whole: 1 restricted" in done.out
    assert "set_batch:size=N" in done.out
    assert done.out.splitlines()[-1].endswith("--cann 6.0.1 --batch 1")
