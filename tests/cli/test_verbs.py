"""Every verb on a small model: exit code, JSON on stdout alone, words for people."""

import importlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from PIL import Image

from graphopt import cli
from graphopt.recipes import models

RECIPES = Path(__file__).resolve().parents[1] / "fakes" / "recipes"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What stdout holds, which must be one strict JSON document."""

        def refuse(name: str) -> Any:
            raise AssertionError(name)

        content = json.loads(self.out, parse_constant=refuse)
        assert content["schema_version"] == 1
        return content


Call = Callable[..., Done]


def run_here(patch: pytest.MonkeyPatch, arguments: tuple[object, ...]) -> int:
    patch.setattr(sys, "argv", ["graphopt", *map(str, arguments)])
    patch.setattr(signal, "signal", lambda *_: None)  # the handler would outlive the test
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture
def call(small: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: the same code without the seconds that a new one takes."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = run_here(monkeypatch, arguments)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``raw.onnx``, ``wrong.onnx``, ``data``, and the ``run`` of a pipeline: not to change."""
    folder = tmp_path_factory.mktemp("verbs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "__path__", [*models.__path__, str(RECIPES)])
        small: Any = importlib.import_module("graphopt.recipes.models.small")
        small.write_onnx(folder / "raw.onnx")
        small.write_onnx(folder / "wrong.onnx", scale=1.01)
        data = small.write_data(folder / "data")
        source = ("--onnx", folder / "raw.onnx", "--data", data, "-o", folder / "run")
        assert (
            run_here(patch, ("pipeline", "small", *source, "--targets", "onnxruntime", "--batch", "1")) == 0
        )
        yield folder


@pytest.fixture
def results(place: Path, tmp_path: Path) -> Path:
    """What ais_bench writes, without a single attribute on the first three images."""
    with np.load(place / "run/predictions/rewritten.npz") as archive:
        logits = next(a for a in (archive[name] for name in archive.files) if a.dtype == np.float32)
    folder = tmp_path / "results"
    folder.mkdir()
    for number, row in enumerate(logits, start=1):
        (-abs(row) if number <= 3 else row).tofile(folder / f"{number:05d}_0.bin")
    return folder


# pipeline


def test_pipeline_reuses_and_says_what_it_found(call: Call, place: Path) -> None:
    options = ("--onnx", place / "raw.onnx", "--data", place / "data", "-o", place / "run", "--batch", "1")
    done = call("pipeline", "small", *options, "--targets", "onnxruntime", "--json")
    assert (done.code, done.json["verb"], done.json["ok"]) == (0, "pipeline", True)
    assert all(row["reused"] for row in done.json["stages"])
    done = call("pipeline", "small", *options, "--targets", "onnxruntime")
    assert (done.code, done.err) == (0, "")
    for words in ("verdict: passed", "instance accuracy", "(reused)", str(place / "run/report.html")):
        assert words in done.out


def test_pipeline_exits_1_when_the_metric_drops(
    call: Call, place: Path, tmp_path: Path, results: Path
) -> None:
    run = shutil.copytree(place / "run", tmp_path / "run")
    options = ("--onnx", place / "raw.onnx", "--data", place / "data", "-o", run, "--batch", "1")
    done = call("pipeline", "small", *options, "--targets", "onnxruntime", "--results", results)
    assert done.code == 1
    assert "FAILED: device loses" in done.out
    assert "verdict: FAILED (gate: 0.3 points)" in done.out
    done = call(
        "pipeline",
        "small",
        *options,
        "--targets",
        "onnxruntime",
        "--results",
        results,
        "--max-drop",
        "99",
        "--json",
    )
    assert (done.code, done.json["ok"], done.json["stages"][-1]["stage"]) == (0, True, "device")


@pytest.mark.torch
def test_pipeline_demo_brings_its_own_checkpoint_and_data(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    command = ("pipeline", "small", "--demo", "-o", tmp_path / "run", "--targets", "onnxruntime", "--json")
    done = call(*command, "--batch", "1")
    assert (done.code, done.json["reference"], done.json["samples"]) == (0, "torch", 7)
    assert (tmp_path / "run/demo/checkpoint.pth.tar").is_file()
    done = call(*command, "--batch", "1")
    assert all(row["reused"] for row in done.json["stages"])


def test_pipeline_refuses_what_makes_no_sense(call: Call, tmp_path: Path) -> None:
    done = call("pipeline", "small", "-o", tmp_path / "run", "--json")
    assert (done.code, done.json["error"]["type"]) == (2, "UsageError")
    assert "say where the model comes from" in done.err
    assert call("pipeline", "small", "--demo", "--max-drop", "-1").code == 2
    assert call("pipeline", "small", "--demo", "--batch", "1,x").code == 2
    assert call("pipeline", "smal", "--demo").code == 2
    assert not list(tmp_path.iterdir())


# validate


def test_validate_says_equal(call: Call, place: Path) -> None:
    done = call("validate", place / "raw.onnx", f"{place / 'run'}#compiled", "--json")
    assert (done.code, done.json["ok"], done.json["samples"]) == (0, True, 2)
    done = call("validate", place / "run")
    assert (done.code, done.err) == (0, "")
    assert "verdict: equal within tolerance" in done.out
    assert "flips" in done.out
    assert "#rewritten" in done.out


def test_validate_exits_1_when_different(call: Call, place: Path) -> None:
    pair = (
        "validate",
        place / "raw.onnx",
        place / "wrong.onnx",
        "--data",
        place / "data",
        "--recipe",
        "small",
    )
    done = call(*pair, "--samples", "3", "--json")
    assert (done.code, done.json["ok"], done.json["sample_kind"]) == (1, False, "3 images of data")
    assert done.json["candidates"][0]["outputs"][0]["max_abs"] > 0.005
    done = call(*pair)
    assert done.code == 1
    assert "verdict: DIFFERENT" in done.out
    assert call(*pair, "--rtol", "0.05", "--atol", "0.05").code == 0


def test_validate_refusals(call: Call, place: Path) -> None:
    assert call("validate", place / "raw.onnx").code == 2
    done = call("validate", place / "raw.onnx", place / "raw.onnx")
    assert (done.code, "named twice" in done.err) == (2, True)
    assert call("validate", place / "raw.onnx", place / "none.onnx").code == 2
    assert call("validate", place / "raw.onnx", place / "wrong.onnx", "--rtol", "0.5").code == 2


# compile


def test_compile_for_onnxruntime(call: Call, place: Path, tmp_path: Path) -> None:
    command = ("compile", place / "raw.onnx", "--target", "onnxruntime", "-o", tmp_path / "out")
    done = call(*command, "--batch", "1,3", "--json")
    assert (done.code, done.json["ok"]) == (0, True)
    assert done.json["artefacts"] == ["raw_bs1.ort.onnx", "raw_bs3.ort.onnx"]
    assert done.json["models"] == ["raw_bs1.onnx", "raw_bs3.onnx"]
    assert call(*command).code == 2
    done = call(*command, "--force")
    assert (done.code, done.out.splitlines()) == (
        0,
        [str(tmp_path / "out" / name) for name in ("raw.ort.onnx", "raw.ort.onnx.json")],
    )


def test_compile_without_atc_is_exit_3_with_scripts(
    call: Call, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    command = ("compile", place / "raw.onnx", "--target", "atc", "--soc", "310P3", "-o", tmp_path / "out")
    done = call(*command, "--json")
    assert (done.code, done.json["ok"], done.json["artefacts"]) == (3, False, [])
    assert done.json["missing"] in done.err
    assert (tmp_path / "out/raw_bs1.atc.sh").is_file()
    done = call(*command, "--force")
    assert (done.code, "raw_bs1.atc.sh" in done.out, "graphopt: atc is not on the PATH" in done.err) == (
        3,
        True,
        True,
    )
    done = call(*command, "--force", "--script-only", "--json")
    assert (done.code, done.json["ok"], done.err) == (0, True, "")


def test_compile_dry_run_writes_nothing(call: Call, place: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(place / "raw.onnx", tmp_path))
    command = ("compile", model, "--target", "atc", "--soc", "310P3", "--batch", "1,2", "--dry-run")
    done = call(*command)
    assert (done.code, done.err) == (0, "")
    assert "--soc_version=Ascend310P3" in done.out
    assert [plan["argv"][0] for plan in call(*command, "--json").json["plans"]] == ["atc", "atc"]
    assert [path.name for path in tmp_path.iterdir()] == ["raw.onnx"]


def test_compile_refusals(call: Call, place: Path, tmp_path: Path) -> None:
    command = ("compile", place / "raw.onnx", "-o", tmp_path / "out", "--target")
    assert call(*command, "atc").code == 2
    assert call(*command, "onnxruntime", "--option", "level").code == 2
    done = call(*command, "atc", "--soc", "310P3", "--option", "input_shape=img:1,3,32,16")
    assert (done.code, "E10016" in done.err) == (2, True)
    assert not list(tmp_path.iterdir())


# evaluate, run, bench


def test_evaluate_a_model_and_results(call: Call, place: Path, tmp_path: Path, results: Path) -> None:
    done = call("evaluate", f"{place / 'run'}#raw", "--data", place / "data", "--json")
    assert (done.code, done.json["samples"]) == (0, 7)
    output = tmp_path / "fusion_result.json"
    command = ("evaluate", results, "--recipe", "small", "--data", place / "data", "-o", output)
    lost = call(*command, "--json").json
    assert lost["headline"] < done.json["headline"]
    assert json.loads(output.read_text())["instance_acc"] == pytest.approx(lost["headline"])
    assert call(*command).code == 2
    done = call(*command, "--force")
    assert (done.code, "instance_accuracy" in done.out, "accessoryHat" in done.out) == (0, True, True)


def test_evaluate_refusals(call: Call, place: Path, results: Path) -> None:
    assert call("evaluate", results, "--data", place / "data").code == 2
    assert call("evaluate", place / "raw.onnx").code == 2
    (results / "00001_0.bin").write_bytes(b"\0" * 139)
    done = call("evaluate", results, "--recipe", "small", "--data", place / "data", "--json")
    assert (done.code, done.json["error"]["type"]) == (2, "DatasetError")


def test_run_draws_what_it_sees(call: Call, place: Path, tmp_path: Path) -> None:
    images = [place / "data/images/00001.png", place / "data/images/00002.png"]
    command = ("run", f"{place / 'run'}#compiled", *images)
    done = call(*command, "--json")
    assert (done.code, len(done.json["images"])) == (0, 2)
    assert {"label", "probability", "positive"} <= set(done.json["images"][0]["readings"][0])
    done = call(*command, "--pictures", tmp_path / "seen")
    seen = [
        item["label"] for item in call(*command, "--json").json["images"][0]["readings"] if item["positive"]
    ]
    assert (done.code, all(label in done.out for label in seen), bool(seen)) == (0, True, True)
    for image in images:
        with Image.open(tmp_path / "seen" / image.name) as picture:
            assert (picture.format, picture.height) == ("PNG", 480)
            assert picture.width > 480 * 11 / 13
    assert call(*command, "--pictures", tmp_path / "seen").code == 2
    assert call(*command, "--pictures", tmp_path / "seen", "--force").code == 0


def test_an_estimate_is_called_one_wherever_it_answers(call: Call, place: Path) -> None:
    what, image = f"fp16:{place / 'run'}#raw", place / "data/images/00001.png"
    note = "note: estimate: tensors in float16, sums in float32"
    assert note in call("run", what, image).out
    assert note in call("evaluate", what, "--data", place / "data").out
    for is_estimate, stage in ((True, what), (False, f"{place / 'run'}#raw")):
        assert call("run", stage, image, "--json").json["estimate"] is is_estimate
        done = call("evaluate", stage, "--data", place / "data", "--json")
        assert done.json["estimate"] is is_estimate
    done = call("validate", f"{place / 'run'}#raw", what)
    assert (done.code, f"{what} (estimate)" in done.out) == (1, True)
    done = call("bench", what)
    assert (done.code, "says nothing of a chip's" in done.err) == (2, True)


def test_run_refusals(call: Call, place: Path, tmp_path: Path) -> None:
    assert call("run", place / "raw.onnx", tmp_path / "none.png", "--recipe", "small").code == 2
    assert call("run", place / "raw.onnx", place / "data/images/00001.png").code == 2
    assert call("run", place / "raw.onnx").code == 2


def test_bench_times_a_model(call: Call, place: Path) -> None:
    done = call("bench", place / "raw.onnx", "--batch", "1,2", "--seconds", "0.02", "--json")
    assert (done.code, done.json["measured_by"]) == (0, "this machine")
    assert [item["batch"] for item in done.json["batches"]] == [1, 2]
    done = call("bench", f"{place / 'run'}#raw", "--seconds", "0.02")
    assert (done.code, "samples/s" in done.out) == (0, True)
    assert call("bench", place / "raw.onnx", "--seconds", "0").code == 2
    assert call("bench", place / "run").code == 2  # which of its stages?


def test_bench_reads_what_device_tools_measured(call: Call, results: Path) -> None:
    done = call("bench", results)
    assert (done.code, "holds no timing" in done.err) == (2, True)
    times = {"min": 1.0, "max": 3.0, "mean": 2.0, "median": 2.0, "percentile(99%)": 2.9}
    summary = {"NPU_compute_time": times, "throughput": 500.0}
    (results.parent / "results_summary.json").write_text(json.dumps(summary))
    done = call("bench", results, "--json")
    assert (done.code, done.json["measured_by"]) == (0, "device tools")
    assert done.json["files"][0]["throughput"] == 500.0
    done = call("bench", results)
    assert (done.code, "500" in done.out, "ais_bench" in done.out) == (0, True, True)


def test_bench_of_an_exported_bundle_times_its_model(call: Call, place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "raw.onnx", tmp_path / "model.onnx")
    (tmp_path / "manifest.json").write_text("{}")
    assert call("bench", tmp_path, "--seconds", "0.02").code == 0


# prepare, bundle


def test_prepare_writes_what_the_tools_read(call: Call, place: Path, tmp_path: Path) -> None:
    command = ("prepare", "small", "--data", place / "data", "-o", tmp_path / "in", "--limit", "4")
    done = call(*command, "--json")
    assert (done.code, done.json["samples"], done.json["dtype"]) == (0, 4, "float32")
    assert len(list((tmp_path / "in/input_bin").glob("*.bin"))) == 4
    assert call(*command).code == 2
    done = call(*command, "--force")
    assert (done.code, str(tmp_path / "in/small.info") in done.out) == (0, True)
    assert call("prepare", "small", "--data", tmp_path).code == 2


def test_bundle_lists_what_to_type(
    call: Call, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    command = ("bundle", place / "run", "--data", place / "data", "--limit", "2", "-o", tmp_path / "box")
    done = call(*command, "--json")
    assert (done.code, done.json["folder"]) == (0, str(tmp_path / "box"))
    assert sorted(done.json["files"]) == sorted(path.name for path in (tmp_path / "box").iterdir())
    assert call(*command).code == 2
    done = call(*command, "--force")
    assert done.code == 0
    assert "on the box: bash small_bs1.atc.sh && python3 device_runner.py" in done.out
    assert call("bundle", place / "raw.onnx", "-o", tmp_path / "other").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


# recipes, passes, inspect


def test_recipes(call: Call) -> None:
    assert {item["name"] for item in call("recipes", "--json").json["recipes"]} >= {"deepmar", "small"}
    recipe = call("recipes", "deepmar", "--json").json["recipe"]
    assert recipe["inputs"][0]["shape"] == "[1, 3, 224, 224]"
    assert recipe["published"][0]["value"] == 0.789
    done = call("recipes", "deepmar")
    assert (done.code, "not ours" in done.out, "remove_pad" in done.out) == (0, True, True)
    assert "DeepMAR" in call("recipes").out


def test_passes_that_would_apply(call: Call, place: Path) -> None:
    done = call("passes", "--would-apply", place / "raw.onnx", "--json")
    found = {item["pass"]: item for item in done.json["would_apply"]}
    assert (done.code, found["remove_pad"]["sites"], found["fuse_batchnorm"]["sites"]) == (0, 1, 1)
    assert found["set_batch"]["sites"] is None  # needs a size; says so
    assert "size" in found["set_batch"]["first"]
    done = call("passes", "remove_pad", "--would-apply", place / "raw.onnx")
    assert [line.split()[:3] for line in done.out.splitlines()[2:3]] == [["remove_pad", "1", "0"]]
    assert call("passes", "--would-apply", place / "none.onnx").code == 2


def test_passes_explain_themselves(call: Call) -> None:
    listed = call("passes", "--json").json["passes"]
    for item in listed:
        done = call("passes", item["name"])
        assert (done.code, item["summary"].replace("``", "") in done.out) == (0, True)
        assert call("passes", item["name"], "--json").json["pass"]["name"] == item["name"]
    table = call("passes").out
    assert all(f"\n{item['name']} " in table for item in listed)


def test_inspect(call: Call, place: Path) -> None:
    done = call("inspect", place / "run/rewritten/model.onnx", "--json")
    assert (done.code, done.json["recipe"], done.json["nodes"]) == (0, "small", 5)
    assert {step["pass"] for step in done.json["lineage"]} >= {"remove_pad", "fuse_batchnorm"}
    assert done.json["inputs"][0]["shape"] == "[1, 3, 32, 16]"
    done = call("inspect", place / "raw.onnx")
    assert (done.code, "BatchNormalization" in done.out, "7 nodes" in done.out) == (0, True, True)
    assert call("inspect", place / "none.onnx").code == 2


# export


@pytest.mark.torch
def test_export(call: Call, small: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    checkpoint = small.write_checkpoint(tmp_path / "c.pth")
    command = ("export", "small", "--checkpoint", checkpoint, "-o", tmp_path / "out")
    done = call(*command, "--json")
    assert (done.code, done.json["opset"]) == (0, 11)
    assert Path(done.json["path"]).is_file()
    assert call(*command).code == 2
    done = call(*command, "--force")
    assert (done.code, "output1" in done.out) == (0, True)
    assert call("export", "small", "-o", tmp_path / "x").code == 2
    assert call("export", "small", "--demo", "--checkpoint", checkpoint).code == 2


def test_export_without_torch_is_exit_3(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = call("export", "small", "--demo", "-o", tmp_path / "out", "--json")
    assert (done.code, done.json["error"]["type"]) == (3, "MissingBackendError")
    assert "pip install 'graphopt[torch]'" in done.err
    assert not list(tmp_path.iterdir())


def test_passes_that_find_nothing_share_one_line(call: Call, place: Path) -> None:
    lines = call("passes", "--would-apply", place / "raw.onnx").out.splitlines()
    (idle,) = [line for line in lines if line.startswith("nothing here for: ")]
    assert "decompose_einsum" in idle
    assert "remove_pad" not in idle
    assert not any(line.startswith("decompose_einsum") for line in lines)


def test_docstrings_lose_their_backticks_on_the_way_to_a_terminal(call: Call) -> None:
    shown = [call("passes").out, *(call("passes", name).out for name in ("pin_outputs", "remove_pad"))]
    assert not any("``" in text for text in shown)


def test_doctor_works_from_sources_that_are_not_installed(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import metadata

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    done = call("doctor")
    assert done.code == 3
    assert done.out.startswith("graphopt not installed, Python ")


def test_an_open_rank_is_no_scalar(call: Call, tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x) => (float y) { y = Relu (x) }'
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "open.onnx")
    assert call("inspect", tmp_path / "open.onnx", "--json").json["outputs"][0]["shape"] == "unknown"
