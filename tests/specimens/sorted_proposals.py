"""The head of a two-stage detector of 2020: scores sorted whole and cut, deltas taken in steps of four."""

import torch
from torch import nn

INPUTS = {"features": (1, 5, 9, 11)}
FOLD = False


class SortedProposals(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(5, 3, 1)
        self.deltas = nn.Conv2d(5, 12, 1)
        self.classes = nn.Linear(4, 28)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.scores(features)[0].permute(1, 2, 0).reshape(-1).sigmoid()
        deltas = self.deltas(features)[0].permute(1, 2, 0).reshape(-1, 4)
        ordered, places = scores.sort(descending=True)
        ordered, chosen = ordered[:40], deltas[places[:40]]
        sides = [chosen[:, part::4].tanh() * 8 for part in range(4)]
        boxes = torch.stack(sides, dim=-1).reshape(-1, 4)
        per_class = self.classes(boxes)
        left, right = per_class[:, 0::4], per_class[:, 2::4].exp()
        return torch.cat((boxes, ordered[:, None]), dim=-1), left + right


def build() -> nn.Module:
    return SortedProposals()
