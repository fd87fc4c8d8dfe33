"""The pass ``decompose_dcn``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.core.bodies.deformable import FIRST_OPSET
from graphopt.core.bodies.deformable_spellings import exporters_body, onnx_geometry
from graphopt.core.foreign_operator import Call
from graphopt.core.operator_bodies import call_of
from graphopt.core.operators import at_home
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import opset_of
from graphopt.surgery.semantics.deformable import deformable_nodes, read_deformable
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True)
class DecomposeDcn(GraphPass):
    """Write deformable convolutions, of mmcv, ONNX or Ascend, with standard operators.

    Why: OpenVINO and most devices have none of them.
    Before: ``MMCVDeformConv2d (x, offsets, w)`` or another spelling.
    After: four gathers of pixels around each sampling point, weighted, summed, and one MatMul. Sizes are
    asked for at run time: ``static_shapes`` and ``fold_constants`` make constants of those that are known.
    Seen in: deformable_block, faster_rcnn_dcn.
    """

    name: ClassVar[str] = "decompose_dcn"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every deformable convolution; see ``GraphPass.sites``."""
        for node in deformable_nodes(model, ascends=True):
            found, opset = read_deformable(node), opset_of(model, node)
            if isinstance(found, str):
                yield Declined(node=node, why=found)
            elif opset < FIRST_OPSET:
                why = f"it takes operators of opset {FIRST_OPSET}, the model follows {opset}"
                yield Declined(node=node, why=why)
            else:
                yield Site(node=node, what="becomes four gathers and a product")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write it out."""
        new, node = VersionedBuilder(model, site.node), site.node
        operator = at_home(node)
        body = _standard if operator is None or operator.body is None else operator.body
        results = body(call_of(node, new.opset), new, list(node.inputs))
        new.replace(*results[:1])  # the second one of torch_npu's is read by nobody


def _standard(call: Call, new: VersionedBuilder, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    """Write ``DeformConv``."""
    geometry = onnx_geometry(call.attributes)
    return exporters_body(call, new, inputs, geometry=geometry, weight=1, offsets=2, mask=4, bias=3)
