"""The compiled operators of mmcv that detectors need, in PyTorch: forward only, on the CPU.

Semantics and signatures are those of mmcv 2.1.0 (``mmcv/ops/csrc/pytorch/cpu``), numbers, too,
up to the order of float sums.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from graphopt.core.errors import ExportError
from graphopt.core.optional import require

if TYPE_CHECKING:
    import torch

_BLOCK = 512
"""Rows of overlaps that are in memory at once."""
_SAMPLES = 1 << 22
"""Pixels that regions are sampled at in one call: bounds the memory, not the result."""


def _torch() -> Any:
    return require("torch", extra="torch", purpose="running the operators of mmcv")


def nms(boxes: "torch.Tensor", scores: "torch.Tensor", iou_threshold: float, offset: int) -> "torch.Tensor":
    """Suppress greedily: a box goes when it overlaps a better one that stays by more than the threshold.

    Args:
        boxes: float [N, 4] of x1, y1, x2, y2.
        scores: float [N].
        iou_threshold: intersection over union.
        offset: added to widths and heights, 0 or 1.

    Returns:
        int64 [K], the places of those that stay, the best first.
    """
    torch = _torch()
    order = scores.sort(descending=True, stable=True).indices
    best = boxes[order].float()
    count = len(best)
    alive = np.ones(count, bool)
    areas = (best[:, 2] - best[:, 0] + offset) * (best[:, 3] - best[:, 1] + offset)
    for start in range(0, count, _BLOCK):
        block = slice(start, min(start + _BLOCK, count))
        low = torch.maximum(best[block, None, :2], best[None, start:, :2])
        high = torch.minimum(best[block, None, 2:], best[None, start:, 2:])
        shared = (high - low + offset).clamp(min=0).prod(2)
        overlap = (shared / (areas[block, None] + areas[None, start:] - shared) > iou_threshold).numpy()
        for row in range(len(overlap)):
            if alive[start + row]:
                alive[start + row + 1 :] &= ~overlap[row, row + 1 :]
    return order[torch.from_numpy(alive)]


def roi_align_forward(
    input: "torch.Tensor",  # noqa: A002
    rois: "torch.Tensor",
    output: "torch.Tensor",
    argmax_y: "torch.Tensor",  # noqa: ARG001
    argmax_x: "torch.Tensor",  # noqa: ARG001
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the mean of bilinear samples of each bin of each region into ``output``.

    Args:
        input: float32 [N, C, H, W].
        rois: float32 [R, 5] of image, x1, y1, x2, y2.
        output: float32 [R, C, aligned_height, aligned_width].
        argmax_y: used by pooling of maxima only.
        argmax_x: as ``argmax_y``.
        aligned_height: bins.
        aligned_width: bins.
        spatial_scale: of the map to the image.
        sampling_ratio: samples per bin and axis; 0 takes as many as pixels begin.
        pool_mode: 1 for the mean, the only one here.
        aligned: shift by half a pixel, and leave small regions as they are.

    Raises:
        ExportError: maxima are asked for.
    """
    if pool_mode != 1:
        raise ExportError("RoIAlign of maxima is not among the operators that run without compiled mmcv")
    torch = _torch()
    channels, height, width = input.shape[1:]
    rows = input.permute(0, 2, 3, 1).reshape(-1, channels)
    bins = torch.tensor([aligned_height, aligned_width])
    corners = rois[:, [2, 1, 4, 3]] * spatial_scale - (0.5 if aligned else 0.0)
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    size = size if aligned else size.clamp(min=1.0)
    step = size / bins
    samples = step.ceil().long() if sampling_ratio <= 0 else torch.full_like(size, sampling_ratio).long()
    output.zero_()
    for down, across in torch.unique(samples, dim=0).tolist():
        if down <= 0 or across <= 0:
            continue
        members = ((samples[:, 0] == down) & (samples[:, 1] == across)).nonzero().squeeze(1)
        for part in members.split(max(1, _SAMPLES // (aligned_height * aligned_width * down * across))):
            axes = []
            for axis, (cells, inner, limit) in enumerate(
                ((aligned_height, down, height), (aligned_width, across, width))
            ):
                # As in the original: the bin's corner first, then the sample in it.
                place = (
                    start[part, axis, None, None]
                    + torch.arange(cells)[None, :, None] * step[part, axis, None, None]
                )
                offset = (torch.arange(inner) + 0.5)[None, None] * step[part, axis, None, None] / inner
                axes.append(_taps(place + offset, limit))
            (y, wy), (x, wx) = axes
            image = rois[part, 0].long().view(-1, 1, 1, 1, 1, 1, 1)
            where = (image * height + y[:, :, None, :, None, :, None]) * width + x[
                :, None, :, None, :, None, :
            ]
            weight = wy[:, :, None, :, None, :, None] * wx[:, None, :, None, :, None, :]
            taps = down * across * 4
            pooled = torch.nn.functional.embedding_bag(
                where.expand_as(weight).reshape(-1, taps),
                rows,
                mode="sum",
                per_sample_weights=weight.reshape(-1, taps),
            )
            pooled = pooled.div_(down * across).view(len(part), aligned_height, aligned_width, channels)
            output[part] = pooled.permute(0, 3, 1, 2)


def _taps(place: "torch.Tensor", limit: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return the pixels around each place and their weights, [..., 2] each; far outside weighs nothing."""
    torch = _torch()
    inside = (place >= -1) & (place <= limit)
    place = place.clamp(min=0)
    low = place.long().clamp(max=limit - 1)
    place = torch.where(low >= limit - 1, low.to(place), place)
    rest = place - low
    index = torch.stack((low, (low + 1).clamp(max=limit - 1)), -1)
    return index, torch.stack((1 - rest, rest), -1) * inside[..., None]


def deform_conv_forward(
    input: "torch.Tensor",  # noqa: A002
    weight: "torch.Tensor",
    offset: "torch.Tensor",
    output: "torch.Tensor",
    columns: "torch.Tensor",  # noqa: ARG001
    ones: "torch.Tensor",  # noqa: ARG001
    *,
    kW: int,  # noqa: N803
    kH: int,  # noqa: N803
    dW: int,  # noqa: N803
    dH: int,  # noqa: N803
    padW: int,  # noqa: N803
    padH: int,  # noqa: N803
    dilationW: int,  # noqa: N803
    dilationH: int,  # noqa: N803
    group: int,
    deformable_group: int,
    im2col_step: int,  # noqa: ARG001
) -> None:
    """Write a deformable convolution into ``output``.

    Args:
        input: float32 [N, C, H, W].
        weight: float32 [O, C / group, kH, kW].
        offset: float32 [N, deformable_group * kH * kW * 2, H', W'], down and to the right in turn.
        output: float32 of N * O * H' * W' elements.
        columns: scratch memory of the compiled one, not touched.
        ones: as ``columns``.
        kW: width of the kernel; then its height, strides, paddings and dilations.
        kH: see ``kW``.
        dW: see ``kW``.
        dH: see ``kW``.
        padW: see ``kW``.
        padH: see ``kW``.
        dilationW: see ``kW``.
        dilationH: see ``kW``.
        group: of the convolution.
        deformable_group: groups of channels that share offsets.
        im2col_step: images at once in the compiled one; no influence on the result.
    """
    result = _deformed(
        input, weight, offset, None, (kH, kW), (dH, dW), (padH, padW), (dilationH, dilationW),
        group, deformable_group,
    )  # fmt: skip
    output.copy_(result.view_as(output))


def modulated_deform_conv_forward(
    input: "torch.Tensor",  # noqa: A002
    weight: "torch.Tensor",
    bias: "torch.Tensor",
    ones: "torch.Tensor",  # noqa: ARG001
    offset: "torch.Tensor",
    mask: "torch.Tensor",
    output: "torch.Tensor",
    columns: "torch.Tensor",  # noqa: ARG001
    *,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write a deformable convolution with a factor per tap into ``output``.

    Args:
        input: float32 [N, C, H, W].
        weight: float32 [O, C / group, kernel_h, kernel_w].
        bias: float32 [O], used when ``with_bias``.
        ones: scratch memory of the compiled one, not touched.
        offset: as in ``deform_conv_forward``.
        mask: float32 [N, deformable_group * kernel_h * kernel_w, H', W'].
        output: float32 of N * O * H' * W' elements.
        columns: as ``ones``.
        kernel_h: size; then strides, paddings and dilations.
        kernel_w: see ``kernel_h``.
        stride_h: see ``kernel_h``.
        stride_w: see ``kernel_h``.
        pad_h: see ``kernel_h``.
        pad_w: see ``kernel_h``.
        dilation_h: see ``kernel_h``.
        dilation_w: see ``kernel_h``.
        group: of the convolution.
        deformable_group: groups of channels that share offsets.
        with_bias: whether to add ``bias``.
    """
    result = _deformed(
        input, weight, offset, mask, (kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w),
        (dilation_h, dilation_w), group, deformable_group,
    )  # fmt: skip
    if with_bias:
        result += bias.view(1, -1, 1, 1)
    output.copy_(result.view_as(output))


def _deformed(
    image: "torch.Tensor",
    weight: "torch.Tensor",
    offset: "torch.Tensor",
    mask: "torch.Tensor | None",
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    moved: int,
) -> "torch.Tensor":
    """Return float32 [N, O, H', W']: bilinear taps gathered channels last, then one product per group."""
    torch = _torch()
    count, channels, height, width = image.shape
    rows, columns = offset.shape[-2:]
    taps = kernel[0] * kernel[1]
    own_rows, own_columns = (
        (side + 2 * pad[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i, side in enumerate((height, width))
    )
    if (rows, columns) != (own_rows, own_columns):  # DyHead does that; the compiled operator reads on
        raise ExportError(
            f"a deformable convolution of {height}x{width} has offsets of {rows}x{columns} instead of "
            f"{own_rows}x{own_columns}; such a network is not exported"
        )
    own = _mesh(torch.arange(kernel[0]) * dilation[0], torch.arange(kernel[1]) * dilation[1])
    base = _mesh(torch.arange(rows) * stride[0] - pad[0], torch.arange(columns) * stride[1] - pad[1])
    grid = (own.view(2, taps, 1, 1) + base.view(2, 1, rows, columns)).float()
    kernels = weight.view(groups, weight.shape[0] // groups, -1)
    result = image.new_empty(count, weight.shape[0], rows, columns)
    for index in range(count):
        moves = offset[index].view(moved, taps, 2, rows, columns)
        parts = []
        for group in range(moved):
            maps = image[index].view(moved, -1, height, width)[group].flatten(1).t().contiguous()
            place, factor = _corners(
                grid[0] + moves[group, :, 0], grid[1] + moves[group, :, 1], height, width
            )
            if mask is not None:
                factor = factor * mask[index].view(moved, taps, rows, columns, 1)[group]
            seen = torch.nn.functional.embedding_bag(
                place.reshape(-1, 4), maps, mode="sum", per_sample_weights=factor.reshape(-1, 4)
            )
            parts.append(seen.view(taps, rows * columns, -1).permute(2, 0, 1))
        patches = torch.cat(parts).reshape(groups, channels // groups * taps, rows * columns)
        result[index] = torch.bmm(kernels, patches).view(-1, rows, columns)
    return result


def _mesh(down: "torch.Tensor", across: "torch.Tensor") -> "torch.Tensor":
    """Return the coordinates of all pairs, [2, rows, columns]."""
    pairs: "torch.Tensor" = _torch().stack(_torch().meshgrid(down, across, indexing="ij"))  # noqa: UP037
    return pairs


def _corners(
    y: "torch.Tensor", x: "torch.Tensor", height: int, width: int
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return the places of the four pixels around each point and their weights, [..., 4] each."""
    torch = _torch()
    low_y, low_x = y.floor(), x.floor()
    places, factors = [], []
    for near_y, part_y in ((low_y, 1 - (y - low_y)), (low_y + 1, y - low_y)):
        for near_x, part_x in ((low_x, 1 - (x - low_x)), (low_x + 1, x - low_x)):
            inside = (near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width)
            places.append(near_y.clamp(0, height - 1).long() * width + near_x.clamp(0, width - 1).long())
            factors.append(part_y * part_x * inside)
    return torch.stack(places, -1), torch.stack(factors, -1)
