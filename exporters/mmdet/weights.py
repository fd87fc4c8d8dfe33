"""Load public checkpoints of mmdet 1.x, 2.x and 3.x into a network of 3.x."""

import logging
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphopt.core.errors import CheckpointError
from graphopt.core.tensors import Array
from graphopt.exporters.checkpoint import Checkpoint, LoadReport, load_into, read_checkpoint

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_RENAMED: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # 1.x called the last layers of its dense heads after the head.
    (re.compile(r"^(bbox_head\.)(?:fcos|fovea|solo)_(cls|reg|centerness)\."), r"\1conv_\2."),
    # Deformable convolutions before mmcv 0.5 had the offsets' layer beside them.
    (re.compile(r"(\.conv\d)_offset\.(weight|bias)$"), r"\1.conv_offset.\2"),
    # 1.x had the parts of a second stage at the top.
    (
        re.compile(r"^((?:bbox|mask|semantic|grid|mask_iou|shared)_head|(?:bbox|mask)_roi_extractor)\."),
        r"roi_head.\1.",
    ),
    # RetinaNet of 0.5.3 and before had plain convolutions in its head, SSD before 2.14 none in a list.
    (re.compile(r"^(bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)$"), r"\1.conv.\2"),
    (re.compile(r"^(bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    # SSD before 2.14 had its extra layers in the backbone.
    (re.compile(r"^backbone\.(l2_norm\.weight)$"), r"neck.\1"),
    (
        re.compile(r"^backbone\.extra\.(\d+)\.(weight|bias)$"),
        lambda match: f"neck.extra_layers.{int(match[1]) // 2}.{int(match[1]) % 2}.conv.{match[2]}",
    ),
)
_AVERAGED = "ema_"
_BACKGROUND_FIRST = re.compile(
    r"^(?:bbox_head\.(?:\d+\.)?fc_(cls|reg)|mask_head\.(?:\d+\.)?conv_(logits))\.(?:weight|bias)$"
)
_OLD_SSD = "backbone.extra.0.weight"
_OF_1X = re.compile(r"[01]\.")
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

    _check_version(content, shapes)
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


def _check_version(content: Checkpoint, keys: Collection[str]) -> None:
    """Tell of a file of 1.x what loading cannot mend.

    Raises:
        CheckpointError: the classes of SSD would be in the wrong order.
    """
    meta = content.meta.get("meta")
    version = str(meta.get("mmdet_version", "")) if isinstance(meta, Mapping) else ""
    if "neck.extra_layers.0.0.conv.weight" in keys and _OF_1X.match(version or "0."):
        if _OLD_SSD in content.state_dict:
            raise CheckpointError(
                f"{content.path} is an SSD of mmdet {version or '(unknown version)'}, whose classes have the "
                "background first; convert it with upgrade_model_version.py of mmdet 2"
            )
    elif _OF_1X.match(version) and any(key.startswith(("rpn_head.", "bbox_head.retina")) for key in keys):
        _log.warning(
            "%s was made by mmdet %s, whose anchors lie half a pixel off those of today and whose boxes end "
            "one pixel later: detections differ a little from what was trained",
            content.path,
            version,
        )


def _renamed(name: str, keys: Collection[str]) -> str:
    """Return the key of the network that a key of the checkpoint means; itself when there is none."""
    tried = [name]
    for pattern, new in _RENAMED:
        tried += [changed for item in tried if (changed := pattern.sub(new, item)) != item]
    return next((item for item in tried if item in keys), name)


def _background_last(name: str, array: Array) -> Array:
    """Move class 0 of 1.x, the background, behind the others; its boxes and masks are dropped."""
    match = _BACKGROUND_FIRST.match(name)
    if match is None:
        return array
    if match[1] == "cls":
        return np.concatenate((array[1:], array[:1]))
    own = _SIDES if match[1] == "reg" else 1
    return array[own:] if len(array) > own else array
