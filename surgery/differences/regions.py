"""Group what changed into regions, each to be looked at by itself."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from graphopt.core.lineage import NODE_ORIGIN, origins_of
from graphopt.surgery.differences.alignment import Alignment
from graphopt.surgery.differences.attribution import Attribution
from graphopt.surgery.differences.node_changes import Pair
from graphopt.surgery.differences.side import Side, operator
from graphopt.surgery.graph_queries import is_op


@dataclass
class Region:
    """Neighbouring nodes that changed together.

    Attributes:
        removed: nodes that only the first model has.
        added: nodes that only the second has.
        changed: nodes of both that differ by themselves.
        rewired: unchanged neighbours that read something else now.
        makers: node of either model -> the pass that removed, added or changed it; "" where unknown.
    """

    removed: list[ir.Node] = field(default_factory=list)
    added: list[ir.Node] = field(default_factory=list)
    changed: list[Pair] = field(default_factory=list)
    rewired: list[Pair] = field(default_factory=list)
    makers: dict[ir.Node, str] = field(default_factory=dict)

    @property
    def passes(self) -> tuple[str, ...]:
        """The passes that made it, in order of first appearance."""
        return tuple(dict.fromkeys(name for name in self.makers.values() if name))

    @property
    def size(self) -> int:
        """Number of nodes removed, added and changed."""
        return len(self.removed) + len(self.added) + len(self.changed)

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for regions that look the same: operators and passes, not names."""
        return (
            tuple(sorted(operator(node) for node in self.removed)),
            tuple(sorted(operator(node) for node in self.added)),
            tuple(sorted(operator(pair.after) for pair in self.changed)),
            tuple(sorted(self.passes)),
        )


def regions_of(alignment: Alignment, pairs: list[Pair], attribution: Attribution) -> list[Region]:
    """Return the regions, in the order of the first model.

    Args:
        alignment: of the two graphs.
        pairs: nodes of both that differ.
        attribution: which pass did it.
    """
    groups = _Groups()
    moved = moved_constants(alignment)
    removed = [node for node in alignment.before.nodes if node not in alignment.nodes and node not in moved]
    added = [node for node in alignment.after.nodes if node not in alignment.back and node not in moved]
    changed = [pair for pair in pairs if pair.changes]
    touched = {*removed, *(pair.before for pair in changed)}
    made = {*added, *(pair.after for pair in changed)}
    for pair in changed:
        groups.join(pair.before, pair.after)
    claims = _claims(alignment, made, touched)
    for old, new in claims.items():
        groups.join(old, new)
    for node in touched:
        _join_readers(groups, alignment.before.readers(node), node, touched, claims)
    for node in made:
        _join_readers(groups, alignment.after.readers(node), node, made, {})
    for new in added:
        for value in new.outputs:
            replaced = alignment.before.makers.get(value.name or "")
            if replaced is not None and replaced in touched:
                groups.join(replaced, new)  # one took the place of the other
    for pair in pairs:
        for old, new in _replaced(alignment, pair):
            if old in touched and new in made:
                groups.join(old, new)
    found = _collect(groups, alignment, removed, added, changed, pairs)
    for region in found:
        attribution.attribute(region.removed, region.added, region.changed, region.makers)
    return found


def moved_constants(alignment: Alignment) -> set[ir.Node]:
    """Return ``Constant`` nodes of either side that are constants of another form on the other.

    All that read them are on both sides and read the same values there.
    """
    mine = _moved(alignment.before, alignment.after, alignment.nodes, alignment.same)
    return mine | _moved(alignment.after, alignment.before, alignment.back, lambda a, b: alignment.same(b, a))


def _moved(
    side: Side,
    other: Side,
    partner: Mapping[ir.Node, ir.Node],
    same: Callable[[ir.Value | None, ir.Value | None], bool],
) -> set[ir.Node]:
    found: set[ir.Node] = set()
    for node in side.nodes:
        if node in partner or not is_op(node, "Constant"):
            continue
        users = [use for value in node.outputs for use in side.users.get(value, ())]
        if users and all(
            user in partner
            and slot < len(other.slots[partner[user]])
            and same(side.slots[user][slot][1], other.slots[partner[user]][slot][1])
            for user, slot in users
        ):
            found.add(node)
    return found


class _Groups:
    """Disjoint sets of nodes."""

    def __init__(self) -> None:
        self._parent: dict[ir.Node, ir.Node] = {}

    def find(self, node: ir.Node) -> ir.Node:
        root = node
        while (above := self._parent.get(root, root)) is not root:
            root = above
        while node is not root:
            above = self._parent.get(node, root)
            self._parent[node] = root
            node = above
        return root

    def join(self, one: ir.Node, other: ir.Node) -> None:
        self._parent[self.find(other)] = self.find(one)


def _claims(alignment: Alignment, made: set[ir.Node], touched: set[ir.Node]) -> Mapping[ir.Node, ir.Node]:
    """Return old node -> the new node that says it stands for it, where only one does."""
    claims: dict[ir.Node, list[ir.Node]] = {}
    for node in alignment.after.nodes:
        if node in made and NODE_ORIGIN in node.metadata_props:
            for name in origins_of(node):
                old = alignment.before.by_name.get(name)
                if old is not None and old in touched:
                    claims.setdefault(old, []).append(node)
    return {old: nodes[0] for old, nodes in claims.items() if len(nodes) == 1}


def _join_readers(
    groups: _Groups,
    readers: Iterator[ir.Node],
    node: ir.Node,
    changed: set[ir.Node],
    claims: Mapping[ir.Node, ir.Node],
) -> None:
    for reader in readers:
        if reader not in changed:
            continue
        if node in claims and reader in claims and claims[node] is not claims[reader]:
            continue  # two rewrites side by side
        groups.join(reader, node)
        if is_op(node, "Constant"):
            return  # what else reads a shared constant is no neighbour


def _replaced(alignment: Alignment, pair: Pair) -> Iterator[tuple[ir.Node, ir.Node]]:
    mine, theirs = alignment.before.slots[pair.before], alignment.after.slots[pair.after]
    for (_, old), (_, new) in zip(mine, theirs, strict=False):
        if old is None or new is None or alignment.values.get(old) is new:
            continue
        one, other = old.producer(), new.producer()
        if one is not None and other is not None:
            yield one, other


def _collect(
    groups: _Groups,
    alignment: Alignment,
    removed: list[ir.Node],
    added: list[ir.Node],
    changed: list[Pair],
    pairs: list[Pair],
) -> list[Region]:
    found: dict[ir.Node, Region] = {}
    by_old = {pair.before: pair for pair in changed}
    gone = set(removed)
    for node in alignment.before.nodes:
        if node in gone:
            found.setdefault(groups.find(node), Region()).removed.append(node)
        elif node in by_old:
            found.setdefault(groups.find(node), Region()).changed.append(by_old[node])
    for node in added:
        found.setdefault(groups.find(node), Region()).added.append(node)
    for pair in pairs:
        if not pair.rewired or pair.changes:
            continue
        near = [*alignment.before.sources(pair.before), *alignment.after.sources(pair.after)]
        owners = dict.fromkeys(groups.find(node) for node in near if groups.find(node) in found)
        for owner in owners:
            found[owner].rewired.append(pair)
    return list(found.values())
