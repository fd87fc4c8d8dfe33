"""The RefineNet network as torch modules; ``refinenet.py`` builds it.

Attribute names are the public checkpoint's key names, as in DrSleep/refinenet-pytorch: the ResNet's
lie at the top, ``p_ims1d2_outl1_dimred`` reduces the deepest map, ``adapt_stage1_b`` adapts it,
``mflow_conv_g1_pool`` and ``mflow_conv_g1_b`` refine it; ``l1`` and ``g1`` are the coarsest, ``l4``
and ``g4`` the finest.
"""

import torch
from torch import nn
from torch.nn import functional

from graphopt.exporters.models._resnet import EXPANSION, ResNet

ADAPT_UNITS = 2
FLOW_UNITS = 3
POOLINGS = 4
"""Steps of a chained residual pooling block."""
COARSEST_WIDTH = 8
"""Channels of the coarsest path in units of the stem's; the other paths have half of them."""


def _conv3x3(channels_in: int, channels_out: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)


class ResidualUnits(nn.Module):
    """A chain of residual convolution units: each ``x + conv(relu(conv(relu(x))))``.

    Args:
        channels: in and out.
        count: units.
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.count = count
        for number in range(1, count + 1):
            self.add_module(f"{number}_conv", _conv3x3(channels, channels, bias=True))
            self.add_module(f"{number}_conv_relu_varout_dimred", _conv3x3(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, channels, H, W]`` to the same shape."""
        for number in range(1, self.count + 1):
            inner = self.get_submodule(f"{number}_conv")(torch.relu(x))
            x = self.get_submodule(f"{number}_conv_relu_varout_dimred")(torch.relu(inner)) + x
        return x


class ChainedPooling(nn.Module):
    """Chained residual pooling: ever wider context, each step pooled from the one before and added.

    Args:
        channels: in and out.
        kernel: of the max pools, odd; 1 pools nothing.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.maxpool = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)
        for number in range(1, POOLINGS + 1):
            self.add_module(f"{number}_outvar_dimred", _conv3x3(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, channels, H, W]`` to the same shape."""
        top = x
        for number in range(1, POOLINGS + 1):
            top = self.get_submodule(f"{number}_outvar_dimred")(self.maxpool(top))
            x = top + x
        return x


class RefineNet(ResNet):
    """Four cascaded RefineNet blocks on a residual network (Lin et al. 2017).

    Args:
        blocks: bottlenecks per layer of the residual network.
        width: channels of its stem.
        num_classes: logits per cell.
        pool: kernel of the pools in the first three blocks.
        last_pool: kernel of the pools in the last block.
    """

    def __init__(
        self, *, blocks: tuple[int, int, int, int], width: int, num_classes: int, pool: int, last_pool: int
    ) -> None:
        super().__init__(blocks, width)
        coarse, fine = COARSEST_WIDTH * width, COARSEST_WIDTH * width // 2
        self._path(1, width * 8 * EXPANSION, coarse, pool)
        self.mflow_conv_g1_b3_joint_varout_dimred = _conv3x3(coarse, fine)
        for number, layer_width in ((2, width * 4), (3, width * 2), (4, width)):
            self._path(number, layer_width * EXPANSION, fine, last_pool if number == 4 else pool)
            self.add_module(f"adapt_stage{number}_b2_joint_varout_dimred", _conv3x3(fine, fine))
            if number < 4:
                self.add_module(f"mflow_conv_g{number}_b3_joint_varout_dimred", _conv3x3(fine, fine))
        self.clf_conv = _conv3x3(fine, num_classes, bias=True)

    def _path(self, number: int, channels_in: int, channels: int, pool: int) -> None:
        # The units stand in sequences of one because the checkpoint's keys hold that ``.0``.
        self.add_module(f"p_ims1d2_outl{number}_dimred", _conv3x3(channels_in, channels))
        self.add_module(f"adapt_stage{number}_b", nn.Sequential(ResidualUnits(channels, ADAPT_UNITS)))
        self.add_module(f"mflow_conv_g{number}_pool", nn.Sequential(ChainedPooling(channels, pool)))
        self.add_module(f"mflow_conv_g{number}_b", nn.Sequential(ResidualUnits(channels, FLOW_UNITS)))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, 3, H, W]`` to what the classifier sees, ``[N, 4 * width, H / 4, W / 4]``."""
        layer1, layer2, layer3, layer4 = self.stages(x)
        flow = self._refine(1, torch.relu(self._adapt(1, layer4)))
        for number, layer in ((2, layer3), (3, layer2), (4, layer1)):
            # The coarser flow first: its sizes follow from the finer layer alone.
            flow = self._through(f"mflow_conv_g{number - 1}_b3_joint_varout_dimred", flow)
            larger = functional.interpolate(flow, size=layer.shape[2:], mode="bilinear", align_corners=True)
            own = self._through(f"adapt_stage{number}_b2_joint_varout_dimred", self._adapt(number, layer))
            flow = self._refine(number, torch.relu(own + larger))
        return flow

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images float32 ``[N, 3, H, W]`` to logits ``[N, num_classes, H / 4, W / 4]``, rounded up."""
        return self.clf_conv(self.features(x))

    def _adapt(self, number: int, layer: torch.Tensor) -> torch.Tensor:
        reduced = self._through(f"p_ims1d2_outl{number}_dimred", layer)
        return self._through(f"adapt_stage{number}_b", reduced)

    def _refine(self, number: int, flow: torch.Tensor) -> torch.Tensor:
        return self._through(f"mflow_conv_g{number}_b", self._through(f"mflow_conv_g{number}_pool", flow))

    def _through(self, name: str, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.get_submodule(name)(x)
        return answer
