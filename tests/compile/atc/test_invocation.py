import shlex
import subprocess
from pathlib import Path

import pytest

from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.options import OPTIONS
from graphopt.compile.atc.shapes import InputShape, parse_input_shape
from graphopt.core.errors import UsageError

DEEPMAR = (
    "atc --model=deepmar_bs1_nopad.onnx --framework=5 --output=deepmar_bs1 --input_format=NCHW "
    '--input_shape="actual_input_1:1,3,224,224" --log=error --soc_version=Ascend310P3'
)
# The other published calls, with the chip filled in. The guide of FCOS abbreviates --out_nodes.
REFINENET = (
    "atc --framework=5 --model=model/RefineNet_910.onnx --output=model/RefineNet_910_bs1 "
    '--input_format=NCHW --input_shape="input:1,3,500,500" --log=debug --soc_version=Ascend310P3'
)
NAS_FPN = (
    "atc --model=./nas_fpn.onnx --framework=5 --output=nas_fpn_bs1 --input_format=NCHW "
    '--input_shape="input:1,3,640,640" --log=error --soc_version=Ascend310P3 '
    '--out_nodes="Concat_1487:0;Reshape_1489:0"'
)
FCOS = (
    "atc --framework=5 --model=./fcos.onnx --output=fcos_bs1 --input_format=NCHW "
    '--input_shape="input:1,3,800,1333" --log=error --soc_version=Ascend310P3 --out_nodes="labels;dets"'
)
FASTER_RCNN = (
    "atc --framework=5 --model=./faster_rcnn_r50_fpn_1x_coco.onnx "
    "--output=./faster_rcnn_r50_fpn_1x_coco_bs1 --input_format=NCHW "
    '--input_shape="input:1,3,1216,1216" --log=debug --soc_version=Ascend310P3'
)


def deepmar_call() -> AtcInvocation:
    return AtcInvocation(
        model=Path("deepmar_bs1_nopad.onnx"),
        output=Path("deepmar_bs1"),
        soc_version="Ascend310P3",
        input_shape=(InputShape("actual_input_1", (1, 3, 224, 224)),),
    )


def test_deepmar_is_the_published_call_to_the_letter() -> None:
    assert deepmar_call().command_line() == DEEPMAR
    assert list(deepmar_call().argv()) == shlex.split(DEEPMAR)


@pytest.mark.parametrize("published", [REFINENET, NAS_FPN, FCOS, FASTER_RCNN])
def test_published_calls_can_be_expressed(published: str) -> None:
    words = dict(word.removeprefix("--").split("=", 1) for word in shlex.split(published)[1:])
    ours = ("model", "output", "framework", "soc_version")
    call = AtcInvocation.from_options(
        Path(words["model"]),
        Path(words["output"]),
        soc_version=words["soc_version"],
        options={name: value for name, value in words.items() if name not in ours},
    )
    expected = {name: value.removeprefix("./") for name, value in words.items()}
    assert call.to_json()["options"] == expected
    for name in ("input_shape", "out_nodes"):
        assert (
            (f'--{name}="{words[name]}"' in call.command_line()) == (name in words) if name in words else True
        )


def test_options_are_written_in_the_order_of_the_table() -> None:
    call = AtcInvocation.from_options(
        Path("m.onnx"),
        Path("m"),
        soc_version="Ascend310P3",
        options={
            "--precision-mode": "allow_mix_precision",
            "enable_small_channel": "1",
            "out_nodes": "a:0",
            "log": "info",
            "dynamic_batch_size": "1,4,8",
            "output_type": "FP16",
            "insert_op_conf": "aipp.cfg",
        },
    )
    names = [word.removeprefix("--").partition("=")[0] for word in call.argv()[1:]]
    table = [option.name for option in OPTIONS]
    assert names == sorted(names, key=table.index)
    assert "--precision_mode=allow_mix_precision" in call.argv()
    assert call.dynamic_batch_size == (1, 4, 8)
    assert call.insert_op_conf == Path("aipp.cfg")


