"""Operators as their definitions have them, slow and plain, to compare bodies with."""

from collections.abc import Callable
from typing import Any

import pytest


def deformable_convolution(
    image: Any,
    weight: Any,
    moves: Any,
    mask: Any,
    *,
    strides: tuple[int, int],
    pads: tuple[int, int],
    dilations: tuple[int, int],
    groups: int,
) -> Any:
    """Sum over all taps and all pixels, each pixel weighted by its distance to where the tap looks.

    Dai et al., arXiv 1703.06211, equations 2 to 4: a pixel weighs max(0, 1 - |dy|) * max(0, 1 - |dx|).

    Args:
        image: float [N, C, H, W].
        weight: float [O, C / groups, kh, kw].
        moves: float [N, deformable groups, kh, kw, 2, H', W']; down, then to the right.
        mask: float [N, deformable groups, kh, kw, H', W'].
        strides, pads, dilations: height, then width.
        groups: of channels.

    Returns:
        float64 [N, O, H', W'].
    """
    import torch

    image, weight, moves, mask = (item.double() for item in (image, weight, moves, mask))
    batch, channels, height, width = image.shape
    outputs, inner, taps_high, taps_wide = weight.shape
    moved, (rows, columns) = moves.shape[1], moves.shape[-2:]
    result = torch.zeros(batch, outputs, rows, columns, dtype=torch.float64)
    for row in range(taps_high):
        for column in range(taps_wide):
            top = torch.arange(rows) * strides[0] - pads[0] + row * dilations[0]
            left = torch.arange(columns) * strides[1] - pads[1] + column * dilations[1]
            y = moves[:, :, row, column, 0] + top[:, None]
            x = moves[:, :, row, column, 1] + left[None, :]
            near_y = (1 - (y[..., None] - torch.arange(height)).abs()).clamp(min=0)
            near_x = (1 - (x[..., None] - torch.arange(width)).abs()).clamp(min=0)
            parts = image.reshape(batch, moved, channels // moved, height, width)
            seen = torch.einsum("ngabh,ngabw,ngchw->ngcab", near_y, near_x, parts)
            seen = (seen * mask[:, :, row, column][:, :, None]).reshape(batch, groups, inner, rows, columns)
            taps = weight[:, :, row, column].reshape(groups, outputs // groups, inner)
            result += torch.einsum("goc,ngcab->ngoab", taps, seen).reshape(result.shape)
    return result


@pytest.fixture
def defined() -> Callable[..., Any]:
    """``deformable_convolution``."""
    return deformable_convolution
