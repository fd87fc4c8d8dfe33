"""From the maps of a dense head to boxes and scores, with fixed sizes and plain operators.

The numbers are those of mmdet's ``predict_by_feat``. It takes the ``nms_pre`` best pairs of location and
class of each level, which is a list of open length. Here the ``nms_pre`` locations with the best classes are
taken, which hold these pairs, and the scores of all their other pairs are set to zero.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphopt.core.errors import ExportError
from graphopt.core.optional import require

if TYPE_CHECKING:
    import torch

Decode = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Priors [..., 2 or 4] and what the network says of them [..., 4], to boxes [..., 4]."""


def decoder_of(coder: Any, size: tuple[int, int]) -> Decode:
    """Return what a box coder of mmdet computes, for images of one height and width.

    Raises:
        ExportError: the coder is of an unknown kind.
    """
    kind = type(coder).__name__
    limits = (float(size[1]), float(size[0])) if getattr(coder, "clip_border", True) else None
    if kind == "DeltaXYWHBBoxCoder":
        return lambda priors, deltas: _moved(priors, deltas, coder, limits)
    if kind == "DistancePointBBoxCoder":
        return lambda points, distances: _clipped(
            (
                points[..., 0] - distances[..., 0],
                points[..., 1] - distances[..., 1],
                points[..., 0] + distances[..., 2],
                points[..., 1] + distances[..., 3],
            ),
            limits,
        )
    raise ExportError(
        f"boxes are coded by {kind}; DeltaXYWHBBoxCoder and DistancePointBBoxCoder are exported"
    )


def _moved(
    priors: "torch.Tensor", deltas: "torch.Tensor", coder: Any, limits: tuple[float, float] | None
) -> "torch.Tensor":
    """Move and scale anchors (Girshick et al., arXiv 1311.2524, appendix C), as mmdet clamps them."""
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    largest = abs(math.log(16 / 1000))  # mmdet's default of wh_ratio_clip, which no configuration changes
    width, height = priors[..., 2] - priors[..., 0], priors[..., 3] - priors[..., 1]
    move_x, move_y = deltas[..., 0] * width, deltas[..., 1] * height
    scale_x, scale_y = deltas[..., 2], deltas[..., 3]
    if coder.add_ctr_clamp:
        move_x, move_y = (item.clamp(-coder.ctr_clamp, coder.ctr_clamp) for item in (move_x, move_y))
        scale_x, scale_y = (item.clamp(max=largest) for item in (scale_x, scale_y))
    else:
        scale_x, scale_y = (item.clamp(-largest, largest) for item in (scale_x, scale_y))
    center_x = (priors[..., 0] + priors[..., 2]) * 0.5 + move_x
    center_y = (priors[..., 1] + priors[..., 3]) * 0.5 + move_y
    half_x, half_y = width * scale_x.exp() * 0.5, height * scale_y.exp() * 0.5
    return _clipped((center_x - half_x, center_y - half_y, center_x + half_x, center_y + half_y), limits)


def _clipped(
    sides: tuple["torch.Tensor", "torch.Tensor", "torch.Tensor", "torch.Tensor"],
    limits: tuple[float, float] | None,
) -> "torch.Tensor":
    torch: Any = require("torch", extra="torch", purpose="exporting a detector")
    if limits is not None:
        sides = tuple(side.clamp(0, limits[index % 2]) for index, side in enumerate(sides))
    boxes: torch.Tensor = torch.stack(sides, -1)
    return boxes


