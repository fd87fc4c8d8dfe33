"""A video classifier: 3-D convolutions, pools over space, over time, over both, trilinear upsampling."""

from torch import nn

INPUTS = {"clip": (1, 3, 6, 12, 10)}


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d((1, 2, 2)),
        nn.Conv3d(4, 5, (1, 3, 3), padding=(0, 1, 1)), nn.ReLU(), nn.AvgPool3d((2, 1, 1)),
        nn.MaxPool3d(3, stride=1, padding=1), nn.Upsample(scale_factor=(2, 2, 2), mode="trilinear"),
        nn.Conv3d(5, 2, 1),
    )  # fmt: skip
