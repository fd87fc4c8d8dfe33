"""From logits per class to a mask of class indices, and masks in a network's frame."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import UsageError
from graphopt.core.optional import require
from graphopt.core.tensors import Array
from graphopt.runtime.letterbox import Letterbox

Mask = NDArray[np.uint8]
"""Class indices [H, W]."""


def mask_from_logits(logits: Array, *, height: int, width: int) -> Mask:
    """Upsample one image's logits bilinearly and take the largest class of each pixel.

    Pixel centres are aligned (``align_corners=False`` of PyTorch, ``INTER_LINEAR`` of OpenCV),
    which is what the original post-processing does in float64 with ``F.interpolate``; here it is
    float32. Of equal classes the first wins. The classes are taken one after the other, so that
    the upsampled planes stay in the processor's cache.

    Args:
        logits: floats [K, h, w], all finite, K at most 255.
        height: of the mask.
        width: of the mask.

    Returns:
        uint8 [height, width].

    Raises:
        UsageError: another shape or dtype.
    """
    if logits.ndim != 3 or not 1 <= len(logits) <= 255 or not np.issubdtype(logits.dtype, np.floating):
        raise UsageError(f"logits are {logits.dtype} {list(logits.shape)}, expected floats [K, h, w]")
    cv2: Any = require("cv2", extra="vision", purpose="decoding masks")
    planes = np.ascontiguousarray(logits, np.float32)
    size = (width, height)
    best = cv2.resize(planes[0], size, interpolation=cv2.INTER_LINEAR)
    mask = np.zeros((height, width), np.uint8)
    label, larger, plane = np.empty_like(mask), np.empty_like(mask), np.empty_like(best)
    for index in range(1, len(planes)):
        cv2.resize(planes[index], size, dst=plane, interpolation=cv2.INTER_LINEAR)
        cv2.compare(plane, best, cv2.CMP_GT, dst=larger)
        cv2.max(plane, best, dst=best)
        label.fill(index)
        cv2.copyTo(label, larger, mask)
    return mask


def mask_on_canvas(mask: Mask, place: Letterbox, *, fill: int) -> Mask:
    """Put a mask of the source image where the network sees the image; ``fill`` is around it.

    The nearest pixel is taken, by OpenCV's rule (``INTER_NEAREST``), as albumentations 1.1.0 does.
    """
    if (place.width, place.height) != (place.source_width, place.source_height):
        cv2: Any = require("cv2", extra="vision", purpose="resizing masks")
        mask = cv2.resize(mask, (place.width, place.height), interpolation=cv2.INTER_NEAREST)
    canvas = np.full((place.canvas_height, place.canvas_width), fill, np.uint8)
    canvas[place.inner] = mask
    return canvas


def mask_on_source(canvas: Mask, place: Letterbox) -> Mask:
    """Cut the image out of the network's frame and bring it to its own size, nearest pixel."""
    inner = np.ascontiguousarray(canvas[place.inner])
    if (place.width, place.height) == (place.source_width, place.source_height):
        return inner
    cv2: Any = require("cv2", extra="vision", purpose="resizing masks")
    size = (place.source_width, place.source_height)
    resized: Mask = cv2.resize(inner, size, interpolation=cv2.INTER_NEAREST)
    return resized