@pytest.mark.parametrize(
    "name", ["plain", "with space", "a$b", "back`tick", 'quo"te', "it's", "bang!", "semi;colon"]
)
def test_quoting_survives_the_shell(name: str) -> None:
    call = AtcInvocation(
        model=Path("m.onnx"),
        output=Path("m"),
        soc_version="Ascend310P3",
        input_shape=(InputShape(name, (1, 3)),),
    )
    _, _, line = call.command_line().partition(" ")
    shell = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True
    )
    assert shell.stdout.splitlines() == list(call.argv()[1:])


def test_paths_are_moved_to_where_the_call_runs(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    call = AtcInvocation.from_options(
        tmp_path / "raw" / "m.onnx",
        tmp_path / "out" / "m_bs1",
        soc_version="Ascend310P3",
        options={
            "insert_op_conf": str(tmp_path / "aipp.cfg"),
            "keep_dtype": str(tmp_path / "keep.cfg"),
            "op_bank_path": str(tmp_path / "out" / "bank"),
        },
    )
    words = call.seen_from(tmp_path / "out").argv()
    assert "--model=../raw/m.onnx" in words
    assert "--output=m_bs1" in words
    assert "--insert_op_conf=../aipp.cfg" in words
    assert "--keep_dtype=../keep.cfg" in words
    assert "--op_bank_path=bank" in words
    assert str(tmp_path) not in " ".join(words)


def test_linked_output_folder_does_not_mislead_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "far" / "out").mkdir(parents=True)
    (tmp_path / "m.onnx").touch()
    (tmp_path / "out").symlink_to(tmp_path / "far" / "out")
    call = AtcInvocation(model=tmp_path / "m.onnx", output=tmp_path / "out" / "m", soc_version="Ascend310P3")
    seen = call.seen_from(tmp_path / "out")
    assert ((tmp_path / "far" / "out") / seen.model).resolve() == tmp_path.resolve() / "m.onnx"
    assert seen.output == Path("m")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shpe": "x:1"}, "unknown ATC option 'input_shpe'; did you mean input_shape"),
        ({"soc_version": "Ascend310"}, "set by graphopt"),
        ({"framework": "0"}, "set by graphopt"),
        ({"mode": "1"}, "no place here.*mode 0"),
        ({"log": "verbose"}, "E10010.*known: debug, error"),
        ({"precision_mode": "force_fp61"}, "E10001.*did you mean.*force_fp16"),
        ({"enable_small_channel": "yes"}, "E10001.*enable_small_channel"),
        ({"buffer_optimize": ""}, "E10004.*buffer_optimize"),
        ({"input_format": "NHWC"}, "E10001.*input_format"),
        ({"is_input_adjust_hw_layout": "1"}, "E10001.*e.g. true,false"),
        ({"dynamic_batch_size": "1;2"}, "E10001.*1,2,4,8"),
        ({"log": "info", "--log": "error"}, "log is given twice"),
    ],
)
def test_bad_options_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AtcInvocation.from_options(Path("m.onnx"), Path("m"), soc_version="Ascend310P3", options=options)


def test_extra_options_are_checked_in_the_constructor_too() -> None:
    with pytest.raises(UsageError, match="field of its own"):
        AtcInvocation(model=Path("m"), output=Path("m"), soc_version="Ascend310", extra={"log": "info"})
    with pytest.raises(UsageError, match="unknown ATC option"):
        AtcInvocation(model=Path("m"), output=Path("m"), soc_version="Ascend310", extra={"speed": "11"})


def test_names_with_colons_keep_their_shape() -> None:
    call = AtcInvocation(
        model=Path("m.onnx"),
        output=Path("m"),
        soc_version="Ascend310",
        input_shape=parse_input_shape("a:0:1,2"),
    )
    assert "--input_shape=a:0:1,2" in call.argv()
