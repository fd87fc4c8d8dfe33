"""The pass ``replace_roi_extractor``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.core.operators.roi_extractor import FINEST
from graphopt.surgery.graph_pass import Declined, Effect, GraphPass, Site
from graphopt.surgery.regions.pooled_levels import PooledLevels, RoiTable, poolings
from graphopt.surgery.regions.small_regions import mend_small_regions
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pooling(Site):
    """A pooling whose answers ``node`` makes."""

    levels: PooledLevels
    dtype: ir.DataType
    width: int | None


@dataclass(frozen=True, kw_only=True)
class ReplaceRoiExtractor(GraphPass):
    """Pool regions from all levels of a pyramid by one ``RoiExtractor``.

    Why: the routing asks at run time which regions belong to a level (NonZero), so nothing behind it
    has a fixed size; the NPU has one operator for all of it.
    Before: ``level = Floor(Log(Sqrt(area) / 56))``; per level ``NonZero(Equal(level, i)) -> Gather(rois)
    -> RoiAlign(features_i) -> ScatterND``; mmcv's own ``MMCVRoiAlign`` likewise.
    After: ``RoiExtractor(features_0, ..., features_n, rois)``.
    Levels, scales, samples and alignment are read from the graph. Regions below one cell are pooled as
    PyTorch does; ``RoiAlign`` before opset 16 enlarges them, so there a corrected source is compared.
    Seen in: faster_rcnn_dcn, region_head, pyramid_pooler.
    """

    name: ClassVar[str] = "replace_roi_extractor"
    effect: ClassVar[Effect] = Effect.TARGET_ONLY

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every pooling of regions; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for found in poolings(model, types):
            levels = found.levels
            if isinstance(levels, str):
                yield Declined(node=found.end, why=levels)
                continue
            shape = types.of(levels.table.boxes).shape
            width = shape[1] if shape is not None and len(shape) == 2 else None
            yield _Pooling(
                node=found.end,
                what=_text(levels),
                levels=levels,
                dtype=types.of(levels.features[0]).dtype or ir.DataType.FLOAT,
                width=width if isinstance(width, int) else None,
            )

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Put one operator in the place of all."""
        if not isinstance(site, _Pooling):
            return
        levels = site.levels
        new = VersionedBuilder(model, site.node)
        output = new.op(
            "RoiExtractor",
            *levels.features,
            _table(new, levels.table, site.width, site.dtype),
            attributes={
                "finest_scale": FINEST if levels.finest is None else round(levels.finest),
                "roi_scale_factor": 0.0,
                "spatial_scale": list(levels.scales),
                "pooled_height": levels.bins[0],
                "pooled_width": levels.bins[1],
                "sample_num": levels.samples,
                "pool_mode": "avg",
                "aligned": int(levels.aligned),
            },
            domain="npu",
            like=site.node.outputs[0],
        )
        new.replace(output)

    def mend_reference(self, model: ir.Model) -> Mapping[str, str]:
        """Pool regions below one cell as the network does, where ``RoiAlign`` makes them larger."""
        return mend_small_regions(model)


def _text(levels: PooledLevels) -> str:
    count = len(levels.features)
    size = "" if levels.finest is None else f", the first below {2 * round(levels.finest)} pixels"
    kind = "aligned" if levels.aligned else "not aligned"
    return f"{count} level{'s' if count > 1 else ''} in one{size}, {kind}"


def _table(new: VersionedBuilder, table: RoiTable, width: int | None, dtype: ir.DataType) -> ir.Value:
    """Return the RoIs as the operator wants them, [R, 5]."""
    images, rank = table.images
    if images is table.boxes and table.first == 1:
        return images if width == 5 else new.slice(images, axes=[1], starts=[0], ends=[5])
    boxes = table.boxes
    if table.first or width != 4:
        boxes = new.slice(boxes, axes=[1], starts=[table.first], ends=[table.first + 4])
    indices = images if rank == 2 else new.unsqueeze(images, [1])
    return new.op("Concat", new.cast(indices, dtype), boxes, attributes={"axis": 1})
