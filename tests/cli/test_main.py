"""The command line as a program: help, typos, exit codes, closed pipes, Ctrl-C."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx_ir as ir
import pytest

from graphopt.cli.group import VERBS
from graphopt.core.discovery import names_in

GRAPH = """
<ir_version: 8, opset_import: ["" : 11]>
agraph (float[1,3,5,7] x) => (float[1,3,5,7] y)
{
    pads = Constant <value = int64[8] {0,0,0,0,0,0,0,0}> ()
    padded = Pad (x, pads)
    y = Relu (padded)
}
"""


def graphopt(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "graphopt", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    ir.save(ir.from_onnx_text(GRAPH), path)
    return path


@pytest.mark.parametrize("verb", names_in(VERBS))
def test_every_verb_explains_itself_without_any_backend(verb: str) -> None:
    blocked = "torch,onnxruntime,onnx,onnx_ir,numpy,openvino,onnxsim,onnx_graphsurgeon,PIL,jinja2,rich"
    code = (
        "import sys\n"
        f"for name in {blocked.split(',')!r}: sys.modules[name] = None\n"
        f"sys.argv = ['graphopt', {verb!r}, '--help']\n"
        "from graphopt.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage: graphopt" in done.stdout
    assert "--json" in done.stdout


def test_help_lists_every_verb() -> None:
    done = graphopt("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in names_in(VERBS))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["aply", "x.onnx"], "did you mean apply?"),
        (["export", "deepmarr", "--demo"], "did you mean deepmar?"),
        (["recipes", "depmar"], "did you mean deepmar?"),
        (["passes", "remove_pads"], "did you mean remove_pad"),
        (["compile", "small.onnx", "--target", "openvin"], "did you mean openvino?"),
    ],
)
def test_a_typo_gets_the_nearest_name_and_exit_2(arguments: list[str], wanted: str, model: Path) -> None:
    done = graphopt(*arguments, cwd=model.parent)
    assert done.returncode == 2, done.stderr
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_pass_gets_the_nearest_name(model: Path) -> None:
    done = graphopt("apply", model, "--passes", "remove_pda")
    assert done.returncode == 2
    assert "did you mean remove_pad" in done.stderr


def test_a_misspelt_option_of_a_pass_lists_its_options(model: Path) -> None:
    done = graphopt("apply", model, "--passes", "set_batch:sizes=4")
    assert done.returncode == 2
    assert "size" in done.stderr


def test_an_option_of_the_wrong_type_is_refused(model: Path) -> None:
    done = graphopt("apply", model, "--passes", "set_batch:size=four")
    assert done.returncode == 2
    assert "four" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_users_own_line_works(model: Path) -> None:
    done = graphopt("apply", "small.onnx", "--passes", "remove_pad", cwd=model.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = ir.load(model.with_name("small.opt.onnx"))
    assert [node.op_type for node in result.graph] == ["Relu"]


def test_an_existing_output_is_kept_without_force(model: Path) -> None:
    output = model.with_name("small.opt.onnx")
    output.write_text("precious")
    done = graphopt("apply", model, "--passes", "remove_pad")
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert output.read_text() == "precious"
    assert graphopt("apply", model, "--passes", "remove_pad", "--force").returncode == 0
    assert output.read_bytes().startswith(b"\x08")


def test_json_is_the_only_thing_on_stdout(model: Path) -> None:
    done = graphopt("apply", model, "--passes", "remove_pad", "--json")
    content = json.loads(done.stdout)
    assert content["schema_version"] == 1
    assert content["verb"] == "apply"
    assert content["ok"] is True
    assert (content["nodes_before"], content["nodes_after"]) == (3, 1)


def test_an_error_is_json_too_when_asked_for(model: Path) -> None:
    done = graphopt("apply", model, "--passes", "nonsense", "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 2
    assert content["ok"] is False
    assert content["error"]["exit_code"] == 2
    assert content["error"]["message"] in done.stderr


def test_a_dry_run_writes_nothing(model: Path) -> None:
    before = sorted(model.parent.iterdir())
    done = graphopt("apply", model, "--passes", "remove_pad", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "nothing written" in done.stdout
    assert sorted(model.parent.iterdir()) == before


def test_a_closed_pipe_is_exit_141_without_noise(model: Path) -> None:
    argv = [sys.executable, "-m", "graphopt", "passes", "--json"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_a_full_stdout_is_said_and_is_exit_2() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "graphopt", "passes", "--json"]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGTERM, 143)]
)
def test_an_interruption_leaves_no_partial_output(model: Path, number: int, code: int) -> None:
    # Slow enough to be hit in the middle: many passes, each compared.
    passes = ",".join(["remove_pad", "simplify"] * 20)
    argv = [sys.executable, "-m", "graphopt", "apply", str(model), "--passes", passes, "--verify", "each"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1.2)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_doctor_names_what_is_there() -> None:
    done = graphopt("doctor", "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"onnx", "onnxruntime", "atc"} <= {item["name"] for item in content["items"]}


@pytest.mark.parametrize("verb", ["inspect", "apply", "why", "passes"])
def test_a_missing_package_of_the_core_is_no_bug(verb: str, model: Path) -> None:
    arguments = {"apply": [model, "--preset", "clean"], "why": ["remove_pad", model], "passes": []}
    argv = ["graphopt", verb, *map(str, arguments.get(verb, [model])), "--json"]
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnx_ir'): sys.modules[name] = None\n"
        f"sys.argv = {argv!r}\n"
        "from graphopt.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "is missing: install graphopt again" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 3


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_names_outside_the_encoding_stop_nothing(encoding: str, model: Path, tmp_path: Path) -> None:
    named = tmp_path / "mod\u00e8le \u2192.onnx"
    shutil.copy(model, named)
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    argv = [sys.executable, "-m", "graphopt", "inspect", str(named)]
    done = subprocess.run(argv, capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*argv, "--json"], capture_output=True, env=environment, timeout=60)
    assert json.loads(done.stdout.decode(encoding))["path"] == str(named)


@pytest.mark.parametrize("verb", ["inspect", "apply", "diff"])
def test_a_name_that_is_no_utf8_is_refused_before_anything_is_written(verb: str, tmp_path: Path) -> None:
    done = graphopt(verb, os.fsdecode(b"bad\xff.onnx"), "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert r"'bad\udcff.onnx' is not UTF-8; rename" in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 2
