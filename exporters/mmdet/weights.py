"""Load public checkpoints of mmdet 1.x, 2.x and 3.x into a network of 3.x."""

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphopt.core.tensors import Array
from graphopt.exporters.checkpoint import Checkpoint, LoadReport, load_into, read_checkpoint

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_RENAMED = (
    # 1.x called the last layers of its dense heads after the head.
    (re.compile(r"^(bbox_head\.)(?:fcos|fovea|solo)_(cls|reg|centerness)\."), r"\1conv_\2."),
    # Deformable convolutions before mmcv 0.5 had the offsets' layer beside them.
    (re.compile(r"(\.conv\d)_offset\.(weight|bias)$"), r"\1.conv_offset.\2"),
    # 1.x had the boxes' head of a second stage at the top.
    (
        re.compile(r"^(bbox_head|mask_head|bbox_roi_extractor|mask_roi_extractor|shared_head)\."),
        r"roi_head.\1.",
    ),
)
_AVERAGED = "ema_"
_BACKGROUND_FIRST = re.compile(r"^bbox_head\.(?:\d+\.)?fc_(cls|reg)\.(weight|bias)$")
_SIDES = 4


def load_detector(
    module: "torch.nn.Module", checkpoint: Checkpoint | Path, *, partial: bool = False
) -> LoadReport:
    """Copy a checkpoint's weights into a detector.

    Keys of earlier versions are renamed, moving averages kept beside the weights (``ema_``) are left out,
    and the classes of two-stage detectors of 1.x, which had the background first, are put in order.

    Args:
        module: of mmdet 3.x.
        checkpoint: read, or its path.
        partial: accept keys that are missing, unexpected or of another shape; they are logged and listed.

    Raises:
        CheckpointError: it cannot be read, or does not fit; the keys are listed.
    """
    content = checkpoint if isinstance(checkpoint, Checkpoint) else read_checkpoint(checkpoint)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}

    def adapt(arrays: dict[str, Array], keys: Collection[str]) -> dict[str, Array]:
        adapted = adapted_weights(arrays, keys)
        if not partial:
            return adapted
        left = {name: item for name, item in adapted.items() if shapes.get(name) == item.shape}
        if others := sorted(set(adapted) - set(left)):
            _log.warning("%s: %d keys are not used: %s", content.path, len(others), ", ".join(others[:20]))
        return left

    report = load_into(module, content, allow_missing=tuple(shapes) if partial else (), adapt=adapt)
    if partial and report.missing:
        missing = ", ".join(report.missing[:20])
        _log.warning("%s: %d keys stay as they were: %s", content.path, len(report.missing), missing)
    return report


def adapted_weights(arrays: dict[str, Array], keys: Collection[str]) -> dict[str, Array]:
    """Return a checkpoint's tensors under the network's keys; those that are unknown keep theirs."""
    is_first = any(map(_BACKGROUND_FIRST.match, arrays)) and any(key.startswith("roi_head.") for key in keys)
    result: dict[str, Array] = {}
    for name, array in arrays.items():
        if name.startswith(_AVERAGED) and name not in keys:
            continue
        if is_first:
            array = _background_last(name, array)
        result[_renamed(name, keys)] = array
    return result


def _renamed(name: str, keys: Collection[str]) -> str:
    """Return the key of the network that a key of the checkpoint means; itself when there is none."""
    tried = name
    for pattern, new in _RENAMED:
        if tried in keys:
            break
        tried = pattern.sub(new, tried)
    return tried if tried in keys else name


def _background_last(name: str, array: Array) -> Array:
    """Move class 0 of 1.x, the background, behind the others; it had boxes, too, which are dropped."""
    match = _BACKGROUND_FIRST.match(name)
    if match is None:
        return array
    if match[1] == "cls":
        return np.concatenate((array[1:], array[:1]))
    return array[_SIDES:] if len(array) > _SIDES else array
