"""Running, scoring and timing what a user names."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.evaluation import evaluate
from graphopt.recipes.inference import bench, named_results, read_images
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.predictions import Predictions

Results = Callable[..., Path]


def test_images_are_read_once_each_and_in_order(small: Any, finished: Path) -> None:
    images = [finished / "data/images" / name for name in ("00003.png", "00001.png", "00003.png")]
    found = read_images(f"{finished / 'run'}#compiled", images)
    assert [item.image for item in found] == images[:2]
    predictions = Predictions.load(finished / "run/predictions/onnxruntime.npz")
    for item in found:
        logits = predictions.outputs["output1"][predictions.names.index(item.image.name)]
        assert [reading.positive for reading in item.readings] == [bool(x > 0) for x in logits]
        assert all(reading.truth is None for reading in item.readings)
    assert found[0].to_json()["readings"][0]["label"]


def test_images_that_cannot_be_read(small: Any, finished: Path, tmp_path: Path) -> None:
    model = str(finished / "raw.onnx")
    with pytest.raises(DatasetError, match=r"1 image missing, first .*none\.png"):
        read_images(model, [tmp_path / "none.png"], recipe_name="small")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DatasetError, match=r"text\.png cannot be decoded"):
        read_images(model, [tmp_path / "text.png"], recipe_name="small")
    with pytest.raises(UsageError, match="--recipe NAME"):
        read_images(model, [])


def test_a_model_and_its_results_score_the_same(project: Path, small: Any, write_results: Results) -> None:
    scored = evaluate(f"{project / 'run'}#rewritten", project / "data")
    results = write_results()
    shutil.rmtree(project / "data/images")  # labels are enough
    device = evaluate(str(results), project / "data", recipe_name="small")
    assert device.score == scored.score
    assert device.predictions.names == tuple(PetaDataset(project / "data", labels_only=True).names)
    with pytest.raises(DatasetError, match="images"):
        evaluate(f"{project / 'run'}#rewritten", project / "data")


def test_results_need_a_recipe_and_every_image(project: Path, small: Any, write_results: Results) -> None:
    results = write_results()
    with pytest.raises(UsageError, match="--recipe NAME"):
        evaluate(str(results), project / "data")
    (results / "00004_0.bin").unlink()
    with pytest.raises(DatasetError, match="1 of 7 images have no results: 00004"):
        evaluate(str(results), project / "data", recipe_name="small")


def test_a_store_is_taken_up(project: Path, small: Any) -> None:
    counted: list[int] = []
    options: dict[str, Any] = {
        "store": project / "store.npz",
        "on_progress": lambda done, total: counted.append(done),
    }
    first = evaluate(f"{project / 'run'}#raw", project / "data", **options)
    ran = len(counted)
    second = evaluate(f"{project / 'run'}#raw", project / "data", **options)
    assert (ran, len(counted)) == (7, 7)
    assert first.score == second.score


def test_a_batch_of_the_graph_is_not_a_size_of_a_result(tmp_path: Path, small: Any) -> None:
    data = PetaDataset(small.write_data(tmp_path / "data", count=2))
    boxes = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    results = tmp_path / "results"
    results.mkdir()
    for stem, rows in zip(("00001", "00002"), boxes, strict=True):
        rows.tofile(results / f"{stem}_0.bin")
        (-rows).tofile(results / f"{stem}_1.bin")
    inputs = (TensorSpec(name="image", shape=(8, 3, 32, 16), dtype="float32"),)
    outputs = tuple(TensorSpec(name=name, shape=(8, 3, 4), dtype="float32") for name in ("a", "b"))
    found = named_results(results, inputs, outputs, data, in_model_order=True)
    assert found.names == ("00001.png", "00002.png")
    np.testing.assert_array_equal(found.outputs["a"], boxes)
    np.testing.assert_array_equal(found.outputs["b"], -boxes)
    with pytest.raises(DatasetError, match="cannot be told apart"):
        named_results(results, inputs, outputs, data)


def test_timing_makes_a_model_for_each_batch(small: Any, tmp_path: Path) -> None:
    model = small.write_onnx(tmp_path / "a.onnx")
    (own,) = bench(str(model), seconds=0.02)
    assert (own.batch, own.runs > 0, own.min_ms <= own.median_ms <= own.max_ms) == (1, True, True)
    found = bench(str(model), batches=(1, 3), seconds=0.02)
    assert [item.batch for item in found] == [1, 3]
    assert all(item.throughput == pytest.approx(1000 * item.batch / item.mean_ms) for item in found)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_free_batch_is_timed_as_it_is(small: Any, tmp_path: Path) -> None:
    model = small.write_onnx(tmp_path / "a.onnx", batch="n")
    assert [item.batch for item in bench(str(model), batches=(1, 4), seconds=0.02)] == [1, 4]


@pytest.mark.openvino
def test_what_cannot_change_its_batch_is_refused(small: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    text = f"openvino:{small.write_onnx(tmp_path / 'a.onnx')}"
    with pytest.raises(UsageError, match="fixed batch of 1; compile it for batch 2"):
        bench(text, batches=(2,), seconds=0.02)
