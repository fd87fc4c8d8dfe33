"""The pass ``split_deformable_groups``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import remove_unread
from graphopt.surgery.graph_pass import Declined, Effect, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, nodes_of
from graphopt.surgery.semantics.deformable import ASCEND, DeformableConvolution, read_deformable
from graphopt.surgery.values.derived_tensors import derive, sizes_of
from graphopt.surgery.versioned_builder import VersionedBuilder

_BLOCKS = 3
"""Of offsets: x, y, mask."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Split(Site):
    """A deformable convolution whose groups become nodes of their own."""

    found: DeformableConvolution


@dataclass(frozen=True, kw_only=True)
class SplitDeformableGroups(GraphPass):
    """Give every group of a ``DeformableConv2D`` with several deformable groups a node of its own.

    Why: the AI Core's kernel (2022) takes one deformable group; others run on the AI CPU, many times slower.
    Before: ``npu::DeformableConv2D (x, w, offsets)`` with ``deformable_groups = 4``.
    After: ``x -> Split``, ``offsets -> Gather -> Split``, a ``DeformableConv2D`` for each part with its
    part of the weight, summed by ``Add``.
    Seen in: deformable_block.

    Attributes:
        multiple: of channels that each part must have; the AI Core's kernel takes 8.
    """

    name: ClassVar[str] = "split_deformable_groups"
    effect: ClassVar[Effect] = Effect.TARGET_ONLY
    multiple: int = 8

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``DeformableConv2D`` with several deformable groups; see ``GraphPass.sites``."""
        for node in nodes_of(model, ASCEND, domain="npu"):
            found = read_deformable(node)
            if isinstance(found, str):
                yield Declined(node=node, why=found)
                continue
            groups = found.geometry.deformable_groups
            if groups == 1:
                continue
            why = self._why_not(found)
            what = f"{groups} deformable groups -> {groups} nodes with one"
            yield Declined(node=node, why=why) if why else _Split(node=node, what=what, found=found)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the parts; the bias goes into the first."""
        weight = constant_tensor(site.node.inputs[1])
        if not isinstance(site, _Split) or site.node.graph is None or weight is None:
            return
        found, node = site.found, site.node
        new = VersionedBuilder(model, node)
        outputs, channels, height, width = sizes_of(weight)
        groups = found.geometry.deformable_groups
        share, taps = channels // groups, height * width
        images = new.split(found.image, axis=1, sizes=[share] * groups)
        order = np.arange(_BLOCKS * groups * taps, dtype=np.int64).reshape(_BLOCKS, groups, taps)
        by_group = new.constant(order.transpose(1, 0, 2).reshape(-1), "order")
        gathered = new.op("Gather", found.offsets, by_group, attributes={"axis": 1})
        gathered.type = found.offsets.type
        offsets = new.split(gathered, axis=1, sizes=[_BLOCKS * taps] * groups)
        attributes = {name: item.value for name, item in node.attributes.items()}
        attributes["deformable_groups"] = 1
        total: ir.Value | None = None
        for index, (image, moves) in enumerate(zip(images, offsets, strict=True)):
            shape = [outputs, share, height, width]
            kernel = new.constant(_columns(weight, index * share, shape), "weight")
            bias = [] if found.bias is None or index else [found.bias]
            inputs = (image, kernel, moves, *bias)
            part = new.op(ASCEND, *inputs, attributes=attributes, like=node.outputs[0], domain=node.domain)
            total = part if total is None else new.op("Add", total, part, like=node.outputs[0])
        if total is not None:
            new.replace(total)
        remove_unread(model, [found.weight])

    def _why_not(self, found: DeformableConvolution) -> str | None:
        weight = constant_tensor(found.weight)
        if weight is None:
            return "its weight is computed at run time"
        if found.geometry.groups != 1:
            return f"its channels are in {found.geometry.groups} groups of their own"
        channels, groups = sizes_of(weight)[1], found.geometry.deformable_groups
        if channels % groups or (channels // groups) % max(1, self.multiple):
            return f"{channels} channels do not fall into {groups} parts of a multiple of {self.multiple}"
        return None


def _columns(weight: ir.TensorProtocol, start: int, shape: list[int]) -> ir.LazyTensor:
    def cut(array: Array) -> Array:
        return array[:, start : start + shape[1]]

    return derive(weight, cut, shape)
