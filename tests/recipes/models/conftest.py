"""One-stage recipes at small sizes, with calibrated weights: exported, rewritten, each once."""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from graphopt.recipes.recipe import Recipe

_PHOTOS = ((320, 240), (240, 320), (320, 180), (150, 320))
"""Width and height: several aspect ratios, so that each has its own borders."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What came of a recipe.

    Attributes:
        recipe: at a small size.
        module: what was exported; ``model`` in it is mmdet's own.
        wanted: dets and labels that mmdet's ``predict`` has for each.
        pictures: float32 [4, 3, H, W], drawn scenes as the recipe prepares them.
        raw: the exported graph.
        rewritten: after the recipe's passes.
        report: of these.
    """

    recipe: Recipe
    module: Any
    pictures: Any
    wanted: list[tuple[Any, Any]]
    raw: Path
    rewritten: Path
    report: Any


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("torch", "mmdet", "cv2") if importlib.util.find_spec(name) is None]
    for item in items:
        if missing and "recipes/models" in item.path.as_posix() and item.get_closest_marker("mmdet"):
            item.add_marker(pytest.mark.skip(reason=f"{missing[0]} is not installed"))


@pytest.fixture(scope="session")
def one_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """A function that makes ``Exported`` of ``fcos`` or ``nas_fpn``, each once; not to be changed."""
    import torch

    from graphopt.recipes.models.nas_fpn import nas_fpn_recipe

    @functools.cache
    def make(name: str) -> Exported:
        recipe = _small_fcos() if name == "fcos" else nas_fpn_recipe(128)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # maps this small are not worth the waiting for each other
        try:
            return _exported(recipe, tmp_path_factory.mktemp(name))
        finally:
            torch.set_num_threads(threads)

    return make


def _small_fcos() -> Recipe:
    """The largest level has 320 locations: with mmdet's limit of 1000 nothing would be left out."""
    from graphopt.recipes.detector_parts import network
    from graphopt.recipes.models.fcos import fcos_recipe

    size = (128, 160)
    build = network(
        "fcos_r50-caffe_fpn_gn-head_1x_coco",
        size,
        changes={"bbox_head.norm_cfg": None, "test_cfg.nms_pre": 150},
        batched=True,
        order=("labels", "dets"),
    )
    return replace(fcos_recipe(*size), build=build)


def _exported(recipe: Recipe, folder: Path) -> Exported:
    import torch

    from graphopt.exporters.mmdet.detector import predicted
    from graphopt.recipes.export import export_recipe
    from graphopt.recipes.rewrite import rewrite

    pictures = _pictures(recipe, folder)
    module: Any = recipe.needed_build("a test")()
    _weights().calibrate(module.model, pictures, seed=4)
    torch.save({"state_dict": module.model.state_dict(), "meta": {}}, folder / "weights.pth")
    np.savez(folder / "inputs.npz", input=pictures[:2].numpy())
    bundle = folder / "bundle"
    raw = export_recipe(recipe, bundle, checkpoint=folder / "weights.pth", data=folder / "inputs.npz").path
    report = rewrite(raw, folder / "rewritten.onnx", recipe.passes)
    return Exported(
        recipe=recipe,
        module=module,
        pictures=pictures,
        wanted=[(dets.numpy(), labels.numpy()) for dets, labels in predicted(module.model, pictures)],
        raw=raw,
        rewritten=folder / "rewritten.onnx",
        report=report,
    )


def _pictures(recipe: Recipe, folder: Path) -> Any:
    import torch

    from graphopt.runtime.datasets.synthetic_coco import synthetic_crowd
    from graphopt.runtime.preprocess import preprocess

    found = []
    for number, (width, height) in enumerate(_PHOTOS):
        path = folder / f"{number}.png"
        photo, _ = synthetic_crowd(number, seed=3, width=width, height=height, objects=(8, 16))
        photo.save(path)
        found.append(preprocess(path, recipe.preprocessing))
    return torch.from_numpy(np.stack(found))


def _weights() -> ModuleType:
    path = Path(__file__).with_name("calibrated_weights.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