class DenseDecoder:
    """The outputs of one dense head, all levels joined.

    Args:
        head: of mmdet, with ``prior_generator`` and ``bbox_coder``.
        sizes: height and width of each level's map.
        size: of the image.
        settings: its test configuration; ``min_bbox_size`` drops boxes without area.
        batched: leave the number of images open in what is traced; else it is 1.

    Raises:
        ExportError: the box coder is unknown.
    """

    def __init__(
        self,
        head: Any,
        sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
        settings: Any,
        *,
        batched: bool = False,
    ) -> None:
        self._head = head
        self._images = -1 if batched else 1
        self._priors = [item.detach() for item in head.prior_generator.grid_priors(sizes, device="cpu")]
        self._most = int(settings.get("nms_pre", -1))
        self._decode = decoder_of(head.bbox_coder, size)
        self.count = sum(min(len(item), self._most) if self._most > 0 else len(item) for item in self._priors)
        """Candidates of an image, before classes."""
        self._flat = float(settings.get("min_bbox_size", -1))

    def __call__(
        self,
        scores: Sequence["torch.Tensor"],
        moves: Sequence["torch.Tensor"],
        factors: Sequence["torch.Tensor"],
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor | None", list[int]]:
        """Return the candidates of all levels.

        Args:
            scores: per level, float [B, A * C, H, W].
            moves: per level, float [B, A * 4, H, W].
            factors: per level, float [B, A, H, W]; none when the head has no such branch.

        Returns:
            boxes float [B, N, 4]; scores [B, N, C]; factors [B, N, 1] or None; and the number of candidates
            of each level. Boxes without area, where these are dropped, have scores of zero.
        """
        torch: Any = require("torch", extra="torch", purpose="exporting a detector")
        levels = [
            self._level(*level)
            for level in zip(scores, moves, factors or [None] * len(scores), self._priors, strict=True)
        ]
        boxes = self._decode(
            torch.cat([item[0] for item in levels], -2), torch.cat([item[1] for item in levels], 1)
        )
        chances = torch.cat([item[2] for item in levels], 1)
        if self._flat >= 0:
            wide = boxes[..., 2] - boxes[..., 0] > self._flat
            high = boxes[..., 3] - boxes[..., 1] > self._flat
            chances = chances * (wide.to(chances) * high.to(chances)).unsqueeze(2)
        every = torch.cat([item[3] for item in levels], 1) if factors else None
        return boxes, chances, every, [int(item[2].shape[1]) for item in levels]

    def _level(
        self,
        scores: "torch.Tensor",
        moves: "torch.Tensor",
        factors: "torch.Tensor | None",
        priors: "torch.Tensor",
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor", "torch.Tensor | None"]:
        count = int(priors.shape[0])
        chances = self._rows(scores, count, self._head.cls_out_channels)
        chances = chances.sigmoid() if self._head.use_sigmoid_cls else chances.softmax(-1)[..., :-1]
        moved = self._rows(moves, count, 4)
        factor = None if factors is None else self._rows(factors, count, 1).sigmoid()
        if not 0 < self._most < count:
            listed = priors.unsqueeze(0)
            if self._images < 0:
                listed = listed.expand(moved.shape[0], -1, -1)
            return listed, moved, self._best_pairs(chances), factor
        classes = int(chances.shape[2])
        best = chances.reshape(self._images, count) if classes == 1 else chances.max(2)[0]
        places = best.topk(self._most)[1]
        moved, chances = self._picked(moved, places), self._picked(chances, places)
        factor = None if factor is None else self._picked(factor, places)
        return priors[places], moved, self._best_pairs(chances), factor

    def _picked(self, rows: "torch.Tensor", places: "torch.Tensor") -> "torch.Tensor":
        if self._images > 0:  # a plain look-up is what devices do fastest
            return rows.index_select(1, places.reshape(-1))
        return rows.gather(1, places.unsqueeze(2).expand(-1, -1, int(rows.shape[2])))

    def _rows(self, maps: "torch.Tensor", count: int, width: int) -> "torch.Tensor":
        return maps.permute(0, 2, 3, 1).reshape(self._images, count, width)

    def _best_pairs(self, chances: "torch.Tensor") -> "torch.Tensor":
        """Leave the ``nms_pre`` best scores of a level [B, n, C]; the others become zero."""
        total = int(chances.shape[1]) * int(chances.shape[2])
        if not 0 < self._most < total:
            return chances
        torch: Any = require("torch", extra="torch", purpose="exporting a detector")
        least = chances.reshape(self._images, total).topk(self._most)[0].amin(1, keepdim=True)
        kept: torch.Tensor = torch.where(chances < least.unsqueeze(2), 0.0, chances)
        return kept
