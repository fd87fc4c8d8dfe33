"""Pooling of regions from the pyramid of the published Faster R-CNN (image 1216 x 1216), and of others."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from operator_case import Case

from graphopt.core.tensors import Array

SIDE, CHANNELS = 1216, 256
SCALES = (0.25, 0.125, 0.0625, 0.03125)
FINEST = 56
SMALL = 40
"""So many regions of each thousand have a side below one cell: the dear ones before opset 16."""


def cases() -> Iterator[Case]:
    """Yield both ways of sampling, the mask head's size, and the opset in which RoiAlign learnt alignment."""
    yield _case(1000, 7, samples=0)
    yield _case(1000, 7, samples=2)
    yield _case(100, 14, samples=0)
    yield _case(1000, 7, samples=0, opset=16)
    yield _case(1000, 7, samples=0, levels=1)


def _case(count: int, bins: int, *, samples: int, opset: int = 11, levels: int = 4) -> Case:
    rng = np.random.default_rng(count + bins)
    sizes = [int(SIDE * scale) for scale in SCALES[-levels:]]
    feeds = {
        f"f{index}": rng.standard_normal((1, CHANNELS, size, size), dtype=np.float32)
        for index, size in enumerate(sizes)
    }
    corner = rng.uniform(0, SIDE - 60, (count, 2))
    sides = np.exp(rng.uniform(2.5, 6.5, (count, 2)))
    sides[: SMALL * count // 1000] = (2, 30)
    end = np.minimum(corner + sides, SIDE)
    feeds["rois"] = np.concatenate([np.zeros((count, 1)), corner, end], axis=1).astype(np.float32)
    scales = SCALES[-levels:]
    given = ", ".join(f"float[{','.join(map(str, item.shape))}] {name}" for name, item in feeds.items())
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({given}) => (float[r,c,h,w] y) {{
        y = RoiExtractor <finest_scale: int = {FINEST}, spatial_scale: floats = {list(scales)},
            pooled_height: int = {bins}, pooled_width: int = {bins}, sample_num: int = {samples},
            aligned: int = 1> ({", ".join(feeds)}) }}"""
    maps = [feeds[name] for name in feeds if name != "rois"]
    return Case(
        name=f"RoiExtractor {count} regions, {bins} x {bins}, {levels} level{'s' if levels > 1 else ''}, "
        f"{samples or 'any number of'} samples, opset {opset}",
        text=text,
        feeds=feeds,
        rivals={
            "grid_sample": lambda: _pooled(_sampled, maps, feeds["rois"], scales, bins, samples),
            "embedding_bag": lambda: _pooled(_bagged, maps, feeds["rois"], scales, bins, samples),
        },
    )


def _pooled(
    pool: Callable[..., Any],
    maps: Sequence[Array],
    rois: Array,
    scales: tuple[float, ...],
    bins: int,
    samples: int,
) -> tuple[Array]:
    """Pool all regions of a level that have as many samples per bin at once."""
    import torch

    regions = torch.from_numpy(rois)
    sides = regions[:, 3:] - regions[:, 1:3]
    level = torch.log2(torch.sqrt(sides.prod(1)) / FINEST + 1e-6).floor().clamp(0, len(maps) - 1)
    pooled = torch.zeros(len(rois), maps[0].shape[1], bins, bins)
    for index, (features, scale) in enumerate(zip(maps, scales, strict=True)):
        image = torch.from_numpy(features)
        rows_of = image[0].flatten(1).T.contiguous() if pool is _bagged else image
        corners = regions[:, 1:] * scale - 0.5
        spans = corners[:, 2:] - corners[:, :2]
        each = torch.ceil(spans / bins).long() if not samples else torch.full(spans.shape, samples)
        for across, down in torch.unique(each[level == index], dim=0).tolist():
            rows = ((level == index) & (each[:, 0] == across) & (each[:, 1] == down)).nonzero()[:, 0]
            if across < 1 or down < 1:
                continue
            x, y = (
                corners[rows, axis, None] + spans[rows, axis, None] * _steps(bins * count)
                for axis, count in ((0, across), (1, down))
            )
            pooled[rows] = pool(rows_of, image.shape[-2:], x, y, (bins, down, bins, across))
    return (pooled.numpy(),)


def _steps(count: int) -> Any:
    import torch

    return (torch.arange(count) + 0.5) / count


def _sampled(image: Any, size: tuple[int, int], x: Any, y: Any, shape: tuple[int, int, int, int]) -> Any:
    """Take all samples of a map [1, C, H, W] with grid_sample."""
    import torch
    from torch.nn import functional

    height, width = size
    seen = ((x >= -1) & (x <= width))[:, None] & ((y >= -1) & (y <= height))[:, :, None]
    x, y = x.clamp(0, width - 1) * 2 / (width - 1) - 1, y.clamp(0, height - 1) * 2 / (height - 1) - 1
    grid = torch.stack([x[:, None].expand(seen.shape), y[:, :, None].expand(seen.shape)], dim=-1)
    found = functional.grid_sample(image, grid.flatten(0, 1)[None], align_corners=True)
    found = found.view(image.shape[1], *seen.shape) * seen
    return found.view(-1, len(x), *shape).mean((3, 5)).transpose(0, 1)


def _bagged(rows: Any, size: tuple[int, int], x: Any, y: Any, shape: tuple[int, int, int, int]) -> Any:
    """Sum the weighted rows of a map [H * W, C] that a bin takes with embedding_bag."""
    import torch
    from torch.nn import functional

    ends = []
    for points, limit in ((y, size[0]), (x, size[1])):
        seen = (points >= -1) & (points <= limit)
        low = points.clamp(0, limit - 1).floor()
        part = points.clamp(0, limit - 1) - low
        places = torch.stack([low.long(), (low.long() + 1).clamp(max=limit - 1)], dim=-1)
        ends.append((places, torch.stack([1 - part, part], dim=-1) * seen[..., None]))
    (row, down), (column, across) = ends
    bins, high, _, wide = shape
    split_y, split_x = (len(x), bins, 1, high, 1, 2, 1), (len(x), 1, bins, 1, wide, 1, 2)
    flat = (len(x) * bins * bins, high * wide * 4)
    places = (row.view(split_y) * size[1] + column.view(split_x)).reshape(flat)
    weights = (down.reshape(split_y) * across.reshape(split_x)).reshape(flat) / (high * wide)
    found = functional.embedding_bag(places, rows, per_sample_weights=weights, mode="sum")
    return found.view(len(x), bins, bins, -1).permute(0, 3, 1, 2)
