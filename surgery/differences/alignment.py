"""Line up the nodes of two graphs: by names that survive, by lineage, then by structure.

Names are believed where most nodes that share one also share their operator and an input: an exporter
that numbers tensors gives every tensor another name as soon as one node is added. Positions count
nowhere.
"""

from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

from graphopt.core.lineage import NODE_ORIGIN, origins_of
from graphopt.surgery.differences.content import Contents
from graphopt.surgery.differences.side import Side, graph_attributes, operator
from graphopt.surgery.graph_queries import constant_tensor

_MAX_ROUNDS = 5
_MAX_CANDIDATES = 50
"""Of nodes that read the same tensor in the same place; a shared constant can have thousands."""


class Alignment:
    """Which node of one side is which of the other.

    Args:
        before: one side.
        after: the other.
        contents: compares constants.
        related: one was made from the other by passes, so that names surely are the same.

    Attributes:
        nodes: of ``before`` -> of ``after``.
        back: the inverse.
        values: values of ``before`` -> of ``after``, without constants.
    """

    def __init__(self, before: Side, after: Side, contents: Contents, *, related: bool) -> None:
        self.before, self.after, self.contents = before, after, contents
        self.nodes: dict[ir.Node, ir.Node] = {}
        self.back: dict[ir.Node, ir.Node] = {}
        self.values: dict[ir.Value, ir.Value] = {}
        self._origin: dict[ir.Value, ir.Value] = {}
        self._pair_inputs(before.graph.inputs, after.graph.inputs)
        if related or self._names_agree():
            self._pair_all(self._by_name, after.nodes)
            self._pair_all(self._by_lineage, after.nodes)
            self._spread()
        else:
            self._pair_all(self._by_weight, after.nodes)
            self._spread()
            if self._pair_all(self._past_a_change, after.nodes):
                self._spread()
        for choose in (self._by_name_and_input, self._by_name):
            if self._pair_all(choose, after.nodes):
                self._spread()

    def same(self, before: ir.Value | None, after: ir.Value | None) -> bool:
        """Return whether two values are the same tensor: lined up, or equal constants."""
        if before is None or after is None:
            return before is after
        mine, theirs = constant_tensor(before), constant_tensor(after)
        if mine is not None and theirs is not None:
            return self.contents.equal(mine, theirs)
        return mine is theirs and self.values.get(before) is after

    def _pair_all(self, choose: Callable[[ir.Node], ir.Node | None], nodes: Iterable[ir.Node]) -> bool:
        found = False
        for node in nodes:
            if node not in self.back and (old := choose(node)) is not None:
                self._pair(old, node)
                found = True
        return found

    def _pair(self, before: ir.Node, after: ir.Node) -> None:
        self.nodes[before] = after
        self.back[after] = before
        self._pair_values(zip(before.outputs, after.outputs, strict=False))
        inner = dict(graph_attributes(after))
        for name, graph in graph_attributes(before):
            if name in inner:
                self._pair_values(zip(graph.inputs, inner[name].inputs, strict=False))

    def _pair_values(self, pairs: Iterable[tuple[ir.Value, ir.Value]]) -> None:
        for mine, theirs in pairs:
            self.values[mine] = theirs
            self._origin[theirs] = mine

    def _pair_inputs(self, before: Iterable[ir.Value], after: Iterable[ir.Value]) -> None:
        mine = {value.name: value for value in before}
        theirs = {value.name: value for value in after}
        self._pair_values((mine[name], theirs[name]) for name in mine if name in theirs)
        left = [value for name, value in mine.items() if name not in theirs]
        new = [value for name, value in theirs.items() if name not in mine]
        if len(left) == len(new) == 1 and left[0].type == new[0].type:
            self._pair_values([(left[0], new[0])])

    def _names_agree(self) -> bool:
        shared = [name for name in self.before.makers if name in self.after.makers]
        agree = sum(
            operator(mine) == operator(theirs) and _share_input(mine, theirs)
            for mine, theirs in ((self.before.makers[n], self.after.makers[n]) for n in shared)
        )
        return bool(shared) and 2 * agree >= len(shared)

    def _free(self, old: ir.Node | None, new: ir.Node) -> ir.Node | None:
        return old if old is not None and old not in self.nodes and operator(old) == operator(new) else None

    def _by_name(self, node: ir.Node) -> ir.Node | None:
        for value in node.outputs:
            old = self._free(self.before.makers.get(value.name or ""), node)
            if old is not None:
                return old
        return None

    def _by_name_and_input(self, node: ir.Node) -> ir.Node | None:
        old = self._by_name(node)
        return old if old is not None and _share_input(old, node) else None

    def _by_lineage(self, node: ir.Node) -> ir.Node | None:
        if NODE_ORIGIN not in node.metadata_props:
            return None
        found = {self._free(self.before.by_name.get(name), node) for name in origins_of(node)} - {None}
        return found.pop() if len(found) == 1 else None

    def _by_weight(self, node: ir.Node) -> ir.Node | None:
        for index, (_, value) in enumerate(self.after.slots[node]):
            if value is None or value.producer() is not None or len(self.after.users[value]) != 1:
                continue
            weight = self.before.weights.get(value.name or "")
            users = self.before.users.get(weight, []) if weight is not None else []
            if (
                len(users) == 1
                and users[0][1] == index
                and (old := self._free(users[0][0], node)) is not None
            ):
                return old
        return None

    def _spread(self) -> None:
        """Pair the neighbours of what is paired, downwards and upwards, until nothing is found."""
        for _ in range(_MAX_ROUNDS):
            down = self._pair_all(self._below, self.after.nodes)
            up = self._pair_all(self._above, reversed(self.after.nodes))
            if not down and not up:
                return

    def _below(self, node: ir.Node) -> ir.Node | None:
        """Return the best of the old nodes that read what this one reads."""
        readers: list[list[tuple[ir.Node, int]]] = []
        for index, (_, value) in enumerate(self.after.slots[node]):
            old = self._origin.get(value) if value is not None else None
            if old is not None:
                users = self.before.users.get(old, [])[:_MAX_CANDIDATES]
                readers.append([(user, slot) for user, slot in users if slot == index])
        if not readers:
            return None
        return self._best(node, (user for user, _ in min(readers, key=len)))

    def _past_a_change(self, node: ir.Node) -> ir.Node | None:
        """Return the best of the old nodes below, or else of those behind one removed or added node."""
        if (direct := self._below(node)) is not None:
            return direct
        behind: list[ir.Node] = []
        for _, value in self.after.slots[node]:
            if value is None:
                continue
            old, maker = self._origin.get(value), value.producer()
            if old is not None:
                behind += (reader for user in self._free_users(old) for reader in self.before.readers(user))
            elif maker is not None and maker not in self.back:
                for _, source in self.after.slots[maker]:
                    behind += self._free_users(self._origin.get(source)) if source is not None else ()
        return self._best(node, behind[:_MAX_CANDIDATES])

    def _free_users(self, value: ir.Value | None) -> list[ir.Node]:
        users = self.before.users.get(value, []) if value is not None else []
        return [user for user, _ in users[:_MAX_CANDIDATES] if user not in self.nodes]

    def _above(self, node: ir.Node) -> ir.Node | None:
        """Return the best of the old nodes that make what the readers of this one read."""
        return self._best(node, self._makers_for(node))

    def _makers_for(self, node: ir.Node) -> Iterator[ir.Node]:
        names = {value.name for value in self.before.graph.outputs}
        for value in node.outputs:
            for user, slot in self.after.users.get(value, [])[:_MAX_CANDIDATES]:
                old = self.back.get(user)
                slots = self.before.slots[old] if old is not None else []
                made = slots[slot][1] if slot < len(slots) else None
                if made is not None and (maker := made.producer()) is not None:
                    yield maker
            if value.is_graph_output() and value.name in names and value.name in self.before.makers:
                yield self.before.makers[value.name]

    def _best(self, node: ir.Node, candidates: Iterable[ir.Node]) -> ir.Node | None:
        free = [old for old in dict.fromkeys(candidates) if self._free(old, node) is not None]
        return max(free, key=lambda old: self._likeness(old, node)) if free else None

    def _likeness(self, before: ir.Node, after: ir.Node) -> int:
        mine, theirs = self.before.slots[before], self.after.slots[after]
        score = 2 * (_attribute_texts(before) == _attribute_texts(after)) - abs(len(mine) - len(theirs))
        for (_, old), (_, new) in zip(mine, theirs, strict=False):
            if old is None or new is None:
                continue
            if self.values.get(old) is new:
                score += 2
            elif old.producer() is None and new.producer() is None:
                score += (old.name == new.name) + (_shape_of(old) == _shape_of(new))
        return score


def _share_input(mine: ir.Node, theirs: ir.Node) -> bool:
    read = {value.name for value in mine.inputs if value is not None}
    return not mine.inputs or any(value is not None and value.name in read for value in theirs.inputs)


def _shape_of(value: ir.Value) -> tuple[object, ...] | None:
    tensor = constant_tensor(value)
    return tuple(tensor.shape) if tensor is not None else None


def _attribute_texts(node: ir.Node) -> dict[str, str]:
    return {
        name: str(attribute.value)
        for name, attribute in node.attributes.items()
        if attribute.type in (ir.AttributeType.INT, ir.AttributeType.INTS, ir.AttributeType.STRING)
    }
