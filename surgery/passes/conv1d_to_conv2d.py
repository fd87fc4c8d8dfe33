"""The pass ``conv1d_to_conv2d``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_dead, remove_unread, take_over
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import is_op, nodes_of
from graphopt.surgery.lifting.lifted_node import CONVOLUTIONS, HEIGHT, WIDTH, add_axis_node
from graphopt.surgery.lifting.lifted_region import Region, regions_of
from graphopt.surgery.shapes.shape_inference import infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _Lifted(Site):
    """A group of connected nodes that get one more axis together."""

    region: Region


@dataclass(frozen=True, kw_only=True)
class Conv1dToConv2d(GraphPass):
    """Give chains of 1-D convolutions a height of one, so that they become 2-D ones.

    Why: Ascend has 2-D convolutions only; its compiler changes the layout around each single 1-D one.
    Before: ``x[N,C,L] -> Conv1d -> BatchNormalization -> Relu -> Conv1d -> y``.
    After: ``x -> Unsqueeze -> Conv2d(1xk) -> BatchNormalization -> Relu -> Conv2d(1xk) -> Squeeze -> y``;
    pools, pads, splits, joins and element-wise operators between convolutions come along.
    Seen in: speech_encoder, spectrogram_net.
    Known as: conv1d-to-conv2d (13), KnowledgeConv1d2Conv2d, KnowledgeTransposeLargeInputConv.

    Attributes:
        length: what the length becomes; Ascend's convolutions take a width of at most 4096, so ``height``
            is for long signals.
    """

    name: ClassVar[str] = "conv1d_to_conv2d"
    length: Literal["width", "height"] = "width"

    @property
    def _axis(self) -> int:
        return HEIGHT if self.length == "width" else WIDTH

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield each group of nodes with a 1-D convolution; see ``GraphPass.sites``."""
        if not any(True for _ in nodes_of(model, *CONVOLUTIONS)):
            return
        types = infer_types(model)
        regions, refused = regions_of(model, types, self._axis)
        for region in regions:
            convolutions = [node for node in region.nodes if is_op(node, *CONVOLUTIONS)]
            if convolutions:
                what = f"{len(convolutions)} convolutions in a group of {len(region.nodes)} nodes"
                yield _Lifted(node=convolutions[0], what=what, region=region)
        for node, why in refused.items():
            if is_op(node, *CONVOLUTIONS):
                yield Declined(node=node, why=why)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the group once more with one axis more, and take the old nodes away."""
        if not isinstance(site, _Lifted) or any(node.graph is None for node in site.region.nodes):
            return
        lifted: dict[ir.Value, ir.Value] = {}
        inside, old_inputs = set(site.region.nodes), list[ir.Value]()
        for node, data in zip(site.region.nodes, site.region.data, strict=True):
            new = VersionedBuilder(model, node)
            old_inputs.extend(value for value in node.inputs if value is not None)
            made = add_axis_node(new, node, data, lifted, self._axis)
            lifted.update(zip(node.outputs, made, strict=True))
        for node in site.region.nodes:
            for old in node.outputs:
                if old.is_graph_output() or any(user not in inside for user, _ in old.uses()):
                    new = VersionedBuilder(model, node, old.name or "")
                    _take_over_outside(new.squeeze(lifted[old], [self._axis]), old, inside)
        remove_dead(model, list(reversed(site.region.nodes)))
        remove_unread(model, old_inputs)


def _take_over_outside(new: ir.Value, old: ir.Value, inside: set[ir.Node]) -> None:
    """Put ``new`` in the place of ``old``, but leave the old nodes themselves as they are."""
    kept = [(user, index) for user, index in old.uses() if user in inside]
    take_over(new, old)
    for user, index in kept:
        user.replace_input_with(index, old)
