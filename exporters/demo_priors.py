"""Which prior of a dense head speaks for which labelled box, and how well it fits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphopt.core.optional import require

if TYPE_CHECKING:
    import torch

_PURPOSE = "making a demo checkpoint"
_HALF = 0.5
"""Of the best overlap that a box has with any anchor: below it, an anchor does not speak for the box."""
_LEAST = 0.05
"""Overlap below which even the best anchor speaks for nothing in full."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is to be found in an image.

    Attributes:
        boxes: float32 [n, 4] of x1, y1, x2, y2 in pixels of the input.
        classes: int64 [n].
    """

    boxes: "torch.Tensor"
    classes: "torch.Tensor"


def assigned(head: Any, priors: Sequence["torch.Tensor"], boxes: "torch.Tensor") -> list[tuple[Any, Any]]:
    """Return for each level the quality of its priors, float32 [P] from 0 to 1, and their boxes, int64 [P].

    A point's quality is its centerness in the smallest box around it that its level is for; an anchor's
    is its overlap beside the best one that the box has with any anchor.

    Args:
        head: of mmdet; one with points has ``regress_ranges``.
        priors: of each level, float32 [P, 2] points or [P, 4] anchors.
        boxes: float32 [n, 4], n at least 1.
    """
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    if priors[0].shape[1] == 2:
        return [_by_point(torch, *item, boxes) for item in zip(priors, head.regress_ranges, strict=True)]
    overlap = overlaps(torch.cat(list(priors)), boxes)
    beside = overlap / overlap.max(0)[0].clamp(min=_LEAST)
    quality, owner = ((beside - _HALF) / (1 - _HALF)).clamp(0, 1).max(1)
    counts = [len(item) for item in priors]
    return list(zip(quality.split(counts), owner.split(counts), strict=True))


def overlaps(boxes: "torch.Tensor", others: "torch.Tensor") -> "torch.Tensor":
    """Return intersection over union, float32 [n, m]."""
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    first, second = ((item[:, 2:] - item[:, :2]).clamp(min=0).prod(1) for item in (boxes, others))
    union: torch.Tensor = (first[:, None] + second[None] - shared).clamp(min=1e-6)
    found: torch.Tensor = shared / union
    return found


def centerness(points: "torch.Tensor", boxes: "torch.Tensor") -> "torch.Tensor":
    """Return 1 in a box's middle, 0 at its borders and outside (Tian et al., arXiv 1904.01355, eq. 3)."""
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    left, top, right, bottom = sides(points, boxes).unbind(-1)
    across = torch.minimum(left, right) / torch.maximum(left, right).clamp(min=1e-6)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    found: torch.Tensor = (across.clamp(min=0) * down.clamp(min=0)).sqrt()
    return found


def sides(points: "torch.Tensor", boxes: "torch.Tensor") -> "torch.Tensor":
    """Return the distances from points [..., 2] to the left, top, right, bottom of boxes [..., 4]."""
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    found: torch.Tensor = torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), -1)
    return found


def _by_point(torch: Any, points: Any, reach: tuple[float, float], boxes: Any) -> tuple[Any, Any]:
    far = sides(points[:, None].expand(-1, len(boxes), -1), boxes[None].expand(len(points), -1, -1))
    longest = far.max(2)[0]
    inside = (far.min(2)[0] > 0) & (longest >= reach[0]) & (longest <= reach[1])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)[None].expand(len(points), -1)
    smallest, owner = torch.where(inside, area, math.inf).min(1)
    quality = centerness(points, boxes[owner])
    return torch.where(smallest < math.inf, quality, 0.0), owner
