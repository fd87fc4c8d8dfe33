"""Say which pass made a change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from graphopt.core.lineage import NODE_ORIGIN, NODE_PASS, node_label, origins_of

if TYPE_CHECKING:
    from graphopt.surgery.differences.node_changes import Pair


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What is known about the passes between two models.

    Attributes:
        steps: names of the passes that the second went through and the first did not.
        sites: name of a node -> the pass that was applied there (from the sidecar).
    """

    steps: tuple[str, ...] = ()
    sites: Mapping[str, str] | None = None

    def attribute(
        self,
        removed: Sequence[ir.Node],
        added: Sequence[ir.Node],
        changed: Sequence["Pair"],
        makers: dict[ir.Node, str],
    ) -> None:
        """Write the pass of each node of one region into ``makers``; "" where it stays unknown.

        A new node says who made it and what it stands for. A node that is gone without a successor is
        looked up among the sites of the passes; else it went the way of the rest of its region, or of the
        only pass there was.
        """
        claimed: dict[str, str] = {}
        for node in (*added, *(pair.after for pair in changed)):
            makers[node] = node.metadata_props.get(NODE_PASS, "")
            if makers[node] and NODE_ORIGIN in node.metadata_props:
                claimed.update(dict.fromkeys(origins_of(node), makers[node]))
        for node in removed:
            makers[node] = self._site(node) or claimed.get(node_label(node), "")
        for pair in changed:
            old = pair.before.metadata_props.get(NODE_PASS)
            if makers[pair.after] == (old or ""):  # stamped before, or never
                makers[pair.after] = self._site(pair.before)
        for node in reversed(removed):  # what fed a node that a pass removed went with it
            readers = (makers.get(user, "") for value in node.outputs for user, _ in value.uses())
            makers[node] = makers[node] or next(filter(None, readers), "")
        known = {name for name in makers.values() if name}
        rest = known.pop() if len(known) == 1 else self.steps[0] if len(self.steps) == 1 else ""
        for node, name in makers.items():
            makers[node] = name or rest

    def _site(self, node: ir.Node) -> str:
        return (self.sites or {}).get(node_label(node), "")
