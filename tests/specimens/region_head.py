"""Regions pooled from a pyramid as mmdet 3.x does: rows of each level picked out and written back."""

from typing import Any

import torch
from torch import nn

INPUTS = {"fine": (1, 4, 24, 20), "coarse": (1, 4, 12, 10), "places": (9, 4)}
SCALES = (0.25, 0.125)
FINEST = 20


class AlignedPooling(torch.autograd.Function):
    """Only the node matters here: nothing in a specimen is run before it is exported."""

    @staticmethod
    def symbolic(g: Any, features: Any, rois: Any, scale: float) -> Any:
        first, others = (
            g.op("Constant", value_t=torch.tensor(columns, dtype=torch.int64))
            for columns in ([0], [1, 2, 3, 4])
        )
        images = g.op("Squeeze", g.op("Gather", rois, first, axis_i=1), axes_i=[1])
        shift = g.op("Constant", value_t=torch.tensor([0.5 / scale]))
        return g.op(
            "RoiAlign",
            features,
            g.op("Sub", g.op("Gather", rois, others, axis_i=1), shift),
            g.op("Cast", images, to_i=7),
            output_height_i=3,
            output_width_i=3,
            sampling_ratio_i=0,
            spatial_scale_f=scale,
            mode_s="avg",
        )

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, rois: torch.Tensor, scale: float) -> torch.Tensor:
        return features.new_ones(rois.shape[0], features.shape[1], 3, 3) * features.mean()


class RegionHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.judge = nn.Linear(4 * 9, 5)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        corner, sides = places[:, :2].abs() * 20, places[:, 2:].abs() * 50
        boxes = torch.cat([corner, corner + sides], dim=1)
        rois = torch.cat([boxes.new_zeros(boxes.shape[0], 1), boxes], dim=1)
        size = torch.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
        level = torch.floor(torch.log2(size / FINEST + 1e-6)).clamp(min=0, max=1).long()
        pooled = fine.new_zeros(rois.shape[0], 4, 3, 3)
        for index, (features, scale) in enumerate(zip((fine, coarse), SCALES, strict=True)):
            rows = (level == index).nonzero(as_tuple=False).squeeze(1)
            pooled[rows] = AlignedPooling.apply(features, rois[rows], scale)
        return self.judge(pooled.flatten(1))


def build() -> nn.Module:
    return RegionHead()
