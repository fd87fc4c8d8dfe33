"""A detection tower with group normalisation, exported by torch's newer exporter."""

from torch import nn

INPUTS = {"features": (2, 6, 5, 7)}
OPSET = 21
DYNAMO = True


def build() -> nn.Module:
    return nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 3, 1))
