"""Why a pass does, or does not, apply at a node."""

import dataclasses
import enum
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from graphopt.core.lineage import node_label, origins_of
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.engine.walking import all_graphs
from graphopt.surgery.graph_pass import GraphPass, Pass, Site
from graphopt.surgery.graphsurgeon_pass import GraphSurgeonPass
from graphopt.surgery.lookup import find_node
from graphopt.surgery.node_facts import NodeFacts, facts_of


class Why(enum.Enum):
    """What a pass has to do with a node."""

    APPLIES = "applies"
    """It changes something here."""
    APPLIES_LATER = "applies later"
    """It does once its own earlier changes were made."""
    TAKEN_ALONG = "taken along"
    """A change at another node removes or replaces this one."""
    DECLINED = "declined"
    """It looked here and left it alone."""
    NOT_CONSIDERED = "not considered"
    """Nothing here is what it looks for."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A node that a pass looked at.

    Attributes:
        node: its name, or that of its first output.
        op_type: of the node.
        applies: whether the pass would change something there.
        reason: the change, or why there is none.
    """

    node: str
    op_type: str
    applies: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The answer for one node.

    Attributes:
        why: the answer in a word.
        reason: in a clause; empty when the pass never looked here.
        facts: what is at the node.
        nearest: the candidate nearest to it, where the pass never looked here; None without any.
        distance: nodes from here to there; None when no path leads there.
    """

    why: Why
    reason: str
    facts: NodeFacts
    nearest: Candidate | None = None
    distance: int | None = None

    @property
    def applies(self) -> bool:
        """Whether running the pass changes this node."""
        return self.why in (Why.APPLIES, Why.APPLIES_LATER, Why.TAKEN_ALONG)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "verdict": self.why.value,
            "reason": self.reason,
            "node": self.facts.to_json(),
            "nearest": dataclasses.asdict(self.nearest) if self.nearest else None,
            "distance": self.distance,
        }


def candidates_of(load: Callable[[], ir.Model], item: Pass) -> tuple[Candidate, ...]:
    """Return every node that a pass looks at in a model, without what its own changes would open.

    Args:
        load: returns the model, a new copy each time.
        item: the pass.

    Raises:
        PreconditionError: the model does not meet what the pass needs.
        VerificationError: the pass breaks the model.
    """
    if isinstance(item, GraphPass):
        return tuple(
            Candidate(
                node=node_label(place.node),
                op_type=place.node.op_type,
                applies=isinstance(place, Site),
                reason=place.what if isinstance(place, Site) else place.why,
            )
            for place in item.sites(load())
        )
    return _all_candidates(load, item)


def explain(load: Callable[[], ir.Model], item: Pass, node_name: str) -> Explanation:
    """Say why a pass does, or does not, apply at a node.

    Args:
        load: returns the model, a new copy each time.
        item: the pass.
        node_name: name of the node, ``NODE:INDEX`` or the name of one of its outputs.

    Raises:
        UsageError: there is no such node; the message offers the nearest names.
        PreconditionError: the model does not meet what the pass needs.
        VerificationError: the pass breaks the model.
    """
    model = load()
    node = find_node(model, node_name)
    facts = facts_of(model, node)
    first = candidates_of(load, item)
    here = [place for place in first if place.node == node_label(node)]
    if here:
        applies = any(place.applies for place in here)
        reasons = (place.reason for place in here if place.applies == applies)
        why = Why.APPLIES if applies else Why.DECLINED
        return Explanation(why=why, reason="; ".join(reasons), facts=facts)
    if not any(place.applies for place in first):
        return _not_considered(model, node, facts, first)
    result, report = run_pass(load(), item)
    later = [change.what for change in report.applied if change.node == node_label(node)]
    if later:
        return Explanation(why=Why.APPLIES_LATER, reason="; ".join(later), facts=facts)
    if not _is_there(result, node):
        near, distance = _nearest(model, node, [place for place in first if place.applies])
        return Explanation(
            why=Why.TAKEN_ALONG,
            reason=f"{_new_owner(result, node)}with the change at {near.node if near else 'another node'}",
            facts=facts,
            nearest=near,
            distance=distance,
        )
    return _not_considered(model, node, facts, first)


def _all_candidates(load: Callable[[], ir.Model], item: Pass) -> tuple[Candidate, ...]:
    if isinstance(item, GraphSurgeonPass):  # also before its edit() is written
        outcome = item.look(load())
        changes, refusals = outcome.changes, outcome.refusals
    else:
        _, report = run_pass(load(), item)
        changes, refusals = report.applied, report.declined
    changed = [Candidate(node=c.node, op_type=c.op_type, applies=True, reason=c.what) for c in changes]
    left = [Candidate(node=c.node, op_type=c.op_type, applies=False, reason=c.why) for c in refusals]
    return (*changed, *left)


def _not_considered(
    model: ir.Model, node: ir.Node, facts: NodeFacts, places: Sequence[Candidate]
) -> Explanation:
    near, distance = _nearest(model, node, places)
    return Explanation(why=Why.NOT_CONSIDERED, reason="", facts=facts, nearest=near, distance=distance)


def _nearest(
    model: ir.Model, node: ir.Node, places: Sequence[Candidate]
) -> tuple[Candidate | None, int | None]:
    by_name = {place.node: place for place in reversed(places)}
    seen, waiting = {node}, deque([(node, 0)])
    while waiting:
        here, distance = waiting.popleft()
        if distance and node_label(here) in by_name:
            return by_name[node_label(here)], distance
        for other in _neighbours(here):
            if other not in seen:
                seen.add(other)
                waiting.append((other, distance + 1))
    there = {node_label(item) for graph in all_graphs(model) for item in graph}
    return next((place for place in places if place.node in there), None), None


def _neighbours(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        if value is not None and (producer := value.producer()) is not None:
            yield producer
    for value in node.outputs:
        yield from (user for user, _ in value.uses())


def _is_there(model: ir.Model, node: ir.Node) -> bool:
    outputs = {value.name for value in node.outputs}
    return any(
        item.op_type == node.op_type and outputs == {value.name for value in item.outputs}
        for graph in all_graphs(model)
        for item in graph
    )


def _new_owner(model: ir.Model, node: ir.Node) -> str:
    for graph in all_graphs(model):
        for item in graph:
            if node_label(node) in origins_of(item):
                return f"it becomes part of {item.op_type} {node_label(item)} "
    return "it goes away "
