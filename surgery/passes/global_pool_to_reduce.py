"""The pass ``global_pool_to_reduce``."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import nodes_of
from graphopt.surgery.shapes.shape_inference import infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder

_REDUCTIONS = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pool(Site):
    """A global pool and the rank of what it pools."""

    rank: int


@dataclass(frozen=True, kw_only=True)
class GlobalPoolToReduce(GraphPass):
    """Write global pools as reductions over the spatial axes.

    Why: a target that runs a global pool as a pool with a window of the whole map is held to its limits
    for windows; a reduction has none, takes any rank, and batches with other reductions.
    Before: ``x[N,C,H,W] -> GlobalAveragePool``.
    After: ``x -> ReduceMean(axes 2, 3)``; ``GlobalMaxPool`` becomes ``ReduceMax``.
    Seen in: nas_fpn, pooled_scene_net.
    Known as: pool-rewrite (32).

    Attributes:
        larger_than: leave pools of maps of at most this many elements alone.
    """

    name: ClassVar[str] = "global_pool_to_reduce"
    larger_than: int = 0

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every global pool; see ``GraphPass.sites``."""
        found = list(nodes_of(model, *_REDUCTIONS))
        types = infer_types(model) if found else {}
        for node in found:
            known = types.get(node.inputs[0]) if node.inputs[0] is not None else None
            if known is None or known.shape is None:
                yield Declined(node=node, why="the rank of its input is not known")
                continue
            sizes = [size for size in known.shape[2:] if isinstance(size, int)]
            if len(sizes) == len(known.shape) - 2 and math.prod(sizes) <= self.larger_than:
                continue
            what = f"{_REDUCTIONS[node.op_type]} over {len(known.shape) - 2} axes"
            yield _Pool(node=node, what=what, rank=len(known.shape))

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the reduction."""
        source = site.node.inputs[0]
        if isinstance(site, _Pool) and site.node.graph is not None and source is not None:
            new = VersionedBuilder(model, site.node)
            new.replace(new.reduce(_REDUCTIONS[site.node.op_type], source, list(range(2, site.rank))))
