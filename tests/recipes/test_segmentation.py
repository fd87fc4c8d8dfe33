"""A segmentation model through every verb: pipeline, evaluate, run, prepare, results, bundle."""

import base64
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, OutputError, UsageError
from graphopt.recipes import models
from graphopt.recipes.device_bundle import make_bundle, prepare_inputs
from graphopt.recipes.evaluation import evaluate
from graphopt.recipes.inference import read_images
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.pipeline_report import PipelineReport
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.preprocess import preprocess

Pipeline = Callable[..., PipelineReport]


FAKES = Path(__file__).resolve().parents[1] / "fakes"


@pytest.fixture(scope="module")
def finished_voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``raw.onnx``, ``data`` and ``run``; not to be changed."""
    pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("finished_voc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "__path__", [*models.__path__, str(FAKES / "recipes")])
        recipe: Any = importlib.import_module("graphopt.recipes.models.colours")
        recipe.write_onnx(folder / "raw.onnx")
        recipe.write_data(folder / "data")
        report = run_pipeline(recipe.RECIPE, _options(folder))
    assert report.ok, report.problems
    return folder


@pytest.fixture
def project(colours: Any, finished_voc: Path, tmp_path: Path) -> Path:
    """An own copy of ``finished_voc``."""
    return Path(shutil.copytree(finished_voc, tmp_path / "project"))


@pytest.fixture
def pipeline(colours: Any, project: Path) -> Pipeline:
    """Run the recipe again in ``project``; options replace those of the finished run."""

    def run(**changes: Any) -> PipelineReport:
        return run_pipeline(colours.RECIPE, _options(project, **changes))

    return run


def _options(folder: Path, **changes: Any) -> PipelineOptions:
    options: dict[str, Any] = {
        "folder": folder / "run",
        "onnx": folder / "raw.onnx",
        "data": folder / "data",
        "targets": ("onnxruntime",),
        "batches": (1, 2),
    }
    return PipelineOptions(**{**options, **changes})


def _logits(project: Path, stage: str = "rewritten") -> Predictions:
    return Predictions.load(project / f"run/predictions/{stage}.npz")


def test_the_pipeline_scores_compares_and_draws_masks(project: Path, pipeline: Pipeline) -> None:
    report = pipeline()
    assert report.ok, report.problems
    assert (report.metric, report.samples) == ("mean IoU", 7)
    assert all(0.6 < row.metric < 0.95 for row in report.stages if row.metric is not None)
    assert {row.flips for row in report.stages[1:]} == {0}
    assert [check.passed for check in report.batches] == [True]
    content = json.loads((project / "run/report.json").read_text())
    rows = {row["name"]: row for row in content["scores"]["rewritten"]["details"]["rows"]}
    assert (rows["cat"]["pixels"] > 0, rows["sofa"]["pixels"], rows["sofa"]["IoU"]) == (True, 0, None)
    page = (project / "run/report.html").read_text()
    assert re.search(r"Not in these images: [a-z, ]*sofa", page)
    assert "<td>sofa</td>" not in page
    assert "<td>cat</td>" in page
    pictures = re.findall(r'alt="(\w+)\.jpg: (\w+)" src="data:image/jpeg;base64,([^"]+)"', page)
    assert [caption for _, caption, _ in pictures] == ["image", "labels", "raw", "onnxruntime"] * 7
    for _, _, content in pictures:
        with Image.open(BytesIO(base64.b64decode(content))) as picture:
            assert picture.format == "JPEG"
    for words in ("Per class", '<th class="n">IoU</th>', "background: #400000", "elsewhere"):
        assert words in page


def test_the_worst_images_come_first(project: Path, colours: Any) -> None:
    result = evaluate(f"{project / 'run'}#rewritten", project / "data")
    errors = result.score.errors
    assert set(errors) == {f"{stem}.jpg" for stem in colours.STEMS}
    page = (project / "run/report.html").read_text()
    shown = re.findall(r'<b class="mono">(\w+\.jpg)</b>', page)
    assert shown[:6] == sorted(errors, key=lambda name: (-errors[name], name))[:6]


def test_a_worse_model_flips_pixels_and_loses(project: Path, colours: Any) -> None:
    colours.write_onnx(project / "worse.onnx", scale=0.3)
    good = evaluate(f"{project / 'run'}#raw", project / "data")
    bad = evaluate(str(project / "worse.onnx"), project / "data", recipe_name="colours")
    assert bad.score.headline < good.score.headline - 0.03
    flipped, pixels = colours.RECIPE.task.flips(good.predictions, bad.predictions)
    assert 0.02 * pixels < flipped < pixels == 7 * 24 * 24
    assert colours.RECIPE.task.flips(good.predictions, good.predictions)[0] == 0


Change = Callable[[Any], Any]


def _write_results(project: Path, kind: str, *, k: int = 1, change: Change = lambda rows: rows) -> Path:
    """Write what benchmark or ais_bench write, in an order that is not the data set's."""
    folder = project / "result" / "dumpOutput_device0"
    folder.mkdir(parents=True)
    predictions = _logits(project)
    rows = change(np.array(predictions.outputs["output"]))
    for name, row in sorted(zip(predictions.names, rows, strict=True)):
        place = folder / f"{Path(name).stem}_{k}.{kind}"
        if kind == "bin":
            row.tofile(place)
        else:
            place.write_text("".join("".join(f"{x:f} " for x in line) + "\n" for line in row.reshape(-1, 6)))
    (project / "result/perf_vision_batchsize_1_device_0.txt").write_text("[inference] throughputRate: 60.5\n")
    return project / "result"


