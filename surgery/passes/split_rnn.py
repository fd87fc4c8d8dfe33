"""The pass ``split_rnn``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.versioned_ops import Attribute
from graphopt.surgery.graph_edits import remove_unread, take_over
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_tensor,
    has_attribute_references,
    input_of,
    nodes_of,
)
from graphopt.surgery.values.value_signs import is_zero
from graphopt.surgery.versioned_builder import VersionedBuilder

_PER_DIRECTION = {"RNN": (1, 2, 3, 5), "GRU": (1, 2, 3, 5), "LSTM": (1, 2, 3, 5, 6, 7)}
"""Inputs whose first axis is the direction: W, R, B, initial_h, initial_c, P."""
_STATES = (5, 6)
_LISTS = ("activations", "activation_alpha", "activation_beta")
"""Attributes that list the functions of the forward direction, then those of the reverse one."""


@dataclass(frozen=True, kw_only=True)
class SplitRnn(GraphPass):
    """Split a bidirectional RNN, GRU or LSTM into a forward and a reverse one.

    Why: device plugins read one direction only, and initial states of zeros cost inputs that they
    do not support; engineers write two layers by hand.
    Before: ``x -> LSTM(direction="bidirectional", initial_h=0, initial_c=0)``.
    After: ``Concat(LSTM(direction="forward"), LSTM(direction="reverse"))``, without the zero states.
    Seen in: crnn.
    Known as: bidirectional-rnn-split (33).
    """

    name: ClassVar[str] = "split_rnn"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every bidirectional recurrent layer with constant weights."""
        for node in nodes_of(model, "RNN", "GRU", "LSTM"):
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
                continue
            if node.attributes.get_string("direction", "forward") != "bidirectional":
                continue
            reason = _why_not(node)
            if reason is None:
                yield Site(node=node, what="becomes a forward and a reverse layer")
            else:
                yield Declined(node=node, why=reason)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write two layers and join what they give."""
        node = site.node
        new = VersionedBuilder(model, node)
        replaced = [value for value in node.inputs[1:] if value is not None]
        halves = [_one_direction(new, node, index) for index in (0, 1)]
        results = []
        for position, old in enumerate(node.outputs):
            axis = 1 if position == 0 else 0  # Y is [steps, direction, batch, hidden], Y_h has no steps
            read = old.uses() or old.is_graph_output()
            parts = [half[position] for half in halves]
            results.append(new.op("Concat", *parts, attributes={"axis": axis}, like=old) if read else old)
        for result, old in zip(results, node.outputs, strict=True):
            if result is not old:
                take_over(result, old)
        remove_unread(model, node.outputs)
        remove_unread(model, replaced)


def _why_not(node: ir.Node) -> str | None:
    if attribute_int(node, "layout", 0):
        return "it is batch first (layout=1)"
    if any(name in node.attributes and len(node.attributes[name].value) % 2 for name in _LISTS):
        return "its activations are not listed alike for both directions"
    for index in _PER_DIRECTION[node.op_type]:
        value = input_of(node, index)
        if value is not None and constant_tensor(value) is None and index not in _STATES:
            return f"{value.name} is computed at run time"
    return None


def _one_direction(new: VersionedBuilder, node: ir.Node, index: int) -> tuple[ir.Value, ...]:
    inputs: list[ir.Value | None] = list(node.inputs)
    for position in _PER_DIRECTION[node.op_type]:
        value = input_of(node, position)
        if value is not None:
            inputs[position] = _half(new, value, index, is_state=position in _STATES)
    while inputs and inputs[-1] is None:
        inputs.pop()
    attributes: dict[str, Attribute] = {"direction": ("forward", "reverse")[index]}
    for attribute in node.attributes.values():
        if attribute.name == "direction":
            continue
        held = attribute.value
        if attribute.name in _LISTS:
            count = len(held) // 2
            held = list(held)[index * count : (index + 1) * count]
        attributes[attribute.name] = held
    return new.ops(node.op_type, *inputs, attributes=attributes, outputs=len(node.outputs))


def _half(new: VersionedBuilder, value: ir.Value, index: int, *, is_state: bool) -> ir.Value | None:
    """Return the part of one direction; None for a state of zeros, which is the default."""
    if is_state and is_zero(value):
        return None
    tensor = constant_tensor(value)
    if tensor is not None:
        return new.constant(np.ascontiguousarray(tensor.numpy()[index : index + 1]), f"direction{index}")
    return new.slice(value, axes=[0], starts=[index], ends=[index + 1])
