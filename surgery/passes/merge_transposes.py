"""The pass ``merge_transposes``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass, remove_unread, why_not_bypassed
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import input_of, is_op, nodes_of
from graphopt.surgery.semantics.permuting import Region, compose, perm_of, region_above
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair(Site):
    """A Transpose below a region whose every input is transposed in one and the same way."""

    region: Region
    perm: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class MergeTransposes(GraphPass):
    """Transpose once, or not at all, where one ``Transpose`` follows another.

    Why: each Transpose reads and writes a whole tensor in an order that caches and vector units
    dislike; layout changes around a block often cancel each other.
    Before: ``x -> Transpose(p) -> Relu -> Add(c) -> Transpose(q)``, also without anything between.
    After: ``x -> Relu -> Add(c') -> Transpose(q after p)``, and no Transpose where they cancel;
    operators with several inputs take part when all are transposed by ``p`` or constant.
    Seen in: channels_last_block.
    Known as: transpose-elimination (22).
    """

    name: ClassVar[str] = "merge_transposes"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Transpose below another one; see ``GraphPass.sites``."""
        taken: set[ir.Node] = set()
        for node in nodes_of(model, "Transpose"):
            region = region_above(node)
            if region is None or taken & {node, *region.nodes, *region.transposes}:
                continue  # nothing there, or the next sweep looks at it again
            perm = self._judge(node, region)
            if isinstance(perm, str):
                yield Declined(node=node, why=perm)
                continue
            taken |= {node, *region.nodes, *region.transposes}
            through = f" through {len(region.nodes)} elementwise nodes" if region.nodes else ""
            result = "cancels" if perm == tuple(sorted(perm)) else f"becomes {list(perm)}"
            count = len(region.transposes)
            what = f"with {count} above{through} it {result}"
            yield _Pair(node=node, what=what, region=region, perm=perm)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the region on untransposed tensors, and one Transpose where one is needed."""
        if not isinstance(site, _Pair):
            return
        builder = VersionedBuilder(model, site.node)
        result = site.region.rebuilt(builder)
        if site.perm != tuple(sorted(site.perm)):
            result = builder.op("Transpose", result, attributes={"perm": list(site.perm)})
            result.type = site.node.outputs[0].type
        elif not site.region.nodes:
            between = site.region.transposes[0].outputs[0]
            site.node.replace_input_with(0, result)
            bypass(model, site.node)
            remove_unread(model, [between])
            return
        builder.replace(result)

    def _judge(self, node: ir.Node, region: Region) -> tuple[int, ...] | str:
        if region.why_not:
            return region.why_not
        lower = perm_of(node)
        if lower is not None and len(lower) != len(region.perm):
            return "its perm does not fit the rank"
        perm = compose(region.perm, lower or tuple(reversed(range(len(region.perm)))))
        if perm != tuple(sorted(perm)):
            return region.used_elsewhere() or perm
        if region.nodes:
            return perm
        return _why_not_direct(node, region) or perm


def _why_not_direct(node: ir.Node, region: Region) -> str | None:
    """Return why the readers of ``node`` cannot read the tensor that was transposed twice."""
    (upper,) = region.transposes
    source = input_of(upper, 0)
    if source is None or not is_op(upper, "Transpose"):
        return "its input is left out"
    return why_not_bypassed(node, source=source)
