"""Every planted mistake is named, and nothing else is."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, PreconditionError
from graphopt.core.preprocessing import (
    DecodeCv2,
    NormalizeMmcv,
    PadBehindTo,
    ResizeEdgesCv2,
    SwapChannels,
    ToNchw,
)
from graphopt.recipes import input_probe
from graphopt.recipes.input_comparison import compare_inputs
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.datasets.image_folder import ImageFolder
from graphopt.runtime.datasets.synthetic_coco import synthetic_crowd
from graphopt.runtime.prepare import prepare
from graphopt.runtime.preprocess import preprocess
from graphopt.validate.inputs.verdict import CAUSES, InputOutcome, InputVerdict

pytest.importorskip("cv2")


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


plants: Any = _load("planted_inputs")
CANVAS = {"deepmar": (61, 47), "refinenet": (90, 90), "fcos": (80, 133), "nas_fpn": (96, 96)}
SIZES = ((131, 97), (97, 142))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn scenes of odd sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (width, height) in enumerate(SIZES):
        picture, _ = synthetic_crowd(number, seed=5, width=width, height=height, objects=(5, 9))
        picture.save(folder / f"scene{number}.png")
    return folder


def verdict_of(name: str, change: Any, pictures: Path, folder: Path, **also: Any) -> InputVerdict | None:
    done = plants.planted(name, CANVAS[name], change)
    if done is None:
        return None
    dataset = ImageFolder(pictures)
    plants.write([sample.path for sample in dataset], folder, dataclasses.replace(done, **also))
    return compare_inputs(plants.recipe_at(name, CANVAS[name]), dataset, folder)


@pytest.mark.parametrize("mistake", plants.PLANTS)
@pytest.mark.parametrize("name", ["deepmar", "refinenet", "fcos"])
def test_a_planted_mistake_is_named(name: str, mistake: str, pictures: Path, tmp_path: Path) -> None:
    plant = plants.PLANTS[mistake]
    verdict = verdict_of(name, plant, pictures, tmp_path / "bins")
    if verdict is None:
        return  # this recipe cannot make that mistake
    assert {cause.name for cause in verdict.causes} == set(plant.causes), verdict.sentence
    assert verdict.ok == (not plant.causes)
    assert (verdict.outcome is InputOutcome.NAMED) == bool(plant.causes)
    assert {cause.name for cause in verdict.causes} <= set(CAUSES)


def inputs_of(
    pictures: Path, folder: Path, name: str = "nas_fpn", *, of: list[Path] | None = None, **fields: Any
) -> tuple[Recipe, ImageFolder]:
    """Write the inputs of a folder of pictures; return what ``compare_inputs`` wants."""
    own = dataclasses.replace(plants.PUBLISHED[name], canvas=CANVAS[name])
    dataset = ImageFolder(pictures)
    paths = [sample.path for sample in dataset]
    plants.write(paths, folder, dataclasses.replace(own, **fields), of=of)
    return plants.recipe_at(name, CANVAS[name]), dataset


def test_what_prepare_writes_is_exact(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = plants.recipe_at("nas_fpn", CANVAS["nas_fpn"]), ImageFolder(pictures)
    prepare(dataset, recipe.preprocessing, tmp_path / "made", width=96, height=96)
    verdict = compare_inputs(recipe, dataset, tmp_path / "made")
    assert verdict.outcome is InputOutcome.EXACT
    assert verdict.ok
    assert verdict.max_error == 0
    assert verdict.equal == verdict.images == 2


def test_files_of_other_images_are_told_which(pictures: Path, tmp_path: Path) -> None:
    paths = sorted(pictures.iterdir())
    recipe, dataset = inputs_of(pictures, tmp_path / "bins", of=paths[::-1], order="BGR")
    verdict = compare_inputs(recipe, dataset, tmp_path / "bins")
    assert verdict.cause == "image_order + channel_order"
    assert "scene0.bin holds scene1.png" in verdict.sentence


def test_a_file_may_hold_an_image_beyond_the_limit(pictures: Path, tmp_path: Path) -> None:
    paths = sorted(pictures.iterdir())
    recipe, dataset = inputs_of(pictures, tmp_path / "bins", of=paths[::-1])
    assert compare_inputs(recipe, dataset, tmp_path / "bins", limit=1).cause == "image_order"


def test_numbered_files_belong_to_images_in_their_order(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path)
    for number, path in zip((9, 10), sorted(tmp_path.glob("*.bin")), strict=True):
        path.rename(tmp_path / f"input_{number}.bin")
    assert compare_inputs(recipe, dataset, tmp_path).ok


def test_arrays_with_a_header_are_read_too(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path, mean=(0, 0, 0))
    for path in sorted(tmp_path.glob("*.bin")):
        np.save(path.with_suffix(".npy"), np.fromfile(path, np.float32).reshape(1, 3, 96, 96))
        path.unlink()
    assert compare_inputs(recipe, dataset, tmp_path).cause == "mean"


def test_where_only_some_files_differ_the_cause_is_of_those(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path)
    other = dataclasses.replace(plants.PUBLISHED["nas_fpn"], canvas=CANVAS["nas_fpn"], order="BGR")
    plants.write([sorted(pictures.iterdir())[1]], tmp_path, other)
    verdict = compare_inputs(recipe, dataset, tmp_path)
    assert verdict.cause == "channel_order"
    assert (verdict.equal, verdict.images) == (1, 2)


def test_files_with_different_mistakes_are_named_only_partly(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path, mean=(0, 0, 0))
    other = dataclasses.replace(plants.PUBLISHED["nas_fpn"], canvas=CANVAS["nas_fpn"], fit="stretch")
    plants.write([sorted(pictures.iterdir())[1]], tmp_path, other)
    verdict = compare_inputs(recipe, dataset, tmp_path)
    assert verdict.outcome is InputOutcome.PARTLY
    assert verdict.cause in ("mean + unknown", "aspect + unknown")
    assert "explains 1 of the 2 that differ" in verdict.sentence


@pytest.fixture
def grey(pictures: Path, tmp_path: Path) -> Path:
    """The pictures without colours."""
    folder = tmp_path / "grey"
    folder.mkdir()
    for path in pictures.iterdir():
        Image.open(path).convert("L").save(folder / path.name)
    return folder


def test_of_two_explanations_the_one_with_a_cause_less_is_named(grey: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(grey, tmp_path / "bins", std=(1, 1, 1))
    assert compare_inputs(recipe, dataset, tmp_path / "bins").cause == "std"


def test_images_without_colours_do_not_tell_whose_mean_it_is(grey: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(grey, tmp_path / "bins", swapped_after=True, layout="HWC")
    verdict = compare_inputs(recipe, dataset, tmp_path / "bins")
    assert verdict.outcome is InputOutcome.AMBIGUOUS
    assert [cause.name for cause in verdict.causes] == ["layout"]
    names = {tuple(cause.name for cause in each) for each in verdict.alternatives}
    assert names == {("channel_order",), ("mean", "std")}
    assert verdict.cause.startswith("layout + (")


def test_images_of_one_colour_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (31, 17), (200, 90, 10)).save(tmp_path / "plain" / "a.png")
    recipe, dataset = inputs_of(tmp_path / "plain", tmp_path / "bins", order="BGR")
    verdict = compare_inputs(recipe, dataset, tmp_path / "bins")
    assert verdict.outcome is InputOutcome.UNKNOWN
    assert "one colour" in verdict.sentence


def test_an_exif_orientation_that_is_not_followed_is_named(pictures: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    turned.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in pictures.iterdir():
        Image.open(path).save(turned / path.name, exif=exif)
    recipe, dataset = inputs_of(turned, tmp_path / "bins")  # Pillow decodes as it is stored
    verdict = compare_inputs(recipe, dataset, tmp_path / "bins")
    assert verdict.cause == "orientation"
    assert "EXIF" in verdict.sentence


def test_something_else_is_called_unknown(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path)
    rng = np.random.default_rng(3)
    for path in sorted(tmp_path.glob("*.bin")):
        values = np.fromfile(path, np.float32)
        (values + rng.normal(0, 0.2, values.size).astype(np.float32)).tofile(path)
    verdict = compare_inputs(recipe, dataset, tmp_path)
    assert verdict.cause == "unknown"
    assert not verdict.ok
    assert "nearest comes" in verdict.sentence
    assert verdict.correlation is not None
    assert 0.9 < verdict.correlation < 1


def test_what_holds_beside_something_unknown_is_named(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path, order="BGR")
    rng = np.random.default_rng(3)
    for path in sorted(tmp_path.glob("*.bin")):
        values = np.fromfile(path, np.float32)
        (values + rng.normal(0, 0.03, values.size).astype(np.float32)).tofile(path)
    assert compare_inputs(recipe, dataset, tmp_path).cause == "channel_order + unknown"


@pytest.mark.parametrize(
    ("values", "reason"),
    [(np.full(3 * 96 * 96, np.nan), "NaN"), (np.zeros(3 * 96 * 96), "every value of scene0.bin is 0")],
)
def test_files_that_cannot_be_inputs_are_told(
    values: Any, reason: str, pictures: Path, tmp_path: Path
) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path)
    values.astype(np.float32).tofile(tmp_path / "scene0.bin")
    verdict = compare_inputs(recipe, dataset, tmp_path)
    assert verdict.outcome is InputOutcome.UNKNOWN
    assert reason in verdict.sentence


def test_files_of_another_size_are_told_what_would_fit(pictures: Path, tmp_path: Path) -> None:
    _, dataset = inputs_of(pictures, tmp_path)
    verdict = compare_inputs(plants.recipe_at("fcos", CANVAS["fcos"]), dataset, tmp_path)
    assert verdict.cause == "size"
    assert "110592 bytes" in verdict.sentence
    assert "127680 as float32" in verdict.sentence
    assert verdict.max_error is None


def test_a_verdict_is_plain_data(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path, mean=(0, 0, 0))
    content = json.loads(json.dumps(compare_inputs(recipe, dataset, tmp_path).to_json()))
    assert content["ok"] is False
    assert content["cause"] == "mean"
    assert [cause["name"] for cause in content["causes"]] == ["mean"]


def test_files_of_several_number_formats_are_refused(pictures: Path, tmp_path: Path) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path)
    path = tmp_path / "scene0.bin"
    np.fromfile(path, np.float32).astype(np.float16).tofile(path)
    with pytest.raises(DatasetError, match="float16 and float32"):
        compare_inputs(recipe, dataset, tmp_path)


def test_a_recipe_that_mixes_colours_is_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, dataset = inputs_of(pictures, tmp_path)

    def grey(path: Path, steps: Any) -> Any:
        return np.repeat(preprocess(path, steps).mean(0, keepdims=True), 3, 0)

    monkeypatch.setattr(input_probe, "preprocess", grey)
    with pytest.raises(PreconditionError, match="mixes colours"):
        compare_inputs(recipe, dataset, tmp_path)


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({}, "rounding"),
        ({"side": "middle"}, "padding_side"),
        ({"order": "BGR"}, "channel_order"),
        ({"interpolation": "nearest"}, "resize_kernel"),
        ({"fit": "stretch"}, "aspect"),
        ({"padding_level": (0, 0, 0)}, "padding_value"),
    ],
)
def test_the_preprocessing_of_mmdet_3_is_followed_too(
    fields: dict[str, Any], cause: str, pictures: Path, tmp_path: Path
) -> None:
    height, width = CANVAS["nas_fpn"]
    made = {"side": "upper left", **fields}
    recipe, dataset = inputs_of(pictures, tmp_path, **made)
    steps = (
        DecodeCv2(),
        ResizeEdgesCv2(longest=width, shortest=height, width=width, height=height),
        NormalizeMmcv(mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
        SwapChannels(),
        PadBehindTo(width=width, height=height, value=(0.0, 0.0, 0.0)),
        ToNchw(),
    )
    verdict = compare_inputs(dataclasses.replace(recipe, preprocessing=steps), dataset, tmp_path)
    assert verdict.cause == cause, verdict.sentence