@pytest.mark.parametrize(("kind", "k"), [("bin", 1), ("txt", 1), ("bin", 0), ("txt", 0)])
def test_results_of_the_device_tools_score_the_same(project: Path, kind: str, k: int) -> None:
    expected = evaluate(f"{project / 'run'}#rewritten", project / "data").score
    results = _write_results(project, kind, k=k)
    shutil.rmtree(project / "data/VOCdevkit/VOC2012/JPEGImages")  # labels are enough
    got = evaluate(str(results), project / "data", recipe_name="colours")
    assert got.score.figures == expected.figures


def test_results_in_half_precision_are_taken_and_cut_ones_refused(project: Path, pipeline: Pipeline) -> None:
    results = _write_results(project, "bin", change=lambda rows: rows.astype(np.float16))
    report = pipeline(results=results)
    assert report.ok, report.problems
    assert report.stages[-1].stage == "device"
    first = next((results / "dumpOutput_device0").iterdir())
    first.write_bytes(first.read_bytes()[:-2])
    with pytest.raises(DatasetError, match=first.name):
        evaluate(str(results), project / "data", recipe_name="colours")


def test_results_with_other_classes_are_noticed(project: Path, pipeline: Pipeline) -> None:
    results = _write_results(project, "bin", change=lambda rows: rows[:, ::-1].copy())
    report = pipeline(results=results)
    assert not report.ok
    assert any("device" in problem for problem in report.problems)


def test_results_that_are_not_finite_name_the_image(project: Path) -> None:
    def spoil(rows: Any) -> Any:
        rows[2, 3, 1, 1] = np.nan
        return rows

    results = _write_results(project, "bin", change=spoil)
    with pytest.raises(DatasetError, match=r"logits of 2010_000005\.jpg hold NaN"):
        evaluate(str(results), project / "data", recipe_name="colours")


