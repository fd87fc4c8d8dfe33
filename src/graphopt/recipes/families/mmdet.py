"""``mmdet:CONFIG:HxW``: a recipe for any detector of mmdet, made of its configuration."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.core.comparison import Tolerance
from graphopt.core.errors import UsageError
from graphopt.core.tensors import TensorSpec
from graphopt.exporters.mmdet.classes import class_names, class_names_of
from graphopt.exporters.mmdet.configs import needed, read_config
from graphopt.exporters.mmdet.pipelines import Preprocessing
from graphopt.recipes.demo_detector import with_demo
from graphopt.recipes.detector_parts import CLEAN, DETS, LABELS
from graphopt.recipes.mmdet_export import build_detector, load_detector_weights, warn_of_odd_size
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.tasks.detection import DetectionTask
from graphopt.surgery import PassStep

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)
FORM = "mmdet:CONFIG:HEIGHTxWIDTH, e.g. mmdet:retinanet_r50_fpn_1x_coco:800x1344"
_SIZE = re.compile(r"([1-9]\d*)[xX]([1-9]\d*)")
_ROWS = 100
"""Detections of an image where the configuration does not say."""
_TOLERANCE = Tolerance(
    atol=1e-4, rtol=1e-4, peak=1e-5, why="scores are 0 to 1; boxes are float32 behind 50 layers and more"
)


def recipe_for(rest: str) -> Recipe:
    """Return the recipe of a configuration at one size of its input.

    Preprocessing is that of the configuration, padded to the size; classes are those of its data set. The
    passes are those of the preset ``detector``.

    Args:
        rest: ``CONFIG:HxW``. CONFIG is the name of a packaged configuration or a file; the size may be left
            out where the configuration gives every image the same.

    Raises:
        UsageError: there is no such configuration, it needs a size, or it prepares images in an unknown way.
        MissingBackendError: a packaged one is asked for, and mmdet is not installed.
    """
    config, size = _split(rest)
    settings = read_config(config)
    try:
        return _made(config, size, settings)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{config} has settings that make no recipe ({type(error).__name__}: {error}); compare them with "
            "those of a packaged configuration"
        ) from error


def _made(config: str, size: tuple[int, int] | None, settings: dict[str, Any]) -> Recipe:
    model = needed(settings, "model", config)
    preprocessing = Preprocessing(settings, config)
    height, width = size or _only_size(preprocessing, config)
    file = Path(config)
    place = str(file.resolve()) if file.is_file() else config.removesuffix(".py")
    steps = preprocessing.steps(height, width)
    two_stages = "roi_head" in model
    test = _test_settings(model)
    rows = int(test.get("max_per_img", _ROWS))
    if rows < 1:
        raise UsageError(f"{config}: max_per_img of its test_cfg is {rows}; detectors keep 1 or more")
    classes = class_names(settings)
    names = {"names": ("dets", "labels")}

    def build() -> "torch.nn.Module":
        warn_of_odd_size(preprocessing.divisor, height, width)
        module = build_detector(config, (height, width))
        found: Any = module.rows
        if found not in (None, rows):
            raise UsageError(
                f"{config} at {height}x{width} has only {found} candidates for {rows} detections; "
                "give a larger size"
            )
        return module

    def load(module: "torch.nn.Module", checkpoint: Path) -> Mapping[str, Any]:
        meta = load_detector_weights(module, checkpoint)
        _compare_classes(classes, class_names_of(meta), checkpoint)
        return meta

    recipe = Recipe(
        name=f"mmdet:{place}:{height}x{width}",
        title=f"{Path(place).stem}: object detection, mmdet, input {height}x{width}",
        inputs=(
            TensorSpec(
                name="input",
                shape=(1, 3, height, width),
                dtype="float32",
                layout="NCHW",
                unit="as the configuration normalises",
            ),
        ),
        outputs=(replace(DETS, shape=(rows, 5)), replace(LABELS, shape=(rows,))),
        passes=(
            PassStep("fold_constants"),
            PassStep("replace_merge_cells"),
            PassStep("replace_dcn"),
            PassStep("replace_roi_extractor"),
            PassStep("replace_nms", expect=2 if two_stages else 1),
            *CLEAN,
            PassStep("pin_outputs", names),
        ),
        tolerance=_TOLERANCE,
        preprocessing=steps,
        build=build,
        load=load,
        task=DetectionTask(
            steps=steps, classes=classes, threshold=float(test.get("score_thr", 0.05)), clip=True
        ),
        atc={"input_format": "NCHW", "log": "error"},
        digest=hashlib.sha256(json.dumps(model, sort_keys=True, default=str).encode()).hexdigest(),
    )
    return with_demo(recipe)


def _split(rest: str) -> tuple[str, tuple[int, int] | None]:
    config, mark, size = rest.rpartition(":")
    if not mark:
        config, size = rest, ""
    if not config or (mark and not size):
        raise UsageError(f"mmdet:{rest} names no configuration; write {FORM}")
    if not mark:
        return config, None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise UsageError(f"{size!r} in mmdet:{rest} is no size; write {FORM}")
    return config, (int(match[1]), int(match[2]))


def _only_size(preprocessing: Preprocessing, config: str) -> tuple[int, int]:
    if preprocessing.size is not None:
        return preprocessing.size
    height, width = preprocessing.landscape
    raise UsageError(
        f"mmdet:{config} needs a size, as its images keep their aspect: mmdet:{config}:{height}x{width} "
        f"(upright ones become smaller than in mmdet), or :{width}x{width} (all as in mmdet)"
    )


def _test_settings(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the last suppression."""
    found: Mapping[str, Any] = model.get("test_cfg") or {}
    return (found.get("rcnn") or {}) if "roi_head" in model else found


def _compare_classes(own: tuple[str, ...], found: tuple[str, ...], checkpoint: Path) -> None:
    if not found or found == own:
        return
    if len(found) != len(own):
        what = f"{len(found)} classes, the configuration {len(own)}"
    else:
        label = next(i for i, names in enumerate(zip(own, found, strict=True)) if len(set(names)) > 1)
        what = f"class {label} as {found[label]!r}, the configuration as {own[label]!r}"
    _log.warning(
        "%s names %s; what is right belongs into the configuration: "
        "test_dataloader = dict(dataset=dict(metainfo=dict(classes=(...))))",
        checkpoint,
        what,
    )
