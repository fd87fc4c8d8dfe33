"""Proposals before suppression: the best scores of all places, and the boxes at their indices."""

import torch
from torch import nn

INPUTS = {"features": (1, 6, 7, 9)}


class ProposalHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.boxes = nn.Conv2d(6, 4, 1)
        self.scores = nn.Conv2d(6, 3, 1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        boxes = self.boxes(features).flatten(2).transpose(1, 2)
        scores = self.scores(features).flatten(2).transpose(1, 2).sigmoid()
        best, places = scores.amax(-1).topk(12, dim=1)
        chosen = boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))
        return best, chosen, scores[0][places[0]]


def build() -> nn.Module:
    return ProposalHead()
