"""A model, its batch sizes and a target: what is written, what is only said."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import OutputError, PreconditionError, ToolFailure, UnsupportedError, UsageError
from graphopt.core.session import OnnxRuntimeSession
from graphopt.recipes.compilation import CompileOptions, compile_into, make_target, plan_for

ATC = CompileOptions(target="atc", soc="310P3", batches=(1, 2))


@pytest.fixture
def model(small: Any, tmp_path: Path) -> Path:
    path: Path = small.write_onnx(tmp_path / "net.opt.onnx")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("no_atc")
def test_without_atc_scripts_and_verified_models_are_there(model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    done = compile_into(tmp_path / "out", model, ATC, recipe_name="small")
    assert done.artefacts == ()
    assert "small_bs1.atc.sh" in done.missing
    assert done.missing.endswith("; likewise small_bs2.atc.sh")
    files = [f"small_bs{n}.{end}" for n in (1, 2) for end in ("atc.sh", "atc.sh.json", "onnx", "onnx.json")]
    assert names(tmp_path / "out") == sorted(files)
    assert [path.name for path in done.models] == ["small_bs1.onnx", "small_bs2.onnx"]
    script = (tmp_path / "out/small_bs2.atc.sh").read_text()
    assert "--model=small_bs2.onnx" in script
    assert '--input_shape="image:2,3,32,16"' in script
    image = np.random.default_rng(1).standard_normal((2, 3, 32, 16)).astype(np.float32)
    with OnnxRuntimeSession(done.models[1]) as two, OnnxRuntimeSession(model) as one:
        wanted = np.concatenate([one.run({"image": row[None]})["output1"] for row in image])
        found: Any = two.run({"image": image})["output1"]
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert model.read_bytes() == before


def test_script_only_does_not_look_for_atc(
    model: Path, tmp_path: Path, fake_atc: Callable[[str], Path]
) -> None:
    fake_atc("hang")
    request = CompileOptions(target="atc", soc="310P3", script_only=True)
    done = compile_into(tmp_path / "out", model, request)
    assert (done.missing, done.artefacts) == ("", ())
    assert (tmp_path / "out/net_bs1.atc.sh").is_file()  # without a recipe, after the file
    assert done.to_json()["plans"][0]["script"]


def test_atc_builds_one_om_per_batch(model: Path, tmp_path: Path, fake_atc: Callable[[str], Path]) -> None:
    fake_atc("success")
    done = compile_into(tmp_path / "out", model, ATC, recipe_name="small")
    assert [item.path for item in done.artefacts] == [tmp_path / f"out/small_bs{n}.om" for n in (1, 2)]
    assert done.missing == ""
    for item in done.artefacts:
        loaded = Artefact.load(item.path)
        assert loaded is not None
        assert (loaded.recipe, loaded.soc, loaded.batch) == ("small", "Ascend310P3", item.batch)
    assert not [name for name in names(tmp_path) if name.endswith((".tmp", ".log"))]


def test_the_log_of_a_failure_is_kept_and_named(
    model: Path, tmp_path: Path, fake_atc: Callable[[str], Path]
) -> None:
    program = fake_atc("failure")
    log = tmp_path / "small_bs1.atc.log"
    with pytest.raises(ToolFailure, match="E10016") as caught:
        compile_into(tmp_path / "out", model, ATC, recipe_name="small")
    assert str(caught.value).endswith(f"the whole log is {log}")
    assert (caught.value.returncode, caught.value.argv[0]) == (255, str(program))
    assert "ATC start working now" in log.read_text()
    assert names(tmp_path) == ["net.opt.onnx", "small_bs1.atc.log"]


@pytest.mark.parametrize("request_", [ATC, CompileOptions(target="onnxruntime")], ids=["atc", "onnxruntime"])
def test_a_plan_writes_nothing(model: Path, request_: CompileOptions) -> None:
    plans = plan_for(model, request_)
    assert len(plans) == max(1, len(request_.batches))
    assert all(plan.steps for plan in plans)
    assert names(model.parent) == ["net.opt.onnx"]


def test_onnxruntime_takes_the_model_or_its_batches(model: Path, tmp_path: Path) -> None:
    request = CompileOptions(target="onnxruntime", options={"level": "basic"})
    done = compile_into(tmp_path / "own", model, request)
    assert names(tmp_path / "own") == ["net.ort.onnx", "net.ort.onnx.json"]
    assert (done.models, done.artefacts[0].settings["level"]) == ((), "basic")
    done = compile_into(
        tmp_path / "two", model, CompileOptions(target="onnxruntime", batches=(2,)), recipe_name="small"
    )
    assert [item.path.name for item in done.artefacts] == ["small_bs2.ort.onnx"]
    with OnnxRuntimeSession(done.artefacts[0].path) as session:
        assert session.inputs[0].shape[0] == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (CompileOptions(target="atc"), UsageError, "needs --soc"),
        (CompileOptions(target="atc", soc="310P"), UsageError, "E10001"),
        (CompileOptions(target="tensorrt"), UsageError, "unknown target"),
        (
            CompileOptions(target="onnxruntime", options={"lvl": "all"}),
            UsageError,
            "no option 'lvl'; it has: level",
        ),
        (CompileOptions(target="onnxruntime", options={"level": "x"}), UsageError, "known: basic"),
        (
            CompileOptions(target="openvino", options={"compress_to_fp16": "yes"}),
            UsageError,
            "true or false, not 'yes'",
        ),
    ],
)
def test_refusals_leave_nothing(
    model: Path, tmp_path: Path, options: CompileOptions, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        compile_into(tmp_path / "out", model, options)
    assert names(tmp_path) == ["net.opt.onnx"]


def test_an_existing_folder_is_replaced_only_by_force(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").touch()
    request = CompileOptions(target="onnxruntime")
    with pytest.raises(OutputError, match="--force"):
        compile_into(tmp_path / "out", model, request)
    compile_into(tmp_path / "out", model, request, force=True)
    assert "precious" not in names(tmp_path / "out")


def test_an_open_batch_must_be_chosen(small: Any, tmp_path: Path) -> None:
    model = small.write_onnx(tmp_path / "open.onnx", batch="n")
    with pytest.raises(UsageError, match=r"batch of .* is dynamic.*--batch 1,8"):
        compile_into(tmp_path / "out", model, CompileOptions(target="atc", soc="310P3"))


def test_a_baked_in_batch_is_named(tmp_path: Path) -> None:
    import onnx
    import onnx.parser

    onnx.save(
        onnx.parser.parse_model("""
            <ir_version: 8, opset_import: ["" : 11]>
            baked (float[1,4] x) => (float[4] y)
            { y = Squeeze <axes = [0]> (x) }
        """),
        tmp_path / "baked.onnx",
    )
    with pytest.raises(PreconditionError, match="Squeeze"):
        compile_into(
            tmp_path / "out", tmp_path / "baked.onnx", CompileOptions(target="onnxruntime", batches=(2,))
        )
    assert names(tmp_path) == ["baked.onnx"]


def test_calls_get_their_shapes_written_down_in_the_copy_for_atc(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
    g (float[1,9,1,4] boxes, float[1,9,2] scores) => (float[1,5,4] dets) {
        found, kept, labels, count = npu.BatchMultiClassNMS <iou_threshold = 0.5, score_threshold = 0.1,
            max_size_per_class = 5, max_total_size = 5> (boxes, scores)
        dets = Relu (found)
    }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    request = CompileOptions(target="atc", soc="310P3", script_only=True)
    compile_into(tmp_path / "out", tmp_path / "m.onnx", request)
    proto = onnx.load(tmp_path / "out" / "m_bs1.atc.onnx")
    sizes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in proto.graph.value_info
    }
    assert sizes == {"found": [1, 5, 4], "kept": [1, 5], "labels": [1, 5], "count": [1]}


def test_what_only_an_exporter_knows_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]>
    g (float[1,4,6,7] x, float[1,18,6,7] o, float[8,4,3,3] w) => (float[1,8,6,7] y) {
        y = MMCVDeformConv2d <stride = [1,1], padding = [1,1], dilation = [1,1], groups = 1,
            deform_groups = 1> (x, o, w)
    }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    request = CompileOptions(target="atc", soc="310P3", script_only=True)
    with pytest.raises(UnsupportedError, match=r"y \(mmcv::MMCVDeformConv2d\): only exporters write it"):
        compile_into(tmp_path / "out", tmp_path / "m.onnx", request)
    request = replace(request, allow_unsupported=True)
    for refused in (
        lambda: compile_into(tmp_path / "out", tmp_path / "m.onnx", request),
        lambda: plan_for(tmp_path / "m.onnx", request),
    ):
        with pytest.raises(
            UsageError, match=r"1 MMCVDeformConv2d.*graphopt apply .*m.onnx --passes replace_dcn$"
        ):
            refused()
    assert names(tmp_path) == ["m.onnx"]


def test_the_published_call_is_the_default_and_options_win(small: Any) -> None:
    request = CompileOptions(target="atc", soc="310P3", options={"log": "debug"})
    target: Any = make_target(request, small.RECIPE)
    assert target.options == {"input_format": "NCHW", "log": "debug"}
    assert make_target(CompileOptions(target="openvino", options={"compress_to_fp16": "True"}), None) != (
        make_target(CompileOptions(target="openvino"), None)
    )
