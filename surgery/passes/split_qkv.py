"""The pass ``split_qkv``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import remove_unread, take_over
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_of,
    constant_tensor,
    input_of,
    is_op,
    label,
    nodes_of,
    used_elsewhere,
)
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.known_types import KnownTypes


@dataclass(frozen=True, kw_only=True, eq=False)
class _Projection(Site):
    """One matrix product whose result is taken apart.

    Attributes:
        product: the MatMul.
        bias: the Add behind it, if there is one.
        reshape: splits the last axis.
        sizes: what ``reshape`` makes, with every size known but perhaps the first.
        first: axis of ``sizes`` at which the split last axis begins.
        parts: axis of ``sizes`` that the Gathers take apart.
        gathers: the Gathers, each with its index.
    """

    product: ir.Node
    bias: ir.Node | None
    reshape: ir.Node
    sizes: tuple[int, ...]
    first: int
    parts: int
    gathers: tuple[tuple[ir.Node, int], ...]


@dataclass(frozen=True, kw_only=True)
class SplitQkv(GraphPass):
    """Compute query, key and value by a product each, instead of one that is taken apart.

    Why: the joint result is reshaped, transposed as a whole and gathered three times; with three
    products each part is transposed once, alone, and they can run side by side.
    Before: ``MatMul(x, w) -> Add -> Reshape[b,s,3,h,d] -> Transpose -> Gather(0 | 1 | 2)``.
    After: three times ``MatMul(x, w_i) -> Add -> Reshape[b,s,h,d] -> Transpose``.
    Seen in: vit_block.
    Known as: split-qkv (20).
    """

    name: ClassVar[str] = "split_qkv"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every transposed projection that Gathers with constant indices take apart."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Transpose"):
            users = [user for user, _ in node.outputs[0].uses()]
            if len(users) < 2 or not all(is_op(user, "Gather") for user in users):
                continue
            reshape = node.inputs[0].producer() if node.inputs[0] is not None else None
            if reshape is None or not is_op(reshape, "Reshape"):
                continue
            found = _projection(types, node, reshape)
            if found is not None:
                yield Declined(node=node, why=found) if isinstance(found, str) else found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write one product, bias, reshape and transpose for each Gather."""
        if not isinstance(site, _Projection) or site.product.graph is None:
            return
        turn = site.node
        weight = constant_of(site.product.inputs[1])
        bias = None if site.bias is None else next(filter(_is_constant, site.bias.inputs))
        shift = constant_of(bias)
        assert weight is not None
        split = site.sizes[site.first :]
        sizes = np.array([size for axis, size in enumerate(site.sizes) if axis != site.parts], np.int64)
        order = [axis - (axis > site.parts) for axis in _perm(turn) if axis != site.parts]
        replaced = [value for value in (site.product.inputs[1], bias) if value is not None]
        for gather, index in site.gathers:
            new = NodeBuilder(model, gather)
            part = _columns(weight, split, site.parts - site.first, index)
            result = new.op("MatMul", site.product.inputs[0], new.constant(part, "weight"))
            if shift is not None:
                # A bias may hold one number for all columns.
                full = np.broadcast_to(shift, (*shift.shape[:-1], weight.shape[-1]))
                added = _columns(full, split, site.parts - site.first, index)
                result = new.op("Add", result, new.constant(added, "bias"))
            result = new.op("Reshape", result, new.constant(sizes, "sizes"))
            result = new.op("Transpose", result, attributes={"perm": order}, like=gather.outputs[0])
            take_over(result, gather.outputs[0])
        remove_unread(model, [gather.outputs[0] for gather, _ in site.gathers])
        remove_unread(model, replaced)


