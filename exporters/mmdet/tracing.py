"""What an export needs of mmcv that mmcv does not give: the only changes to its classes, and undone."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def exporting() -> Iterator[None]:
    """Let mmcv's parts be exported; on leaving, also by an error, they are as before.

    - The merge cells of NAS-FPN see the sizes of maps as numbers, which become constants. They compute the
      same: the original hands traced sizes to a pooling, which the exporter refuses.
    - Regions are pooled by ``MMCVRoiAlign``, as mmcv 1.x had it: what mmcv 2 writes in its place makes
      regions below one cell larger, which the network does not.
    - Deformable convolutions tell the exporter the sizes of what they answer, and a missing bias is left
      out. Without sizes the exporter writes branches (``If``) behind them.
    """
    cells: Any = importlib.import_module("mmcv.ops.merge_cells").BaseMergeCell
    plain: Any = importlib.import_module("mmcv.ops.deform_conv").DeformConv2dFunction
    modulated: Any = importlib.import_module("mmcv.ops.modulated_deform_conv").ModulatedDeformConv2dFunction
    pooling: Any = importlib.import_module("mmcv.ops.roi_align").RoIAlignFunction
    changes = (
        (cells, "_resize", _resize),
        (pooling, "symbolic", staticmethod(_pooled)),
        (plain, "symbolic", staticmethod(_plain)),
        (modulated, "symbolic", staticmethod(_modulated)),
    )
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in changes]
    try:
        for owner, name, new in changes:
            setattr(owner, name, new)
        yield
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)


def _resize(self: Any, maps: Any, size: Any) -> Any:
    """Do what ``BaseMergeCell._resize`` does, in numbers."""
    functional: Any = importlib.import_module("torch.nn.functional")
    height, width, tall, wide = (int(item) for item in (*maps.shape[-2:], *size))
    if (height, width) == (tall, wide):
        return maps
    if (height, width) < (tall, wide):
        return functional.interpolate(maps, size=(tall, wide), mode=self.upsample_mode)
    down, across = -height % tall, -width % wide
    if down or across:
        maps = functional.pad(maps, (across // 2, across - across // 2, down // 2, down - down // 2))
    kernel = ((height + down) // tall, (width + across) // wide)
    return functional.max_pool2d(maps, kernel_size=kernel, stride=kernel)


def _pooled(
    g: Any,
    maps: Any,
    rois: Any,
    bins: Any,
    scale: float,
    samples: int,
    mode: str,
    aligned: bool,
) -> Any:
    found = g.op(
        "mmcv::MMCVRoiAlign",
        maps,
        rois,
        output_height_i=bins[0],
        output_width_i=bins[1],
        spatial_scale_f=scale,
        sampling_ratio_i=max(0, samples),
        mode_s=mode,
        aligned_i=aligned,
    )
    sizes = maps.type().sizes()
    found.setType(maps.type().with_sizes([None, None if sizes is None else sizes[1], *bins]))
    return found


def _plain(
    g: Any,
    image: Any,
    offset: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    deform_groups: int,
    bias: bool = False,
    im2col_step: int = 32,
) -> Any:
    found = g.op(
        "mmcv::MMCVDeformConv2d",
        image,
        offset,
        weight,
        stride_i=stride,
        padding_i=padding,
        dilation_i=dilation,
        groups_i=groups,
        deform_groups_i=deform_groups,
        bias_i=bias,
        im2col_step_i=im2col_step,
    )
    return _sized(found, image, offset, weight)


def _modulated(
    g: Any,
    image: Any,
    offset: Any,
    mask: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    deform_groups: int,
) -> Any:
    inputs = [image, offset, mask, weight]
    if bias is not None and not bias.node().mustBeNone():
        inputs.append(bias)
    found = g.op(
        "mmcv::MMCVModulatedDeformConv2d",
        *inputs,
        stride_i=stride,
        padding_i=padding,
        dilation_i=dilation,
        groups_i=groups,
        deform_groups_i=deform_groups,
    )
    return _sized(found, image, offset, weight)


def _sized(found: Any, image: Any, offset: Any, weight: Any) -> Any:
    """Record the sizes: those of the offsets, and as many channels as the weight makes."""
    moved, kernel = offset.type().sizes(), weight.type().sizes()
    sizes = [None] * 4 if moved is None or kernel is None else [moved[0], kernel[0], moved[2], moved[3]]
    found.setType(image.type().with_sizes(sizes))
    return found
