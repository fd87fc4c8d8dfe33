"""A one-stage detector with its post-processing: scores by centerness, one suppression for all classes."""

from typing import Any

import torch
from torch import nn

INPUTS = {"features": (1, 6, 7, 9)}
CLASSES, KEPT, SIZE = 3, 20, 72.0


class Suppression(torch.autograd.Function):
    """Greedy suppression that exports as the standard operator."""

    @staticmethod
    def forward(ctx: Any, boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
        kept: list[int] = []
        for place in scores.argsort(descending=True).tolist():
            better = boxes[kept]
            low = torch.maximum(better[:, :2], boxes[place, :2])
            high = torch.minimum(better[:, 2:], boxes[place, 2:])
            shared = (high - low).clamp(min=0).prod(1)
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            if not (shared / (areas[kept] + areas[place] - shared) > overlap).any():
                kept.append(place)
        return torch.tensor(kept, dtype=torch.int64)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, overlap: float) -> Any:
        def constant(value: Any, dtype: torch.dtype = torch.int64) -> Any:
            return g.op("Constant", value_t=torch.tensor(value, dtype=dtype))

        chosen = g.op(
            "NonMaxSuppression",
            g.op("Unsqueeze", boxes, axes_i=[0]),
            g.op("Unsqueeze", scores, axes_i=[0, 1]),
            constant([1 << 40]),
            constant([overlap], torch.float32),
        )
        return g.op("Squeeze", g.op("Gather", chosen, constant([2]), axis_i=1), axes_i=[1])


def detect(
    boxes: torch.Tensor, scores: torch.Tensor, threshold: float, overlap: float, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Suppress boxes [N, 4] or [N, C, 4] with scores [N, C] class by class; the best ones come first."""
    count = scores.size(1)
    if boxes.dim() == 2:
        boxes = boxes[:, None].expand(scores.size(0), count, 4)
    labels = torch.arange(count).view(1, -1).expand_as(scores).reshape(-1)
    boxes, scores = boxes.reshape(-1, 4), scores.reshape(-1)
    places = (scores > threshold).nonzero().squeeze(1)
    boxes, scores, labels = boxes[places], scores[places], labels[places]
    apart = boxes + (labels.to(boxes) * (boxes.max() + 1))[:, None]
    keep = Suppression.apply(apart, scores, overlap)[:most]
    return torch.cat((boxes[keep], scores[keep][:, None]), dim=1), labels[keep]


class DenseDetector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(6, CLASSES, 1)
        self.centers = nn.Conv2d(6, 1, 1)
        self.distances = nn.Conv2d(6, 4, 1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = features.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        points = torch.stack((x, y), dim=-1).reshape(-1, 2) * 8.0 + 4
        scores = self.scores(features)[0].permute(1, 2, 0).reshape(-1, CLASSES).sigmoid()
        centers = self.centers(features)[0].permute(1, 2, 0).reshape(-1).sigmoid()
        distances = self.distances(features)[0].permute(1, 2, 0).reshape(-1, 4).exp() * 8
        _, places = (scores * centers[:, None]).max(dim=1)[0].topk(KEPT)
        points, distances, scores, centers = (item[places] for item in (points, distances, scores, centers))
        corners = torch.cat((points - distances[:, :2], points + distances[:, 2:]), dim=1)
        boxes = torch.stack([corners[:, side].clamp(0, SIZE) for side in range(4)], dim=-1)
        padded = torch.cat((scores, scores.new_zeros(scores.size(0), 1)), dim=1)
        return detect(boxes, padded[:, :-1] * centers[:, None], 0.2, 0.5, 10)


def build() -> nn.Module:
    return DenseDetector()
