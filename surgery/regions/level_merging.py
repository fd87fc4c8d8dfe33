"""How the regions of all levels come back into one tensor, in the order of the RoIs.

Exporters write the answers of one level after the other into a tensor of zeros (``ScatterND``,
``ScatterElements``), or add them to it, multiplied by 0 where they belong to another level.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.graph_queries import attribute_int, constant_of, input_of, is_op, nodes_of
from graphopt.surgery.regions.pooling_nodes import is_pooling
from graphopt.surgery.regions.roi_table import is_zero, whole

_ORDER_KEPT = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Expand")
"""Of a list of numbers, whatever its shape: [K], [1, K] and [K, 1] hold them in one order."""


@dataclass(frozen=True)
class Part:
    """What one level gives.

    Attributes:
        pool: the node that pools.
        level: number per region, [R].
        index: which number is this level's.
        is_picked: whether the regions of this level are picked out; else all are pooled.
    """

    pool: ir.Node
    level: ir.Value
    index: int
    is_picked: bool


@dataclass(frozen=True)
class Merge:
    """All levels of one pooling.

    Attributes:
        end: makes the merged tensor.
        pools: all that is merged.
        parts: one for each level that is merged, in no order.
        why_not: why they cannot be taken together, a clause; empty when they can.
    """

    end: ir.Node
    pools: tuple[ir.Node, ...]
    parts: tuple[Part, ...]
    why_not: str = ""


def merges(model: ir.Model) -> Iterator[Merge]:
    """Yield every merge of pooled levels; two levels at least, or one that is chosen by a level."""
    links = {node: link for node in nodes_of(model, *_LINKS) if (link := _link(node)) is not None}
    inner = {link.data.producer() for link in links.values() if link.data is not None}
    for node in links:
        if node not in inner:
            yield _followed(node, links)


@dataclass(frozen=True)
class _Link:
    """One level joins the others.

    Attributes:
        data: what the others gave so far; None where there are none before.
        pool: the node that pools this level.
        part: what it gives; None when that is not known.
        why_not: why it does not count, a clause.
    """

    data: ir.Value | None
    pool: ir.Node
    part: Part | None
    why_not: str = ""


_LINKS = ("ScatterND", "ScatterElements", "Add")


def _followed(end: ir.Node, links: dict[ir.Node, _Link]) -> Merge:
    pools, parts, why_not = [], [], ""
    node: ir.Node | None = end
    data: ir.Value | None = None
    while node is not None and node in links:
        link = links[node]
        pools.append(link.pool)
        if link.part is not None:
            parts.append(link.part)
        why_not = why_not or link.why_not
        data = link.data
        node = None if data is None else data.producer()
    if data is not None and not is_zero(data):
        product = _product(data)  # a sum needs no zeros to begin with
        if product is None or not is_op(end, "Add"):
            why_not = why_not or f"its levels are written into {data.name}, which is not zero"
        else:
            pools.append(product.pool)
            parts.append(product)
    return Merge(end, tuple(pools), tuple(parts), why_not)


def _link(node: ir.Node) -> _Link | None:
    if is_op(node, "Add"):
        for one, other in (node.inputs, node.inputs[::-1]):
            part = _product(one)
            if part is not None:
                return _Link(other, part.pool, part)
        return None
    pool = _pool(input_of(node, 2))
    if pool is None:
        return None
    data = input_of(node, 0)
    if is_op(node, "ScatterElements") and attribute_int(node, "axis", 0) != 0:
        return _Link(data, pool, None, "its levels are scattered along another axis than that of the RoIs")
    if "reduction" in node.attributes and node.attributes["reduction"].as_string() != "none":
        return _Link(data, pool, None, "its levels are combined with what is there")
    chosen = rows_of_level(input_of(node, 1))
    if chosen is None:
        return _Link(
            data, pool, None, f"{node.inputs[1].name if node.inputs[1] else ''} is no choice of a level"
        )
    return _Link(data, pool, Part(pool, *chosen, is_picked=True))


def _product(value: ir.Value | None) -> Part | None:
    """Return what one level gives to a sum: its answers times 1 or 0."""
    node = None if value is None else value.producer()
    if not is_op(node, "Mul"):
        return None
    assert node is not None
    for one, other in (node.inputs, node.inputs[::-1]):
        pool = _pool(one)
        chosen = chosen_level(other)
        if pool is not None and chosen is not None:
            return Part(pool, *chosen, is_picked=False)
    return None


def _pool(value: ir.Value | None) -> ir.Node | None:
    node = None if value is None else value.producer()
    while is_op(node, "Identity", "Reshape"):  # to the shape that the merge needs: the same one
        assert node is not None
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    return node if is_pooling(node) else None


def rows_of_level(value: ir.Value | None) -> tuple[ir.Value, int] | None:
    """Return whose level is asked for, and which, by a list of row numbers in whatever shape."""
    node = None if value is None else value.producer()
    while is_op(node, *_ORDER_KEPT, "Gather", "Split"):
        assert node is not None
        if node.op_type == "Gather" and whole(input_of(node, 1)) != 0:
            return None
        if node.op_type == "Split" and len(node.outputs) != 1:
            return None
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    return chosen_level(node.inputs[0]) if node is not None and is_op(node, "NonZero") else None


def chosen_level(value: ir.Value | None) -> tuple[ir.Value, int] | None:
    """Return whose level is asked for, and which, by a mask that is true (or 1) there."""
    node = None if value is None else value.producer()
    while is_op(node, *_ORDER_KEPT):
        assert node is not None
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    if not is_op(node, "Equal"):
        return None
    assert node is not None
    for one, other in (node.inputs, node.inputs[::-1]):
        index = whole(other)
        if one is not None and index is not None and constant_of(one) is None:
            return one, index
    return None
