"""The pass ``merge_batch_matmul``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, nodes_of
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.known_types import KnownTypes


@dataclass(frozen=True, kw_only=True, eq=False)
class _MatmulSite(Site):
    """A batched product with one matrix.

    Attributes:
        sizes: of the result; -1 for one size that is only known at run time.
        matrix: shape [K, N] of the weight.
    """

    sizes: tuple[int, ...]
    matrix: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class MergeBatchMatmul(GraphPass):
    """Turn a batched MatMul with one constant matrix into a single product of two matrices.

    Why: one large product fills the matrix unit; a batch of small ones pays for each start, and
    for the broadcast of the weight.
    Before: ``x[2,197,768] -> MatMul(., w[768,3072])``.
    After: ``x -> Reshape[394,768] -> MatMul(., w) -> Reshape[2,197,3072]``.
    Seen in: vit_block, causal_decoder.
    Known as: merge-bmm-axes (19).
    """

    name: ClassVar[str] = "merge_batch_matmul"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every MatMul of a tensor of rank 3 or more with a constant matrix."""
        types = KnownTypes(model)
        for node in nodes_of(model, "MatMul"):
            weight = constant_tensor(node.inputs[1])
            if weight is None:
                continue
            matrix = tuple(int(size) for size in weight.shape.numpy())
            if len(matrix) < 2 or any(size != 1 for size in matrix[:-2]):
                continue
            shape = types.of(node.inputs[0]).shape
            if shape is None:
                yield Declined(node=node, why="the rank of its first input is not known")
                continue
            if len(shape) < 3 or len(matrix) > len(shape):
                continue
            if sum(not isinstance(size, int) for size in shape[:-1]) > 1:
                yield Declined(
                    node=node, why=f"several sizes of {types.of(node.inputs[0]).text} are not known"
                )
                continue
            if 0 in shape:
                continue  # nothing to multiply, and Reshape reads 0 as "as before"
            sizes = (*(size if isinstance(size, int) else -1 for size in shape[:-1]), matrix[-1])
            yield _MatmulSite(
                node=node,
                what=f"{types.of(node.inputs[0]).text} times {list(matrix[-2:])} becomes one product",
                sizes=sizes,
                matrix=(matrix[-2], matrix[-1]),
            )

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Flatten all axes but the last, multiply, and bring the axes back."""
        if not isinstance(site, _MatmulSite) or site.node.graph is None:
            return
        node = site.node
        data, weight = node.inputs
        tensor = constant_tensor(weight)
        if data is None or weight is None or tensor is None:
            return
        rows, (inner, columns) = int(np.prod(site.sizes[:-1])), site.matrix
        new = NodeBuilder(model, node)
        flat_sizes = new.constant(np.array([max(rows, -1), inner], np.int64), "rows")
        flat = new.op("Reshape", data, flat_sizes, like=data, shape=(rows if rows >= 0 else None, inner))
        if len(tensor.shape.numpy()) > 2:
            weight = new.constant(tensor.numpy().reshape(inner, columns), "matrix")
        product = new.op("MatMul", flat, weight, like=data, shape=(rows if rows >= 0 else None, columns))
        sizes = new.constant(np.array(site.sizes, np.int64), "sizes")
        replaced = node.inputs[1]
        new.replace(
            new.op("Reshape", product, sizes, like=data, shape=[s if s >= 0 else None for s in site.sizes])
        )
        if replaced is not None:
            remove_unread(model, [replaced])
