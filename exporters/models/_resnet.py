"""The bottleneck residual network of He et al. 2015, down to its last feature map.

A private module may import torch at its top: the public ones beside it import it when they build.
Attribute names are the checkpoint's key names, so they follow the public checkpoints: ``conv1``,
``bn1``, ``layer1.0.conv1`` ... ``layer4.2.bn3``, ``layerN.0.downsample.0`` and ``.1``.
"""

import torch
from torch import nn

EXPANSION = 4
"""Output channels of a bottleneck over its inner ones."""


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3 (which strides), 1x1 expand, added to the shortcut.

    Args:
        channels_in: of the input.
        width: channels inside; ``width * EXPANSION`` come out.
        stride: 1, or 2 to halve height and width.
    """

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, channels_in, H, W]`` to ``[N, width * EXPANSION, H / stride, W / stride]``."""
        inner = torch.relu(self.bn1(self.conv1(x)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(inner + shortcut)


class ResNet(nn.Module):
    """Stem and four layers of bottlenecks, without the pool and classifier of ImageNet.

    Args:
        blocks: bottlenecks per layer; ``(3, 4, 6, 3)`` is ResNet-50.
        width: channels of the stem; 64 in the paper.
    """

    def __init__(self, blocks: tuple[int, int, int, int], width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(width, width, blocks[0], stride=1)
        self.layer2 = _layer(width * 4, width * 2, blocks[1], stride=2)
        self.layer3 = _layer(width * 8, width * 4, blocks[2], stride=2)
        self.layer4 = _layer(width * 16, width * 8, blocks[3], stride=2)
        self.channels = width * 8 * EXPANSION
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, 3, H, W]`` to the last feature map ``[N, channels, H / 32, W / 32]``."""
        return self.stages(x)[-1]

    def stages(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Map images ``[N, 3, H, W]`` to the maps of all four layers, of strides 4, 8, 16 and 32."""
        layer1 = self.layer1(self.maxpool(torch.relu(self.bn1(self.conv1(x)))))
        layer2 = self.layer2(layer1)
        layer3 = self.layer3(layer2)
        return layer1, layer2, layer3, self.layer4(layer3)


def _layer(channels_in: int, width: int, count: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(channels_in, width, stride)
    return nn.Sequential(first, *(Bottleneck(width * EXPANSION, width, 1) for _ in range(count - 1)))
