"""RefineNet's own recipe with an eighth of the channels, fewer blocks, and pictures of 128 pixels.

Passes, preprocessing, demo and all else are the real recipe's; see the fixture ``narrow_refinenet``.
"""

import dataclasses
from pathlib import Path
from typing import Any

from graphopt.core.preprocessing import PadCentredTo, ResizeLongestCv2, Step
from graphopt.core.voc import VOC_CLASSES
from graphopt.recipes.demo_refinenet import make_refinenet_demo
from graphopt.recipes.models.refinenet import RECIPE as FULL
from graphopt.recipes.recipe import Demo, Recipe
from graphopt.runtime.tasks.segmentation import SegmentationTask

SIDE = 128


def _smaller(step: Step) -> Step:
    if isinstance(step, ResizeLongestCv2):
        return dataclasses.replace(step, size=SIDE)
    return dataclasses.replace(step, height=SIDE, width=SIDE) if isinstance(step, PadCentredTo) else step


def _build() -> Any:
    from graphopt.exporters.models.refinenet import build_refinenet

    return build_refinenet(blocks=(1, 1, 2, 1), width=8)


def _make_demo(folder: Path) -> Demo:
    return make_refinenet_demo(folder, fit_images=14, test_images=5, recipe=RECIPE)


RECIPE: Recipe = dataclasses.replace(
    FULL,
    name="narrow_refinenet",
    build=_build,
    make_demo=_make_demo,
    inputs=(dataclasses.replace(FULL.inputs[0], shape=("batch", 3, SIDE, SIDE)),),
    outputs=(dataclasses.replace(FULL.outputs[0], shape=("batch", len(VOC_CLASSES), SIDE // 4, SIDE // 4)),),
    preprocessing=tuple(_smaller(step) for step in FULL.preprocessing),
    task=SegmentationTask(size=(SIDE, SIDE)),
)
