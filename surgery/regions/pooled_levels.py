"""One pooling of regions from the levels of a pyramid, as an exported graph spells it out."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from graphopt.surgery.graph_queries import input_of
from graphopt.surgery.regions.level_choice import LevelChoice, level_choice
from graphopt.surgery.regions.level_merging import Merge, Part, chosen_level, merges, rows_of_level
from graphopt.surgery.regions.pooling_nodes import PoolingSettings, has_table, pooling_nodes
from graphopt.surgery.regions.roi_table import RoiView, column_of, view_of
from graphopt.surgery.shapes.known_sizes import KnownSizes
from graphopt.surgery.shapes.known_types import KnownTypes

_RELATIVE = 1e-5


@dataclass(frozen=True, kw_only=True)
class RoiTable:
    """Where the RoIs are: batch index, x1, y1, x2, y2 in pixels.

    Attributes:
        images: the tensor that holds the batch index, and its rank.
        boxes: the tensor [R, any] that holds the corners.
        first: the column of x1; the others follow.
    """

    images: tuple[ir.Value, int]
    boxes: ir.Value
    first: int


@dataclass(frozen=True, kw_only=True)
class PooledLevels:
    """One pooling, understood.

    Attributes:
        features: finest first.
        scales: cells per pixel, for each level.
        table: the regions.
        finest: as in ``LevelChoice``; None for one level.
        bins: height and width of the answers.
        samples: as ``sampling_ratio``.
        aligned: whether regions are shifted by half a cell.
    """

    features: tuple[ir.Value, ...]
    scales: tuple[float, ...]
    table: RoiTable
    finest: float | None
    bins: tuple[int, int]
    samples: int
    aligned: bool


@dataclass(frozen=True)
class Found:
    """A pooling in a graph.

    Attributes:
        end: the node whose output holds the answers.
        levels: what it computes, or a clause that says why that is not known.
    """

    end: ir.Node
    levels: PooledLevels | str


def poolings(model: ir.Model, types: KnownTypes) -> Iterator[Found]:
    """Yield what each pooling of one level belongs to: a merge of levels, or itself."""
    seen: set[ir.Node] = set()
    sizes = KnownSizes(model)
    for merge in merges(model):
        seen.update(merge.pools)
        yield Found(merge.end, merge.why_not or _of_merge(model, types, sizes, merge))
    for node in pooling_nodes(model):
        if node not in seen:
            yield Found(node, _together(model, types, [(node, None)], None))


def _of_merge(model: ir.Model, types: KnownTypes, sizes: KnownSizes, merge: Merge) -> PooledLevels | str:
    parts = sorted(merge.parts, key=lambda part: part.index)
    if len({part.level for part in parts}) > 1:
        return "its levels are chosen by different numbers"
    choice = level_choice(model, types, parts[0].level)
    if isinstance(choice, str):
        return choice
    indices = [part.index for part in parts]
    if indices != list(range(choice.levels)):
        missing = sorted(set(range(choice.levels)) - set(indices))
        if not missing:
            return f"its levels are {indices}, and it chooses among {choice.levels}"
        return f"regions of level {missing[0]} are pooled nowhere: they stay zero"
    found = _together(model, types, [(part.pool, part) for part in parts], choice)
    shape = sizes.shape(merge.end.outputs[0])  # as many rows as the suppression leaves; the rest is computed
    if not isinstance(found, str) and (shape is None or shape[2:] != found.bins):
        return "its answers are put together in another shape"
    return found


def _together(
    model: ir.Model,
    types: KnownTypes,
    pools: Sequence[tuple[ir.Node, Part | None]],
    choice: LevelChoice | None,
) -> PooledLevels | str:
    described = [_described(model, types, node, part) for node, part in pools]
    for item in described:
        if isinstance(item, str):
            return item
    levels = [item for item in described if not isinstance(item, str)]
    first = levels[0]
    for item in levels[1:]:
        if item.table != first.table:
            return "its levels pool regions of different tensors"
        if (item.bins, item.samples, item.aligned) != (first.bins, first.samples, first.aligned):
            return "its levels differ in bins, samples or alignment"
    scales = tuple(item.scale for item in levels)
    if any(abs(2 * b - a) > _RELATIVE * a for a, b in itertools.pairwise(scales)):
        return f"its scales are {', '.join(f'{s:g}' for s in scales)}: not each half of the one before"
    if choice is not None and (wrong := _wrong_choice(model, types, choice, first.table)):
        return wrong
    return PooledLevels(
        features=tuple(item.features for item in levels),
        scales=scales,
        table=first.table,
        finest=None if choice is None else choice.finest,
        bins=first.bins,
        samples=first.samples,
        aligned=first.aligned,
    )


def _wrong_choice(model: ir.Model, types: KnownTypes, choice: LevelChoice, table: RoiTable) -> str:
    wanted = [column_of(model, types, table.boxes, table.first + index) for index in range(4)]
    if list(choice.corners) != wanted:
        return "its level is chosen by the size of other boxes than those that are pooled"
    if abs(choice.finest - round(choice.finest)) > _RELATIVE * choice.finest or choice.finest < 0.5:
        return f"its finest scale is {choice.finest:g} pixels, not a whole number"
    return ""


@dataclass(frozen=True, kw_only=True)
class _Level:
    features: ir.Value
    scale: float
    table: RoiTable
    bins: tuple[int, int]
    samples: int
    aligned: bool


def _described(model: ir.Model, types: KnownTypes, node: ir.Node, part: Part | None) -> _Level | str:
    settings = PoolingSettings.of(model, node)
    if isinstance(settings, str):
        return settings
    features, rois, images = (input_of(node, index) for index in range(3))
    if has_table(node):
        images = rois
    if features is None or rois is None or images is None:
        return "it lacks an input"
    dtype = types.of(features).dtype
    if dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return (
            f"its features are {'of unknown dtype' if dtype is None else dtype.name}, not float32 or float16"
        )
    picked = part is not None and part.is_picked
    views = _views(model, types, (rois, images), through_rows=picked)
    if isinstance(views, str):
        return views
    boxes, indices = views
    if wrong := _wrong_rows(part, boxes, indices):
        return wrong
    if boxes.rank != 2 or boxes.columns != tuple(range(boxes.columns[0], boxes.columns[0] + 4)):
        return "its corners are no four columns side by side"
    aligned = settings.alignment(boxes.shift)
    if isinstance(aligned, str):
        return aligned
    source = indices.table
    if indices.rank == 2 and (source is not boxes.table or (indices.columns[0], boxes.columns[0]) != (0, 1)):
        source, column = column_of(model, types, source, indices.columns[0])
        if column != 0 or (types.of(source).shape or ())[1:] != (1,):
            return "its batch indices are a column among others"
    return _Level(
        features=features,
        scale=settings.scale,
        table=RoiTable(images=(source, indices.rank), boxes=boxes.table, first=boxes.columns[0]),
        bins=settings.bins,
        samples=settings.samples,
        aligned=aligned,
    )


def _views(
    model: ir.Model, types: KnownTypes, values: tuple[ir.Value, ir.Value], *, through_rows: bool
) -> tuple[RoiView, RoiView] | str:
    """Return where corners and batch indices come from; both may be columns of one value [K, 5]."""
    rois, images = values
    if rois is images:
        whole = view_of(model, types, rois, 5, through_rows=through_rows)
        if isinstance(whole, str):
            return whole
        # All columns are followed together, so what is done to the corners is done to the index.
        return replace(whole, columns=whole.columns[1:]), replace(whole, columns=whole.columns[:1])
    boxes = view_of(model, types, rois, 4, through_rows=through_rows)
    indices = view_of(model, types, images, 1, through_rows=through_rows)
    for view in (boxes, indices):
        if isinstance(view, str):
            return view
    assert not isinstance(boxes, str)
    assert not isinstance(indices, str)
    return boxes, indices


def _wrong_rows(part: Part | None, boxes: RoiView, images: RoiView) -> str:
    """Return why a level does not pool the regions that the merge takes from it."""
    if images.shift or images.mask not in (None, boxes.mask):
        return "its batch indices are computed"
    if part is None or not part.is_picked:
        if boxes.rows is not None or images.rows is not None:
            return "it pools some of the regions only"
        if boxes.mask is None:
            return ""
        if part is None or chosen_level(boxes.mask) != (part.level, part.index):
            return "its regions are scaled"
        return ""
    if boxes.mask is not None:
        return "its regions are scaled"
    if {rows_of_level(boxes.rows), rows_of_level(images.rows)} != {(part.level, part.index)}:
        return "it pools other regions than its answers are written for"
    return ""