def test_run_says_the_share_of_each_class_and_draws_it(project: Path, colours: Any, tmp_path: Path) -> None:
    images = [project / f"data/VOCdevkit/VOC2012/JPEGImages/{stem}.jpg" for stem in colours.STEMS[1:3]]
    model, seen = str(project / "raw.onnx"), tmp_path / "seen"
    found = read_images(model, images, recipe_name="colours", pictures=seen)
    for item in found:
        content = item.to_json()["readings"]
        assert {"label", "area", "positive", "truth"} == set(content[0])
        assert sum(row["area"] for row in content) == pytest.approx(1)
        assert content[0]["label"] == "background"
        assert all(row["truth"] is None for row in content)
        with Image.open(seen / f"{item.image.stem}.png") as picture:
            assert (picture.format, picture.height) == ("PNG", 480)
            assert picture.width > 2 * 480  # image and prediction side by side
    with pytest.raises(OutputError, match="exists"):
        read_images(model, images, recipe_name="colours", pictures=seen)
    read_images(model, images, recipe_name="colours", pictures=seen, force=True)


def test_a_broken_mask_is_found_before_anything_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "data/VOCdevkit/VOC2012/SegmentationClass/2010_000004.png").write_bytes(b"\x89PNG")
    monkeypatch.setattr("graphopt.recipes.named_outputs.predict", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(DatasetError, match=r"2010_000004\.png cannot be decoded"):
        evaluate(str(project / "raw.onnx"), project / "data", recipe_name="colours")


def test_pictures_never_take_the_place_of_images(project: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"
    for path in (one, other):
        path.parent.mkdir()
        Image.new("RGB", (5, 7)).save(path)
    with pytest.raises(UsageError, match="same name"):
        read_images(str(project / "raw.onnx"), [one, other], recipe_name="colours", pictures=tmp_path)
    with pytest.raises(UsageError, match="is a file; --pictures takes a folder"):
        read_images(str(project / "raw.onnx"), [one], recipe_name="colours", pictures=project / "raw.onnx")
    with pytest.raises(OutputError, match="is the input"):
        read_images(str(project / "raw.onnx"), [one], recipe_name="colours", pictures=one.parent, force=True)


def test_prepared_inputs_are_the_preprocessed_images(project: Path, colours: Any) -> None:
    prepared = prepare_inputs(colours.RECIPE, project / "data", project / "in")
    assert (prepared.samples, prepared.shape) == (7, (3, 24, 24))
    lines = prepared.info.read_text().splitlines()
    assert lines[0] == "0 ./input_bin/2010_000007.bin 24 24"
    image = project / "data/VOCdevkit/VOC2012/JPEGImages/2010_000007.jpg"
    expected = preprocess(image, colours.RECIPE.preprocessing)
    assert (prepared.inputs / "2010_000007.bin").read_bytes() == expected.tobytes()
    steps = json.loads(prepared.index.read_text())["preprocessing"]
    assert {"step": "ResizeLongestCv2", "size": 24, "interpolation": "bilinear"} in steps


@pytest.mark.usefixtures("no_atc")
def test_a_bundle_checks_and_runs_masks_on_the_box(project: Path) -> None:
    bundle = make_bundle(str(project / "run"), project / "box", data=project / "data", batch=2)
    command = [sys.executable, "device_runner.py", "--backend", "onnxruntime"]
    done = subprocess.run(command, cwd=bundle.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, "ok   output" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "100.000% of the pixels keep their class" in done.stdout
    content = json.loads((bundle.folder / "bundle.json").read_text())
    assert [item["role"] for item in content["outputs"]] == ["masks"]
    assert "agreement" in content["tolerance"]["acl"]
    assert "agreement" not in content["tolerance"]["onnxruntime"]  # the same graph: the bound decides
    expected = evaluate(f"{project / 'run'}#rewritten", project / "data").score
    got = evaluate(str(bundle.folder), project / "data", recipe_name="colours")
    assert got.score.figures == pytest.approx(expected.figures, abs=1e-9)


def test_the_original_scripts_line_is_written(project: Path) -> None:
    result = evaluate(f"{project / 'run'}#rewritten", project / "data", limit=5)
    task = result.recipe.needed_task("writing")
    task.write_original(result.dataset, result.predictions, project / "miou.txt")
    assert (project / "miou.txt").read_text() == f"miou: {result.score.headline:.6f}\n"
