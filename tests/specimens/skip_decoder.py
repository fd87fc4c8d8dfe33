"""A segmentation decoder that resizes to the size of a skip connection, with a dynamic batch."""

import torch
from torch import nn
from torch.nn import functional

INPUTS = {"image": (2, 3, 18, 22)}
DYNAMIC_AXES = {"image": {0: "batch"}}
FOLD = False


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(5, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.lateral = nn.Conv2d(8, 5, 1)
        self.head = nn.Conv2d(5, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        fine = self.stem(image)
        coarse = self.lateral(self.down(fine))
        up = functional.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.head(fine + up)


def build() -> nn.Module:
    return Decoder()
