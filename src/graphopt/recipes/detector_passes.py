"""The steps that published detectors share, behind those that replace what a target has operators for."""

from graphopt.surgery import PassStep
from graphopt.surgery.presets import AFTER_REPLACING

CLEAN = tuple(
    PassStep(name, {"require_static": True} if name == "static_shapes" else {})
    for name in AFTER_REPLACING.split(",")
)
"""As in the preset ``detector``, but an open size is an error: these graphs have none."""
