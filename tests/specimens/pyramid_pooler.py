"""Regions pooled from a pyramid as torchvision does: answers scattered along the regions, not aligned."""

from typing import Any

import torch
from torch import nn

INPUTS = {"fine": (1, 4, 24, 20), "coarse": (1, 4, 12, 10), "places": (9, 4)}
SCALES = (0.25, 0.125)
CANONICAL_SIZE, CANONICAL_LEVEL, FIRST_LEVEL = 80, 4, 2


class Pooling(torch.autograd.Function):
    """Only the node matters here: nothing in a specimen is run before it is exported."""

    @staticmethod
    def symbolic(g: Any, features: Any, rois: Any, scale: float) -> Any:
        first, others = (
            g.op("Constant", value_t=torch.tensor(columns, dtype=torch.int64))
            for columns in ([0], [1, 2, 3, 4])
        )
        images = g.op("Squeeze", g.op("Gather", rois, first, axis_i=1), axes_i=[1])
        return g.op(
            "RoiAlign",
            features,
            g.op("Gather", rois, others, axis_i=1),
            g.op("Cast", images, to_i=7),
            output_height_i=3,
            output_width_i=3,
            sampling_ratio_i=2,
            spatial_scale_f=scale,
        )

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, rois: torch.Tensor, scale: float) -> torch.Tensor:
        return features.new_ones(rois.shape[0], features.shape[1], 3, 3) * features.mean()


class PyramidPooler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.judge = nn.Linear(4 * 9, 5)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        corner, sides = places[:, :2].abs() * 20, places[:, 2:].abs() * 50
        boxes = torch.cat([corner, corner + sides], dim=1)
        rois = torch.cat([torch.full_like(boxes[:, :1], 0), boxes], dim=1)
        size = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        wanted = CANONICAL_LEVEL + torch.log2(size / CANONICAL_SIZE) + torch.tensor(1e-6)
        level = torch.floor(wanted).clamp(min=FIRST_LEVEL, max=FIRST_LEVEL + 1).to(torch.int64) - FIRST_LEVEL
        parts = []
        for index, (features, scale) in enumerate(zip((fine, coarse), SCALES, strict=True)):
            rows = torch.where(level == index)[0]
            parts.append((rows, Pooling.apply(features, rois[rows], scale)))
        pooled = fine.new_zeros(level.shape[0], 4, 3, 3)
        for rows, part in parts:
            spread = rows.view(-1, 1, 1, 1).expand(rows.shape[0], 4, 3, 3)
            pooled = pooled.scatter(0, spread, part)
        return self.judge(pooled.flatten(1))


def build() -> nn.Module:
    return PyramidPooler()