def _projection(types: KnownTypes, turn: ir.Node, reshape: ir.Node) -> "_Projection | str | None":
    source = reshape.inputs[0].producer() if reshape.inputs[0] is not None else None
    bias = source if is_op(source, "Add") else None
    if bias is not None:
        producers = [value.producer() if value is not None else None for value in bias.inputs]
        source = next((node for node in producers if is_op(node, "MatMul")), None)
    if source is None or not is_op(source, "MatMul"):
        return None
    if constant_tensor(source.inputs[1]) is None:
        return f"the weight of {label(source)} is computed at run time"
    if bias is not None and not any(_is_constant(value) for value in bias.inputs):
        return f"the bias of {label(bias)} is computed at run time"
    chain = [source, *([bias] if bias is not None else []), reshape]
    for node, reader in zip(chain, [*chain[1:], turn], strict=True):
        if (reason := used_elsewhere(node.outputs[0], reader)) is not None:
            return reason
        if node.graph is not turn.graph:
            return f"{label(node)} is in another graph"
    if turn.outputs[0].is_graph_output():
        return f"{turn.outputs[0].name} is a graph output"
    found = _taken_apart(types, turn, reshape, source)
    if isinstance(found, str):
        return found
    sizes, first, parts, gathers = found
    what = f"{label(source)} becomes {len(gathers)} products"
    return _Projection(
        node=turn,
        what=what,
        product=source,
        bias=bias,
        reshape=reshape,
        sizes=sizes,
        first=first,
        parts=parts,
        gathers=gathers,
    )


def _taken_apart(
    types: KnownTypes, turn: ir.Node, reshape: ir.Node, product: ir.Node
) -> tuple[tuple[int, ...], int, int, tuple[tuple[ir.Node, int], ...]] | str:
    before, after = types.of(reshape.inputs[0]).shape, types.of(reshape.outputs[0]).shape
    if before is None or after is None or not all(isinstance(size, int) for size in after[1:]):
        return f"{label(reshape)} makes {types.of(reshape.outputs[0]).text}; fix the shapes first"
    first = len(before) - 1
    if not _same_lead(before[:first], after[:first]) or len(after) <= first:
        return f"{label(reshape)} does more than split the last axis"
    perm = _perm(turn, len(after))
    gathers = []
    parts = set()
    for user, _ in turn.outputs[0].uses():
        index = constant_of(input_of(user, 1))
        if index is None or index.ndim != 0 or user.inputs[1] is turn.outputs[0]:
            return f"{label(user)} takes more than one part, or one that is computed"
        if user.graph is not turn.graph:
            return f"{label(user)} is in another graph"
        axis = attribute_int(user, "axis", 0) % len(perm)
        parts.add(perm[axis])
        gathers.append((user, int(index)))
    axis = next(iter(parts))
    if len(parts) > 1 or axis < first:
        return "the Gathers do not take apart one axis of the projection"
    columns = constant_tensor(product.inputs[1])
    if columns is None or int(columns.shape.numpy()[-1]) != before[-1]:
        return f"{label(product)} has another number of columns than {label(reshape)} splits"
    sizes = tuple(size if isinstance(size, int) else -1 for size in after)
    count = sizes[axis]
    return sizes, first, axis, tuple((node, index % count) for node, index in gathers)


def _same_lead(before: tuple[int | str | None, ...], after: tuple[int | str | None, ...]) -> bool:
    """Whether the leading sizes are equal; one that both do not know must be."""
    unknown = [pair for pair in zip(before, after, strict=False) if not all(isinstance(s, int) for s in pair)]
    return len(unknown) <= 1 and all(a == b or (a, b) in unknown for a, b in zip(before, after, strict=False))


def _perm(turn: ir.Node, rank: int = 0) -> list[int]:
    given = turn.attributes.get("perm")
    return list(given.as_ints()) if given is not None else list(reversed(range(rank)))


def _columns(array: Array, split: tuple[int, ...], axis: int, index: int) -> Array:
    """Return the columns of one part; the last axis is laid out as ``split``."""
    lead = array.shape[:-1]
    chosen = np.take(array.reshape(*lead, *split), index, axis=len(lead) + axis)
    return np.ascontiguousarray(chosen.reshape(*lead, -1))


def _is_constant(value: ir.Value | None) -> bool:
    return constant_tensor(value) is not None
