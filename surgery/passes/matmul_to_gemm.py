"""The pass ``matmul_to_gemm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, is_op, nodes_of, opset_of, used_elsewhere
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.known_types import KnownTypes

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)
_FIRST_THAT_BROADCASTS = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class _SumSite(Site):
    product: ir.Node
    bias: ir.Value


@dataclass(frozen=True, kw_only=True)
class MatmulToGemm(GraphPass):
    """Fuse a MatMul of two matrices and the Add of a constant bias into one Gemm.

    Why: a target with one kernel for fully connected layers wants the bias inside; it saves a pass
    over the result.
    Before: ``x[8,64] -> MatMul(., w[64,10]) -> Add(., b[10])``.
    After: ``x -> Gemm(., w, b)``.
    Seen in: attribute_head.
    Known as: gemm-matmul-add (21).
    """

    name: ClassVar[str] = "matmul_to_gemm"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Add of a constant to the product of two matrices."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Add"):
            for product, bias in (node.inputs, reversed(node.inputs)):
                maker = product.producer() if product is not None else None
                if maker is None or not is_op(maker, "MatMul") or constant_tensor(bias) is None:
                    continue
                assert bias is not None
                reason = _why_not(model, types, node, maker, bias)
                if reason is not None:
                    yield Declined(node=node, why=reason)
                else:
                    yield _SumSite(node=node, what="MatMul and Add become Gemm", product=maker, bias=bias)
                break

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the Gemm in the place of the Add."""
        if not isinstance(site, _SumSite) or site.product.graph is None:
            return
        new = NodeBuilder(model, site.node)
        new.replace(new.op("Gemm", *site.product.inputs, site.bias, like=site.node.outputs[0]))


def _why_not(
    model: ir.Model, types: KnownTypes, node: ir.Node, product: ir.Node, bias: ir.Value
) -> str | None:
    if opset_of(model, node) < _FIRST_THAT_BROADCASTS:
        return "Gemm of opset 6 and older broadcasts by an attribute"
    ranks = [types.rank(value) for value in product.inputs]
    if ranks != [2, 2]:
        return f"the MatMul is of ranks {ranks}, Gemm takes matrices"
    if types.of(bias).dtype not in _FLOATS:
        return f"Gemm of {types.of(bias).dtype} is not known to every target"
    result, added = types.of(product.outputs[0]).shape, types.static(bias)
    if result is None or added is None or not _broadcasts(added, result):
        return "the bias does not broadcast to the product"
    if product.graph is not node.graph:
        return "the MatMul is in another graph"
    return used_elsewhere(product.outputs[0], node)


def _broadcasts(added: tuple[int, ...], result: tuple[int | str | None, ...]) -> bool:
    if len(added) > len(result):
        return False
    pairs = zip(reversed(added), reversed(result), strict=False)
    return all(size in (1, other) for size, other in pairs)
