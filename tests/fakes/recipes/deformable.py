"""A recipe for ``tests/recipes/small_detector.py``: deformable, of two stages, with random weights."""

from graphopt.core.comparison import Tolerance
from graphopt.core.preprocessing import (
    DecodeCv2,
    NormalizeMmcv,
    PadCentredTo,
    ResizeToFitCv2,
    SwapChannels,
    ToNchw,
)
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.tasks.detection import DetectionTask

HEIGHT, WIDTH = 32, 48
_STEPS = (
    DecodeCv2(),
    ResizeToFitCv2(width=WIDTH, height=HEIGHT, rounding="half_up"),
    SwapChannels(),
    NormalizeMmcv(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    PadCentredTo(width=WIDTH, height=HEIGHT, value=(0.0, 0.0, 0.0)),
    ToNchw(),
)
RECIPE = Recipe(
    name="deformable",
    title="A small deformable detector",
    inputs=(TensorSpec(name="image", shape=(1, 3, HEIGHT, WIDTH), dtype="float32", layout="NCHW"),),
    outputs=(
        TensorSpec(name="dets", shape=(15, 5), dtype="float32", role="dets"),
        TensorSpec(name="labels", shape=(15,), dtype="float32", role="labels"),
    ),
    passes=(),
    tolerance=Tolerance(atol=1e-4, rtol=1e-4, why="float32 behind seven layers"),
    preprocessing=_STEPS,
    task=DetectionTask(steps=_STEPS),
)
