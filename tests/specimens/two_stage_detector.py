"""A two-stage detector: proposals of two levels, suppressed level by level, and judged by their own sizes."""

import importlib.util
from pathlib import Path

import torch
from torch import nn

INPUTS = {"features": (1, 6, 8, 10)}
LEVELS, PROPOSALS, SIZE = 2, 12, 80.0

_spec = importlib.util.spec_from_file_location(
    "dense_detector", Path(__file__).with_name("dense_detector.py")
)
assert _spec is not None
assert _spec.loader is not None
dense = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dense)


class TwoStageDetector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.objectness = nn.Conv2d(6, 1, 1)
        self.deltas = nn.Conv2d(6, 4, 1)
        self.inner = nn.Linear(4, 16)
        self.scores = nn.Linear(16, 4)
        self.refined = nn.Linear(16, 12)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        proposals = self.propose(features)
        boxes = proposals[:, :4]
        inner = self.inner(boxes / SIZE).relu()
        scores = self.scores(inner).softmax(dim=1)[:, :-1]
        moves = self.refined(inner).reshape(-1, 3, 4) * 4
        found, labels = dense.detect((boxes[:, None] + moves).clamp(0, SIZE), scores, 0.1, 0.5, 6)
        return found, labels

    def propose(self, features: torch.Tensor) -> torch.Tensor:
        """Return the best boxes of all levels, float[at most PROPOSALS, 5] with their scores."""
        boxes, scores, levels = [], [], []
        for level in range(LEVELS):
            stride = 8.0 * 2**level
            height, width = features.shape[2:]
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            centers = torch.stack((x, y), dim=-1).reshape(-1, 2) * stride + stride / 2
            own = self.objectness(features)[0].permute(1, 2, 0).reshape(-1).sigmoid()
            best, places = own.topk(16)
            sizes = self.deltas(features)[0].permute(1, 2, 0).reshape(-1, 4)[places].exp() * stride
            corners = torch.cat((centers[places] - sizes[:, :2], centers[places] + sizes[:, 2:]), dim=1)
            boxes.append(corners.clamp(0, SIZE))
            scores.append(best)
            levels.append(best.new_full((best.size(0),), level, dtype=torch.int64))
            features = nn.functional.max_pool2d(features, 2, ceil_mode=True)
        every, chances, which = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
        apart = every + (which.to(every) * (every.max() + 1))[:, None]
        keep = dense.Suppression.apply(apart, chances, 0.6)
        return torch.cat((every[keep], chances[keep][:, None]), dim=1)[:PROPOSALS]


def build() -> nn.Module:
    return TwoStageDetector()
