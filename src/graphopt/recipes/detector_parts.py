"""What the recipes of published detectors share: preprocessing, outputs, passes behind the replacements."""

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
