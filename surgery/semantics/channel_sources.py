"""Follow channels back through nodes that only choose, split and join them."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.graph_queries import (
    attribute_int,
    has_attribute_references,
    input_of,
    ints_of,
    is_op,
    opset_of,
)
from graphopt.surgery.semantics.slicing import cuts_of
from graphopt.surgery.shapes.shape_inference import Inferred

_RANK = 4
_CHANNELS = 1
_AXIS = (_CHANNELS, _CHANNELS - _RANK)


@dataclass(frozen=True, kw_only=True, eq=False)
class Channels:
    """Where the channels of a tensor come from.

    Attributes:
        source: what they are chosen from, made by no such node itself.
        picks: the channel of ``source`` for each of the tensor's.
        nodes: that choose, from the source to the tensor.
    """

    source: ir.Value
    picks: tuple[int, ...]
    nodes: frozenset[ir.Node]


def channels_of(model: ir.Model, value: ir.Value, types: Mapping[ir.Value, Inferred]) -> Channels | None:
    """Return where the channels (axis 1) of a tensor [N, C, H, W] come from; itself at least.

    Args:
        model: holds the tensor.
        value: the tensor.
        types: what is known of the model's tensors.

    Returns:
        None when it is not known how many there are.
    """
    count = _count(value, types)
    return None if count is None else _follow(model, value, tuple(range(count)), frozenset(), types)


def _follow(
    model: ir.Model,
    value: ir.Value,
    picks: tuple[int, ...],
    nodes: frozenset[ir.Node],
    types: Mapping[ir.Value, Inferred],
) -> Channels:
    here = Channels(source=value, picks=picks, nodes=nodes)
    node = value.producer()
    if node is None or has_attribute_references(node):
        return here
    if is_op(node, "Concat"):
        return _through_concat(model, node, picks, nodes, types) or here
    source = input_of(node, 0)
    moved = _moved(model, node, value, picks, types)
    if source is None or moved is None:
        return here
    return _follow(model, source, moved, nodes | {node}, types)


def _moved(
    model: ir.Model,
    node: ir.Node,
    value: ir.Value,
    picks: tuple[int, ...],
    types: Mapping[ir.Value, Inferred],
) -> tuple[int, ...] | None:
    """Return which channels of the node's input its output's are, or None when it does more."""
    if is_op(node, "Identity"):
        return picks
    if is_op(node, "Split") and attribute_int(node, "axis", 0) in _AXIS:
        before = [_count(part, types) for part in node.outputs[: node.outputs.index(value)]]
        if None in before:
            return None
        start = sum(count for count in before if count is not None)
        return tuple(start + pick for pick in picks)
    if is_op(node, "Gather") and attribute_int(node, "axis", 0) in _AXIS:
        indices = ints_of(input_of(node, 1))
        if indices is None or min(indices, default=-1) < 0 or max(picks) >= len(indices):
            return None
        return tuple(indices[pick] for pick in picks)
    if is_op(node, "Slice"):
        cuts = cuts_of(node, opset_of(model, node), _RANK)
        cut = None if isinstance(cuts, str) or set(cuts) != {_CHANNELS} else cuts[_CHANNELS]
        if cut is None or cut.start < 0 or cut.step < 0:
            return None
        return tuple(cut.start + cut.step * pick for pick in picks)
    return None


def _through_concat(
    model: ir.Model,
    node: ir.Node,
    picks: tuple[int, ...],
    nodes: frozenset[ir.Node],
    types: Mapping[ir.Value, Inferred],
) -> Channels | None:
    """Follow all inputs of a ``Concat``; None unless they are parts of one tensor."""
    if attribute_int(node, "axis", 0) not in _AXIS:
        return None
    found: list[Channels] = []
    for part in node.inputs:
        count = _count(part, types)
        if part is None or count is None:
            return None
        found.append(_follow(model, part, tuple(range(count)), nodes | {node}, types))
    if len({item.source for item in found}) != 1:
        return None
    joined = [pick for item in found for pick in item.picks]
    passed = frozenset[ir.Node]().union(*(item.nodes for item in found))
    return Channels(source=found[0].source, picks=tuple(joined[pick] for pick in picks), nodes=passed)


def _count(value: ir.Value | None, types: Mapping[ir.Value, Inferred]) -> int | None:
    """Return how many channels a tensor of rank 4 has."""
    known = None if value is None else types.get(value)
    if known is None or known.shape is None or len(known.shape) != _RANK:
        return None
    count = known.shape[_CHANNELS]
    return count if isinstance(count, int) else None
