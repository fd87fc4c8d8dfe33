import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from graphopt.compile.targets.atc import AtcTarget
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import MissingBackendError, OutputError, ToolFailure, UsageError
from graphopt.core.files import sha256_of
from graphopt.core.tensors import TensorSpec

ModelFile = Callable[..., Path]
FakeTool = Callable[[str], None]
TARGET = AtcTarget(soc="310P3", timeout_s=60)
TINY_CALL = (
    "atc --model=tiny.onnx --framework=5 --output=tiny_bs1 --input_format=NCHW "
    '--input_shape="image:1,3,5,7" --log=error --soc_version=Ascend310P3'
)


@pytest.fixture
def fake_atc(fake_tool: FakeTool, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def behave(mode: str) -> None:
        fake_tool("atc")
        monkeypatch.setenv("FAKE_ATC", mode)

    return behave


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(".") or p.name == "kernel_meta")


# plan


def test_plan_holds_the_call_and_writes_nothing(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file()
    before = sorted(tmp_path.iterdir())
    plan = TARGET.plan(model, tmp_path / "tiny_bs1.om")
    assert TINY_CALL in plan.script
    assert plan.argv[0] == "atc"
    assert plan.files == {"tiny_bs1.atc.sh": plan.script}
    assert str(tmp_path) not in plan.script
    assert json.loads(json.dumps(plan.to_json()))["argv"] == list(plan.argv)
    assert sorted(tmp_path.iterdir()) == before


def test_plan_fills_open_sizes_with_what_is_asked_for(
    model_file: ModelFile, dynamic_text: str, tmp_path: Path
) -> None:
    model = model_file(dynamic_text)
    asked = (TensorSpec(name="image", shape=(4, 3, 5, 7), dtype="float32"),)
    plan = TARGET.plan(model, tmp_path / "tiny_bs4.om", inputs=asked)
    assert "--input_shape=image:4,3,5,7" in plan.argv
    with pytest.raises(UsageError, match=r"E10011.*image:1,3,5,7"):
        TARGET.plan(model, tmp_path / "tiny.om")


def test_plan_with_batch_profiles_leaves_the_batch_open(
    model_file: ModelFile, dynamic_text: str, tmp_path: Path
) -> None:
    target = AtcTarget(soc="310P3", options={"dynamic_batch_size": "1,4"})
    plan = target.plan(model_file(dynamic_text), tmp_path / "tiny.om")
    assert {"--input_shape=image:-1,3,5,7", "--dynamic_batch_size=1,4"} <= set(plan.argv)


def test_outputs_are_named_from_the_graph(model_file: ModelFile, tmp_path: Path) -> None:
    target = AtcTarget(soc="310P3", options={"out_nodes": "auto"}, script_only=True)
    artefact = target.compile(model_file(), tmp_path / "tiny.om", force=False)
    assert "--out_nodes=Relu_1:0;Mul_0:0" in artefact.settings["argv"]
    assert [spec.name for spec in artefact.outputs] == ["logits", "halved"]


def test_outputs_follow_the_order_of_out_nodes(model_file: ModelFile, tmp_path: Path) -> None:
    options = {"out_nodes": "halved;logits", "output_type": "FP16"}
    target = AtcTarget(soc="310P3", options=options, script_only=True)
    artefact = target.compile(model_file(), tmp_path / "tiny.om", force=False)
    assert [(spec.name, spec.dtype) for spec in artefact.outputs] == [
        ("halved", "float16"),
        ("logits", "float16"),
    ]


def test_options_may_replace_the_log_level(model_file: ModelFile, tmp_path: Path) -> None:
    plan = AtcTarget(soc="310P3", options={"log": "debug"}).plan(model_file(), tmp_path / "t.om")
    assert "--log=debug" in plan.argv


def test_refusals(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file()
    with pytest.raises(UsageError, match=r"name the output .*tiny\.om"):
        TARGET.plan(model, tmp_path / "tiny.onnx")
    with pytest.raises(UsageError, match=r"E10001.*family"):
        AtcTarget(soc="310P").plan(model, tmp_path / "tiny.om")
    with pytest.raises(UsageError, match="no output boxes"):
        TARGET.plan(
            model, tmp_path / "t.om", outputs=(TensorSpec(name="boxes", shape=(1,), dtype="float32"),)
        )
    with pytest.raises(UsageError, match="E10016"):
        AtcTarget(soc="310P3", options={"input_shape": "img:1,3,5,7"}).plan(model, tmp_path / "t.om")


def test_notes_reach_the_plan(model_file: ModelFile, static_text: str, tmp_path: Path) -> None:
    model = model_file(static_text.replace('"" : 11', '"" : 16'))
    assert any("CANN 7.0" in note for note in TARGET.plan(model, tmp_path / "t.om").notes)


@pytest.mark.usefixtures("no_vendor_tools")
def test_auto_without_driver_asks_for_the_chip(model_file: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(MissingBackendError, match="--soc"):
        AtcTarget(soc="auto").plan(model_file(), tmp_path / "t.om")


# script


@pytest.mark.usefixtures("no_vendor_tools")
def test_without_atc_the_script_is_written_and_named(model_file: ModelFile, tmp_path: Path) -> None:
    model = model_file()
    with pytest.raises(MissingBackendError, match=r"bash tiny_bs1\.atc\.sh.*Ascend310P3") as caught:
        TARGET.compile(model, tmp_path / "tiny_bs1.om", force=False)
    assert caught.value.exit_code == 3
    script = tmp_path / "tiny_bs1.atc.sh"
    assert TINY_CALL in script.read_text()
    assert os.access(script, os.X_OK)
    assert not (tmp_path / "tiny_bs1.om").exists()
    with pytest.raises(MissingBackendError):
        TARGET.compile(model, tmp_path / "tiny_bs1.om", force=False)  # the same script again is fine
    script.write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        TARGET.compile(model, tmp_path / "tiny_bs1.om", force=False)


@pytest.mark.usefixtures("no_vendor_tools")
def test_script_only_is_content_without_atc(model_file: ModelFile, tmp_path: Path) -> None:
    target = AtcTarget(soc="310P3", script_only=True)
    model = model_file()
    artefact = target.compile(model, tmp_path / "tiny_bs1.om", force=False, recipe="tiny")
    assert artefact.path == tmp_path / "tiny_bs1.atc.sh"
    assert (artefact.stage, artefact.target, artefact.soc) == ("script", "atc", "Ascend310P3")
    assert artefact.parent_sha256 == sha256_of(model)
    assert Artefact.load(artefact.path) == artefact
    sidecar = json.loads((tmp_path / "tiny_bs1.atc.sh.json").read_text())
    assert sidecar["settings"]["command"] == TINY_CALL


def test_script_runs_from_anywhere(
    model_file: ModelFile, fake_atc: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "raw").mkdir()
    model = model_file(name="raw/tiny.onnx")
    target = AtcTarget(soc="310P3", script_only=True)
    script = target.compile(model, tmp_path / "out" / "tiny_bs1.om", force=False).path
    fake_atc("success")
    done = subprocess.run(["bash", str(script)], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--model=../raw/tiny.onnx" in (tmp_path / "out" / "tiny_bs1.om").read_text()


@pytest.mark.parametrize(("mode", "code"), [("failure", 255), ("nothing", 4), ("empty", 4)])
def test_script_fails_when_atc_does(
    mode: str, code: int, model_file: ModelFile, fake_atc: Callable[[str], None], tmp_path: Path
) -> None:
    target = AtcTarget(soc="310P3", script_only=True)
    script = target.compile(model_file(), tmp_path / "tiny_bs1.om", force=False).path
    if mode == "nothing":
        stale = tmp_path / "tiny_bs1.om"
        stale.write_text("old")
        os.utime(stale, (1, 1))
    fake_atc(mode)
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == code


def test_script_without_atc_says_so(model_file: ModelFile, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    target = AtcTarget(soc="310P3", script_only=True)
    script = target.compile(model_file(), tmp_path / "tiny_bs1.om", force=False).path
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dirname", "mktemp", "rm"):
        (tools / name).symlink_to(shutil.which(name) or "")
    environment = {"PATH": str(tools), "HOME": str(tmp_path)}
    done = subprocess.run(
        [str(bash), str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "atc is not on the PATH" in done.stderr


# atc is there


def test_success(model_file: ModelFile, fake_atc: Callable[[str], None], tmp_path: Path) -> None:
    fake_atc("success")
    model = model_file()
    content = model.read_bytes()
    Artefact(
        path=model,
        stage="rewritten",
        target="onnx",
        sha256=sha256_of(model),
        recipe="tiny",
        outputs=(TensorSpec(name="logits", shape=(1, 3, 5, 7), dtype="float32", role="attributes"),),
    ).save()
    artefact = TARGET.compile(model, tmp_path / "tiny_bs1.om", force=False)
    assert (artefact.stage, artefact.soc, artefact.batch) == ("compiled", "Ascend310P3", 1)
    assert artefact.recipe == "tiny"
    assert [spec.role for spec in artefact.outputs] == ["attributes", ""]
    assert artefact.sha256 == sha256_of(tmp_path / "tiny_bs1.om")
    assert Artefact.load(tmp_path / "tiny_bs1.om") == artefact
    assert model.read_bytes() == content
    assert leftovers(tmp_path) == []
    assert "ATC run success" in (tmp_path / "tiny_bs1.atc.log").read_text()


def test_host_in_the_name_is_taken_off(
    model_file: ModelFile, fake_atc: Callable[[str], None], tmp_path: Path
) -> None:
    fake_atc("cross")
    target = AtcTarget(soc="310P3", options={"host_env_os": "linux", "host_env_cpu": "aarch64"})
    target.compile(model_file(), tmp_path / "tiny.om", force=False)
    assert (tmp_path / "tiny.om").read_bytes() == b"om for aarch64"


def test_external_weights_stay_beside_the_om(
    model_file: ModelFile, fake_atc: Callable[[str], None], tmp_path: Path
) -> None:
    fake_atc("external")
    target = AtcTarget(soc="310P3", options={"external_weight": "1"})
    target.compile(model_file(), tmp_path / "tiny.om", force=False)
    assert (tmp_path / "weight" / "const_1").read_bytes() == b"weights"


def test_failure_explains_the_code(
    model_file: ModelFile, fake_atc: Callable[[str], None], tmp_path: Path
) -> None:
    fake_atc("failure")
    with pytest.raises(ToolFailure, match=r"exit code 255\n  E10016: a name in an option") as caught:
        TARGET.compile(model_file(), tmp_path / "tiny.om", force=False)
    assert caught.value.exit_code == 4
    assert caught.value.returncode == 255
    assert caught.value.argv[0].endswith("/atc")
    assert "--soc_version=Ascend310P3" in caught.value.argv
    assert "inptu" in caught.value.log_tail
    assert not (tmp_path / "tiny.om").exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("nothing", "did not write tiny.om"),
        ("empty", "is empty"),
        ("failure-with-exit-0", "says that it failed"),
    ],
)
def test_exit_code_0_is_not_believed(
    mode: str, said: str, model_file: ModelFile, fake_atc: Callable[[str], None], tmp_path: Path
) -> None:
    fake_atc(mode)
    with pytest.raises(ToolFailure, match=said):
        TARGET.compile(model_file(), tmp_path / "tiny.om", force=False)
    assert not (tmp_path / "tiny.om").exists()


def test_stale_om_is_no_result_and_stays(
    model_file: ModelFile, fake_atc: Callable[[str], None], tmp_path: Path
) -> None:
    fake_atc("nothing")
    stale = tmp_path / "tiny.om"
    stale.write_bytes(b"of yesterday")
    with pytest.raises(OutputError, match="--force"):
        TARGET.compile(model_file(), stale, force=False)
    with pytest.raises(ToolFailure, match="did not write"):
        TARGET.compile(model_file(), stale, force=True)
    assert stale.read_bytes() == b"of yesterday"


def test_hanging_atc_and_its_workers_are_ended(
    model_file: ModelFile,
    fake_atc: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_atc("hang")
    pids = tmp_path / "pids"
    monkeypatch.setenv("FAKE_ATC_PIDS", str(pids))
    started = time.monotonic()
    with pytest.raises(ToolFailure, match="did not finish within 3 s") as caught:
        AtcTarget(soc="310P3", timeout_s=3).compile(model_file(), tmp_path / "tiny.om", force=False)
    assert caught.value.returncode is None
    assert time.monotonic() - started < 30
    for pid in map(int, pids.read_text().split()):
        assert _is_gone(pid), f"process {pid} survived"
    assert leftovers(tmp_path) == []


def _is_gone(pid: int) -> bool:
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.shared
def test_deepmar_gives_the_published_call(filled_deepmar: Path, tmp_path: Path) -> None:
    shutil.copy(filled_deepmar, tmp_path / "deepmar_bs1_nopad.onnx")
    plan = TARGET.plan(tmp_path / "deepmar_bs1_nopad.onnx", tmp_path / "deepmar_bs1.om")
    assert (
        "atc --model=deepmar_bs1_nopad.onnx --framework=5 --output=deepmar_bs1 --input_format=NCHW "
        '--input_shape="actual_input_1:1,3,224,224" --log=error --soc_version=Ascend310P3'
    ) in plan.script.splitlines()
    assert plan.notes == ()


CALLS = """<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
g (float[1,9,1,4] boxes, float[1,9,2] scores) => (float[1,5,4] dets, float[1,5] labels) {
    [Nms_1] dets, kept, labels, count = npu.BatchMultiClassNMS <iou_threshold = 0.5, score_threshold = 0.1,
        max_size_per_class = 5, max_total_size = 5> (boxes, scores)
}"""


def test_calls_of_target_operators_are_read_from_a_copy(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(CALLS), tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    target = AtcTarget(soc="310P3", options={"out_nodes": "auto"}, script_only=True)
    plan = target.plan(tmp_path / "m.onnx", tmp_path / "m_bs1.om")
    assert plan.steps[0].startswith("write m_bs1.atc.onnx, the model with 1 BatchMultiClassNMS bare")
    assert "--model=m_bs1.atc.onnx" in plan.argv
    assert "--out_nodes=Nms_1:0;Nms_1:2" in plan.argv
    target.compile(tmp_path / "m.onnx", tmp_path / "m_bs1.om", force=False)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"m.onnx", "m_bs1.atc.onnx", "m_bs1.atc.sh", "m_bs1.atc.sh.json"}
    assert (tmp_path / "m.onnx").read_bytes() == before
    proto = onnx.load(tmp_path / "m_bs1.atc.onnx")
    assert [(node.domain, node.op_type) for node in proto.graph.node] == [("", "BatchMultiClassNMS")]
    with pytest.raises(OutputError, match=r"m_bs1\.atc\.onnx"):
        target.compile(tmp_path / "m.onnx", tmp_path / "m_bs1.om", force=False)
