"""The pass ``split_batchnorm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import label, nodes_of
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.passes.fuse_batchnorm import FuseBatchnorm
from graphopt.surgery.semantics.affine_layers import Floats
from graphopt.surgery.semantics.batchnorm_affine import affine_of_batchnorm, why_not_affine
from graphopt.surgery.shapes.shape_inference import infer_types


@dataclass(frozen=True, kw_only=True, eq=False)
class _Affine(Site):
    """A norm as ``x * factor + shift``; both [C, 1, ...] in the dtype of x."""

    factor: Floats
    shift: Floats
    dtype: ir.DataType
    rank: int


@dataclass(frozen=True, kw_only=True)
class SplitBatchnorm(GraphPass):
    """Write a ``BatchNormalization`` that no layer can take in as ``Mul`` and ``Add``.

    Why: targets fuse a scale and a shift with what stands beside them, or have a norm for some ranks
    only; behind a concatenation or an activation no convolution can absorb it.
    Before: ``Concat -> BatchNormalization -> Relu``.
    After: ``Concat -> Mul -> Add -> Relu``; ``Mul`` alone where the shift is zero. Norms that
    ``fuse_batchnorm`` can fold are left to it.
    Seen in: dense_block, face_net.
    """

    name: ClassVar[str] = "split_batchnorm"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``BatchNormalization``; see ``GraphPass.sites``."""
        found = list(nodes_of(model, "BatchNormalization"))
        types = infer_types(model) if found else {}
        fused = {place.node: place for place in FuseBatchnorm().sites(model) if isinstance(place, Site)}
        for node in found:
            source = node.inputs[0]
            producer = source.producer() if source is not None else None
            known = types.get(source) if source is not None else None
            if node in fused and producer is not None:
                yield Declined(node=node, why=f"fuse_batchnorm can fold it into {label(producer)}")
                continue
            reason = why_not_affine(model, node)
            if reason is not None or known is None or known.shape is None or known.dtype is None:
                yield Declined(node=node, why=reason or "the rank and dtype of its input are not known")
                continue
            factor, shift = affine_of_batchnorm(node)
            reason = _why_not_numbers(factor, shift, known.dtype)
            if reason is not None:
                yield Declined(node=node, why=reason)
                continue
            what = f"a scale{' and a shift' if shift.any() else ''} of {len(factor)} channels"
            rank = len(known.shape)
            yield _Affine(node=node, what=what, factor=factor, shift=shift, dtype=known.dtype, rank=rank)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the scale, and the shift where there is one."""
        node = site.node
        if not isinstance(site, _Affine) or node.graph is None:
            return
        old, output = [value for value in node.inputs[1:] if value is not None], node.outputs[0]
        new = NodeBuilder(model, node)
        shape = [-1, *[1] * (site.rank - 2)]

        def constant(numbers: Floats, stem: str) -> ir.Value:
            return new.constant(numbers.astype(site.dtype.numpy()).reshape(shape), stem)

        made = new.op("Mul", node.inputs[0], constant(site.factor, "factor"), like=output)
        if site.shift.any():
            made = new.op("Add", made, constant(site.shift, "shift"), like=output)
        new.replace(made)
        remove_unread(model, old)


def _why_not_numbers(factor: Floats, shift: Floats, dtype: ir.DataType) -> str | None:
    if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
        return "variance plus epsilon is not positive everywhere"
    if dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
        return f"its input is {dtype.name}, in which the constants would be rounded"
    largest = max(np.abs(factor).max(initial=0.0), np.abs(shift).max(initial=0.0))
    if largest > np.finfo(dtype.numpy()).max:
        return f"its scale or shift exceeds the range of {dtype.name.lower()}"
    return None
