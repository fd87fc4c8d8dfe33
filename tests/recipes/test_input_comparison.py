"""Every planted mistake is named, and nothing else is."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from graphopt.recipes.input_comparison import compare_inputs
from graphopt.runtime.datasets.image_folder import ImageFolder
from graphopt.runtime.datasets.synthetic_coco import synthetic_crowd
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
