"""A classifier head exported in training mode: its Dropout nodes stay in the graph."""

from torch import nn

INPUTS = {"features": (2, 6, 5, 7)}
TRAINING = True


def build() -> nn.Module:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(9, 4),
    )  # fmt: skip
