"""Detections are scored whatever their outputs are called, from files too, and against another stage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.evaluation import draw_worst, evaluate
from graphopt.recipes.named_outputs import recipe_names, row_shapes
from graphopt.runtime.predictions import Predictions


@pytest.fixture
def folder(boxes: Any, tmp_path: Path) -> Path:
    """A folder with ``raw.onnx``, ``pinned.onnx``, ``moved.onnx`` and ``data``."""
    boxes.write_onnx(tmp_path / "raw.onnx")
    boxes.write_onnx(tmp_path / "pinned.onnx", pinned=True)
    boxes.write_onnx(tmp_path / "moved.onnx", pinned=True, shift=3)
    boxes.write_data(tmp_path / "data")
    return tmp_path


def _evaluate(folder: Path, what: str, **options: Any) -> Any:
    return evaluate(str(folder / what), folder / "data", recipe_name="boxes", **options)


def test_a_raw_graph_and_its_pinned_copy_score_the_same(folder: Path) -> None:
    raw, pinned = _evaluate(folder, "raw.onnx"), _evaluate(folder, "pinned.onnx")
    assert set(raw.predictions.outputs) == {"dets", "labels"}
    assert raw.predictions.outputs["dets"].shape == (3, 7, 5)
    counts = (raw.predictions.outputs["dets"][..., 4] > 0).sum(axis=1)
    assert len(set(counts.tolist())) > 1
    assert counts.max() < 7
    assert raw.score.figures == pinned.score.figures
    assert raw.score.errors == pinned.score.errors


def test_a_store_keeps_the_models_own_names(folder: Path) -> None:
    store = folder / "raw.npz"
    first = _evaluate(folder, "raw.onnx", store=store)
    assert set(Predictions.load(store).outputs) == {"found_17", "found_23"}
    assert _evaluate(folder, "raw.onnx", store=store).score == first.score


def test_another_stage_stands_for_the_labels(folder: Path) -> None:
    against = str(folder / "pinned.onnx")
    same = _evaluate(folder, "raw.onnx", against=against)
    assert same.score.headline == 1
    assert same.worst(5) == ()
    plain = folder / "data" / "coco" / "val2017"
    moved = evaluate(
        str(folder / "moved.onnx"), plain, recipe_name="boxes", against=against, store=folder / "a.npz"
    )
    assert moved.score.headline < 0.5
    assert (folder / "a.against.npz").is_file()
    assert [sample.name for sample in moved.dataset] == [sample.name for sample in same.dataset]
    errors = [moved.score.errors[sample.name] for sample in moved.worst(2)]
    assert errors == sorted(errors, reverse=True)


def test_without_labels_there_is_no_score(folder: Path) -> None:
    plain = folder / "data" / "coco" / "val2017"
    (folder / "data" / "coco" / "annotations" / "instances_val2017.json").rename(folder / "elsewhere.json")
    (folder / "data" / "coco" / "annotations" / "instances_train2017.json").unlink()
    with pytest.raises(DatasetError, match="no annotation file"):
        evaluate(str(folder / "raw.onnx"), plain, recipe_name="boxes")
    found = evaluate(
        str(folder / "raw.onnx"), plain, recipe_name="boxes", annotations=folder / "elsewhere.json"
    )
    assert found.score.samples == 3


def test_a_reference_must_be_of_the_same_recipe(folder: Path, small: Any) -> None:
    small.write_onnx(folder / "small.onnx")
    (folder / "small.onnx.json").write_text(json.dumps({"recipe": "small"}))
    with pytest.raises(UsageError, match=r"no model of boxes|does not"):
        _evaluate(folder, "raw.onnx", against="torch:small")


@pytest.mark.parametrize("name", ["found.json", "detection-results"])
def test_files_of_the_original_scripts_score_the_same(folder: Path, name: str) -> None:
    result = _evaluate(folder, "raw.onnx")
    result.task.write_original(result.dataset, result.predictions, folder / name)
    for image in (folder / "data" / "coco" / "val2017").iterdir():
        image.unlink()  # sizes are those of the annotations
    read = _evaluate(folder, name)
    assert read.score.figures == pytest.approx(dict(result.score.figures), abs=1e-12)
    if name.endswith(".json"):
        assert read.score.figures == result.score.figures


def test_results_of_the_device_tools_score_the_same(folder: Path) -> None:
    result = _evaluate(folder, "pinned.onnx")
    place = folder / "result" / "dumpOutput_device0"
    place.mkdir(parents=True)
    for i, name in enumerate(result.predictions.names):
        # The device has the outputs in its own order, and numbers of 32 bits.
        result.predictions.outputs["dets"][i].tofile(place / f"{Path(name).stem}_1.bin")
        result.predictions.outputs["labels"][i].astype(np.int32).tofile(place / f"{Path(name).stem}_2.bin")
    assert _evaluate(folder, "result").score.figures == result.score.figures


def test_the_box_mapping_is_a_choice(folder: Path) -> None:
    real, published = (_evaluate(folder, "raw.onnx", box_mapping=name) for name in ("real", "published"))
    assert real.score.figures == _evaluate(folder, "raw.onnx").score.figures
    assert published.score.details["metrics"]["box_mapping"] == "published"


def test_the_worst_images_are_drawn_beside_the_reference(folder: Path) -> None:
    result = _evaluate(folder, "moved.onnx", against=str(folder / "pinned.onnx"))
    drawn = draw_worst(result, folder / "pictures", count=2)
    assert [path.name[:3] for path in drawn] == ["01-", "02-"]
    assert drawn[0].stem[3:] == Path(result.worst(1)[0].name).stem
    alone = draw_worst(_evaluate(folder, "moved.onnx"), folder / "alone", count=2)
    # Image, reference and prediction beside each other, or image, labels and prediction.
    widths = []
    for path in (drawn[0], alone[0]):
        with Image.open(path) as picture:
            widths.append(picture.width)
    assert widths[0] == widths[1] > 480
    with pytest.raises(UsageError, match="takes a folder"):
        draw_worst(result, folder / "raw.onnx")


def test_outputs_are_told_by_name_role_and_content(boxes: Any) -> None:
    def spec(name: str, *shape: int | str, dtype: str = "float32", role: str = "") -> TensorSpec:
        return TensorSpec(name=name, shape=shape, dtype=dtype, role=role)

    recipe = boxes.RECIPE
    numbers, rows = spec("23", "n", dtype="int64"), spec("17", "n", 5)
    assert recipe_names([numbers, rows], recipe) == {"23": "labels", "17": "dets"}
    assert row_shapes([numbers, rows], recipe, {"23": "labels", "17": "dets"}) == {"23": (7,), "17": (7, 5)}
    fixed = spec("dets", 1, 7, 5)
    assert row_shapes([fixed], recipe, {"dets": "dets"}) == {}
    both = [spec("a", "n", 5), spec("b", "n", 5)]
    assert recipe_names(both, recipe) == {"a": "a", "b": "b"}  # could be either
    roles = [spec("b", "n", 5, role="dets")]
    assert recipe_names(both, recipe, roles) == {"a": "a", "b": "dets"}
    assert recipe_names([spec("dets", "n", 5), spec("x", "n", 5)], recipe)["x"] == "x"
