"""Deformable convolutions of the published Faster R-CNN (ResNet-50, image 1216 x 1216), one of each size."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from operator_case import Case

from graphopt.core.tensors import Array

# Channels, height and width, stride: layers 2 to 4 of faster_rcnn_dcn.onnx.
SIZES = ((128, 304, 2), (128, 152, 1), (256, 152, 2), (256, 76, 1), (512, 76, 2), (512, 38, 1))
TAPS = 3


def cases() -> Iterator[Case]:
    """Yield one case per size for the target's operator, and one with all that mmcv's can have."""
    for channels, size, stride in SIZES:
        yield _case(channels, size, stride, groups=1)
    yield _case(256, 76, 1, groups=4)


def _case(channels: int, size: int, stride: int, *, groups: int) -> Case:
    out = (size - 1) // stride + 1
    rng = np.random.default_rng(channels + size)
    taps = TAPS * TAPS * groups
    image = rng.standard_normal((1, channels, size, size), dtype=np.float32)
    weight = rng.standard_normal((channels, channels, TAPS, TAPS), dtype=np.float32)
    moves = rng.normal(0, 1.5, (1, groups, TAPS * TAPS, 2, out, out)).astype(np.float32)
    mask = rng.random((1, groups, TAPS * TAPS, out, out), dtype=np.float32)
    flat = (1, taps, out, out)
    blocks = [moves[:, :, :, 1].reshape(flat), moves[:, :, :, 0].reshape(flat), mask.reshape(flat)]
    offsets = np.concatenate(blocks, axis=1)
    text = f"""<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,{channels},{size},{size}] x, float[{channels},{channels},3,3] w,
           float[1,{3 * taps},{out},{out}] o) => (float[n,c,h,v] y) {{
            y = DeformableConv2D <strides: ints = [{stride},{stride}], pads: ints = [1,1], groups: int = 1,
                deformable_groups: int = {groups}> (x, w, o) }}"""
    given = (image, weight, moves, mask, stride)
    rivals = {"grid_sample": lambda: _sampled(*given), "embedding_bag": lambda: _bagged(*given)}
    return Case(
        name=f"DeformableConv2D {channels} ch, {size} x {size}, stride {stride}"
        + (f", {groups} deformable groups" if groups > 1 else ""),
        text=text,
        feeds={"x": image, "w": weight, "o": offsets},
        rivals=rivals,
    )


def _points(moves: Any, stride: int) -> tuple[Any, Any]:
    """Return y and x of all points, [deformable groups, taps, H', W']."""
    import torch

    rows, columns = moves.shape[-2:]
    tap = torch.arange(TAPS * TAPS)
    top = (tap // TAPS).view(-1, 1, 1) + (torch.arange(rows) * stride - 1).view(-1, 1)
    left = (tap % TAPS).view(-1, 1, 1) + torch.arange(columns) * stride - 1
    return moves[0, :, :, 0] + top, moves[0, :, :, 1] + left


def _sampled(image: Array, weight: Array, moves: Array, mask: Array, stride: int) -> tuple[Array]:
    """Sample all taps with grid_sample, a batch entry per deformable group."""
    import torch
    from torch.nn import functional

    x, w, o, m = (torch.from_numpy(item) for item in (image, weight, moves, mask))
    groups, (height, width), (rows, columns) = o.shape[1], x.shape[-2:], o.shape[-2:]
    y_of, x_of = _points(o, stride)
    grid = torch.stack((2 * x_of / (width - 1) - 1, 2 * y_of / (height - 1) - 1), dim=-1)
    parts = x.view(groups, -1, height, width)
    seen = functional.grid_sample(parts, grid.view(groups, -1, columns, 2), align_corners=True)
    seen = seen.view(groups, parts.shape[1], TAPS * TAPS, rows, columns) * m[0][:, None]
    flat = torch.matmul(w.view(w.shape[0], -1), seen.view(-1, rows * columns))
    return (flat.view(1, -1, rows, columns).numpy(),)


def _bagged(image: Array, weight: Array, moves: Array, mask: Array, stride: int) -> tuple[Array]:
    """Sum four weighted rows per point with embedding_bag."""
    import torch
    from torch.nn import functional

    x, w, o, m = (torch.from_numpy(item) for item in (image, weight, moves, mask))
    groups, (height, width), (rows, columns) = o.shape[1], x.shape[-2:], o.shape[-2:]
    channels = x.shape[1] // groups
    # [H', W', taps, groups]: a row of the result is then what one output cell sees.
    y_of, x_of, factor = (item.permute(2, 3, 1, 0) for item in (*_points(o, stride), m[0]))
    low_y, low_x = y_of.floor(), x_of.floor()
    pixels = x.view(groups, channels, height, width).permute(2, 3, 0, 1).reshape(-1, channels)
    places, shares = [], []
    for down, vertical in ((0, 1 - y_of + low_y), (1, y_of - low_y)):
        for right, horizontal in ((0, 1 - x_of + low_x), (1, x_of - low_x)):
            row, column = (low_y + down).long(), (low_x + right).long()
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            places.append(pixel * groups + torch.arange(groups))
            shares.append(vertical * horizontal * factor * inside)
    bags, weights = torch.stack(places, dim=-1).view(-1, 4), torch.stack(shares, dim=-1).view(-1, 4)
    seen = functional.embedding_bag(bags, pixels, mode="sum", per_sample_weights=weights)
    flat = torch.matmul(seen.view(rows * columns, -1), w.permute(2, 3, 1, 0).reshape(-1, w.shape[0]))
    return (flat.t().reshape(1, -1, rows, columns).numpy(),)
