"""The pass ``remove_zero_states``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import input_of, nodes_of
from graphopt.surgery.values.value_signs import is_zero

_STATES = (5, 6)
"""Inputs ``initial_h`` and, of an LSTM, ``initial_c``."""


@dataclass(frozen=True, kw_only=True)
class RemoveZeroStates(GraphPass):
    """Remove initial states of zeros from ``RNN``, ``GRU`` and ``LSTM``.

    Why: zeros are what these operators start with anyway; exported with an open batch, the state is
    computed from shapes at run time, which compilers for devices refuse.
    Before: ``x -> Shape -> Gather -> Concat -> Expand(0) -> LSTM(x, w, r, b, , h0, c0)``.
    After: ``LSTM(x, w, r, b)``.
    Seen in: crnn.
    Known as: bidirectional-rnn-split (33).
    """

    name: ClassVar[str] = "remove_zero_states"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every recurrent layer that is given a state; see ``GraphPass.sites``."""
        for node in nodes_of(model, "RNN", "GRU", "LSTM"):
            given = {index: value for index in _STATES if (value := input_of(node, index)) is not None}
            zeros = [value.name for value in given.values() if is_zero(value)]
            if zeros:
                yield Site(node=node, what=f"{' and '.join(map(str, zeros))} left out")
            elif given:
                yield Declined(node=node, why="its initial state may be another one than zeros")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Leave the states out, and what only they needed."""
        node, removed = site.node, []
        for index in _STATES:
            value = input_of(node, index)
            if value is not None and is_zero(value):
                node.replace_input_with(index, None)
                removed.append(value)
        count = len(node.inputs)
        while count and node.inputs[count - 1] is None:
            count -= 1
        node.resize_inputs(count)
        remove_unread(model, dict.fromkeys(removed))
