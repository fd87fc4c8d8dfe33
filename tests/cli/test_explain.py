"""``graphopt explain``: where a log comes from, exit codes, words, JSON."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Graphopt = Callable[..., Any]
EINSUM = "E19010: No parser is registered for Op [Einsum_1, optype [ai.onnx::11::Einsum]].\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "atc.log"
    path.write_text(f"ATC start working now\nATC run failed, Please check\n{EINSUM}")
    return path


def test_a_failed_run_is_explained_with_a_command(graphopt: Graphopt, log: Path) -> None:
    answer = graphopt("explain", log)
    assert answer.code == 1
    assert f"{log}: ATC failed; 1 cause in 3 lines\n" in answer.out
    assert "operator Einsum: Einsum_1\n" in answer.out
    assert "try: graphopt apply MODEL --passes decompose_einsum\n" in answer.out


def test_several_causes_end_with_one_command_for_all(graphopt: Graphopt, log: Path) -> None:
    log.write_text(EINSUM + EINSUM.replace("Einsum", "Gelu"))
    answer = graphopt("explain", log)
    assert answer.out.index("1. E19010") < answer.out.index("2. E19010")
    assert "all together: graphopt apply MODEL --passes decompose_gelu,decompose_einsum\n" in answer.out


def test_json_has_all_of_it(graphopt: Graphopt, log: Path) -> None:
    answer = graphopt("explain", log, "--json")
    assert answer.code == 1
    content = answer.json
    assert content["ok"] is False
    assert content["outcome"] == "failed"
    (finding,) = content["findings"]
    assert (finding["code"], finding["kind"], finding["line"]) == ("E19010", "cause", 3)
    assert finding["nodes"] == [{"node": "Einsum_1", "op_type": "Einsum", "opset": 11, "reason": ""}]
    assert [item["name"] for item in finding["passes"]] == ["decompose_einsum"]
    assert content["command"].endswith("--passes decompose_einsum")


def test_standard_input(graphopt: Graphopt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(EINSUM))
    answer = graphopt("explain", "-")
    assert answer.code == 1
    assert answer.out.startswith("stdin: no word of how it ended; 1 cause in 1 line\n")


def test_the_text_itself(graphopt: Graphopt) -> None:
    answer = graphopt("explain", EINSUM)
    assert answer.code == 1
    assert "decompose_einsum" in answer.out


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("E10016", 0, "graphopt inspect"),
        ("ez3003", 0, "int64"),
        ("E10999", 1, "not known"),
        ("EX0001", 1, "not know"),
    ],
)
def test_a_code_is_looked_up(graphopt: Graphopt, code: str, exit_code: int, said: str) -> None:
    answer = graphopt("explain", code)
    assert answer.code == exit_code
    assert answer.out.startswith(f"{code.upper()}: ")
    assert said in answer.out


def test_a_good_run_is_good_also_with_warnings(graphopt: Graphopt, log: Path) -> None:
    log.write_text("ATC run success, welcome\nW11001: Op [Mod_1] does not hit the high-priority operator\n")
    answer = graphopt("explain", log)
    assert answer.code == 0
    assert "ATC succeeded; 1 warning in 2 lines" in answer.out
    assert "nodes: Mod_1" in answer.out


def test_a_log_without_anything_wrong_says_so(graphopt: Graphopt, log: Path) -> None:
    log.write_text("ATC start working now, please wait for a moment.\n")
    answer = graphopt("explain", log)
    assert answer.code == 0
    assert "no known error in 1 line" in answer.out


def test_what_is_unknown_is_shown_as_it_stands(graphopt: Graphopt, log: Path) -> None:
    log.write_text("hello\nthe flux failed\n")
    answer = graphopt("explain", log)
    assert answer.code == 1
    assert "graphopt does not know what this means" in answer.out
    assert "line 2: the flux failed" in answer.out


def test_a_failure_without_a_word_points_to_the_plog(graphopt: Graphopt, log: Path) -> None:
    log.write_text("ATC run failed, Please check the detail log\n")
    answer = graphopt("explain", log)
    assert answer.code == 1
    assert "plog" in answer.out


def test_a_check_report_is_recognised(graphopt: Graphopt, tmp_path: Path) -> None:
    path = tmp_path / "check_result.json"
    path.write_text('{"result": "failed", "op": [{"name": "a", "type": "F", "cause": [{"message": "no"}]}]}')
    answer = graphopt("explain", path)
    assert answer.code == 1
    assert "operator F: a" in answer.out


@pytest.mark.parametrize("name", ["nothing.log", "E1001"])
def test_a_missing_file_is_bad_input(graphopt: Graphopt, name: str) -> None:
    answer = graphopt("explain", name)
    assert answer.code == 2
    assert f"there is no file {name}" in answer.err


def test_a_folder_is_answered_with_its_newest_log(graphopt: Graphopt, log: Path) -> None:
    answer = graphopt("explain", log.parent)
    assert answer.code == 2
    assert str(log) in answer.err


def test_a_model_is_no_log(graphopt: Graphopt, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08")
    answer = graphopt("explain", tmp_path / "m.onnx")
    assert answer.code == 2
    assert "graphopt support" in answer.err


def test_an_empty_log_is_bad_input(graphopt: Graphopt, log: Path) -> None:
    log.write_text("")
    answer = graphopt("explain", log)
    assert answer.code == 2
    assert "is empty" in answer.err


def test_bytes_that_are_no_text_are_read_as_well(graphopt: Graphopt, log: Path) -> None:
    log.write_bytes(b"\xff\xfe\x00" * 100 + b"\n" + EINSUM.encode())
    assert graphopt("explain", log).code == 1
