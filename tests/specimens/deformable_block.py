"""Deformable convolutions as mmcv's autograd functions leave them in a graph: without a mask and with one."""

from typing import Any

import torch
from torch import nn

INPUTS = {"image": (1, 8, 18, 20)}


class Plain(torch.autograd.Function):
    """Only the node matters here: nothing in a specimen is run before it is exported."""

    @staticmethod
    def symbolic(g: Any, image: Any, offset: Any, weight: Any) -> Any:
        return g.op(
            "mmcv::MMCVDeformConv2d",
            image,
            offset,
            weight,
            stride_i=[2, 2],
            padding_i=[1, 1],
            dilation_i=[1, 1],
            groups_i=1,
            deform_groups_i=1,
            bias_i=0,
            im2col_step_i=32,
        )

    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, offset: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(image, weight, stride=2, padding=1) + 0 * offset[:, :1]


class Masked(torch.autograd.Function):
    """As ``Plain``, with a mask and a bias."""

    @staticmethod
    def symbolic(g: Any, image: Any, offset: Any, mask: Any, weight: Any, bias: Any) -> Any:
        return g.op(
            "mmcv::MMCVModulatedDeformConv2d",
            image,
            offset,
            mask,
            weight,
            bias,
            stride_i=[1, 1],
            padding_i=[1, 1],
            dilation_i=[1, 1],
            groups_i=1,
            deform_groups_i=2,
        )

    @staticmethod
    def forward(
        ctx: Any,
        image: torch.Tensor,
        offset: torch.Tensor,
        mask: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
    ) -> torch.Tensor:
        return nn.functional.conv2d(image, weight, bias, padding=1) + 0 * offset[:, :1] * mask[:, :1]


class DeformableBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(8, 16, 3, bias=False)
        self.plain_offset = nn.Conv2d(8, 18, 3, stride=2, padding=1)
        self.masked = nn.Conv2d(16, 4, 3)
        self.masked_offset = nn.Conv2d(16, 54, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        moved = Plain.apply(image, self.plain_offset(image), self.plain.weight).relu()
        rows, columns, mask = torch.chunk(self.masked_offset(moved), 3, dim=1)
        offset = torch.cat((rows, columns), dim=1)
        result: torch.Tensor = Masked.apply(
            moved, offset, mask.sigmoid(), self.masked.weight, self.masked.bias
        )
        return result


def build() -> nn.Module:
    return DeformableBlock()
