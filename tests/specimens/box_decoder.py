"""The tail of a one-stage detector: a cropped map, anchors, deltas by column, boxes clipped and joined."""

import torch
from torch import nn

INPUTS = {"features": (1, 6, 8, 10)}
FOLD = False


class BoxDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.regression = nn.Conv2d(6, 4, 3, padding=1)
        self.scores = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inner = features[:, :, 1:-1, 2:-2]
        deltas = self.regression(inner).permute(0, 2, 3, 1).reshape(inner.size(0), -1, 4)
        scores = self.scores(inner).permute(0, 2, 3, 1).reshape(inner.size(0), -1, 3).sigmoid()
        ys = torch.arange(inner.size(2), device=features.device)
        xs = torch.arange(inner.size(3), device=features.device)
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        points = torch.stack((grid_x.reshape(-1), grid_y.reshape(-1)), dim=-1) * 8 + 4
        centre_x = points[:, 0] + deltas[..., 0]
        centre_y = points[:, 1] + deltas[..., 1]
        half_width, half_height = deltas[..., 2].exp() * 4, deltas[..., 3].exp() * 4
        left_top = torch.stack((centre_x - half_width, centre_y - half_height), dim=-1)
        right_bottom = torch.stack((centre_x + half_width, centre_y + half_height), dim=-1)
        boxes = torch.cat(
            [torch.cat([left_top, right_bottom], dim=-1), scores.amax(-1, keepdim=True)], dim=-1
        )
        return boxes.clamp(min=0.0, max=80.0), scores


def build() -> nn.Module:
    return BoxDecoder()
