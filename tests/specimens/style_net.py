"""A style-transfer network: reflected and repeated borders, instance norm, nearest upsampling."""

from torch import nn

INPUTS = {"image": (1, 3, 19, 22)}


def build() -> nn.Module:
    return nn.Sequential(
        nn.ReflectionPad2d(4), nn.Conv2d(3, 6, 9), nn.InstanceNorm2d(6, affine=True), nn.ReLU(),
        nn.ReplicationPad2d(1), nn.Conv2d(6, 7, 3, stride=2), nn.InstanceNorm2d(7, affine=True), nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.ReflectionPad2d((2, 1, 1, 3)), nn.Conv2d(7, 3, 3),
    )  # fmt: skip
