"""What the recipes of published detectors share: preprocessing, outputs, passes behind the replacements."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.core.preprocessing import (
    DecodeCv2,
    NormalizeMmcv,
    PadCentredTo,
    ResizeToFitCv2,
    Step,
    SwapChannels,
    ToNchw,
)
from graphopt.core.tensors import TensorSpec
from graphopt.surgery import PassStep
from graphopt.surgery.presets import AFTER_REPLACING

if TYPE_CHECKING:
    import torch

CLEAN = tuple(
    PassStep(name, {"require_static": True} if name == "static_shapes" else {})
    for name in AFTER_REPLACING.split(",")
)
"""As in the preset ``detector``, but an open size is an error: these graphs have none."""

_DETECTIONS = 100
"""What mmdet's test configurations keep (max_per_img)."""

DETS = TensorSpec(
    name="dets",
    shape=(_DETECTIONS, 5),
    dtype="float32",
    unit="x1, y1, x2, y2 in pixels of the input, then score",
    role="dets",
)
LABELS = TensorSpec(name="labels", shape=(_DETECTIONS,), dtype="int64", unit="class", role="labels")


def square_rgb_steps(side: int) -> tuple[Step, ...]:
    """Return the steps from a file to a square input of ``side`` pixels, normalised as ImageNet is."""
    return (
        DecodeCv2(colour="BGR"),
        ResizeToFitCv2(width=side, height=side, rounding="half_up"),
        SwapChannels(),
        NormalizeMmcv(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        PadCentredTo(width=side, height=side, value=(0.0, 0.0, 0.0)),
        ToNchw(),
    )


def square_rgb_input(side: int) -> TensorSpec:
    """Return the input that ``square_rgb_steps`` make."""
    return TensorSpec(
        name="input",
        shape=(1, 3, side, side),
        dtype="float32",
        layout="NCHW",
        unit="RGB, normalised with the ImageNet mean and deviation",
    )


def network(
    config: str,
    size: tuple[int, int],
    *,
    changes: Mapping[str, Any] | None = None,
    batched: bool = False,
    order: Sequence[str] = ("dets", "labels"),
) -> "Callable[[], torch.nn.Module]":
    """Return a recipe's ``build`` for a detector of mmdet; see ``mmdet_export.build_detector``."""
    return partial(_build, config, size, dict(changes or {}), batched, tuple(order))


def load_weights(module: "torch.nn.Module", checkpoint: Path) -> Mapping[str, Any]:
    """Read a checkpoint of mmdet into what ``network`` made: a recipe's ``load``."""
    from graphopt.recipes.mmdet_export import load_detector_weights

    return load_detector_weights(module, checkpoint)


def _build(
    config: str, size: tuple[int, int], changes: Mapping[str, Any], batched: bool, order: Sequence[str]
) -> "torch.nn.Module":
    from graphopt.recipes.mmdet_export import build_detector

    return build_detector(config, size, changes=changes, batched=batched, order=order)
