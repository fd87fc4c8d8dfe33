"""Check a model against the tables: a verdict for each node, and for the model as a whole."""

import difflib
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from graphopt.compile.atc.device_copy import as_type
from graphopt.compile.support import model_rules
from graphopt.compile.support.dtypes import dtype_findings
from graphopt.compile.support.place import Aim, Place, Rules, TypeOf
from graphopt.compile.support.records import Records
from graphopt.compile.support.registrations import registration_finding, registrations
from graphopt.compile.support.verdicts import (
    SOURCES,
    Finding,
    Verdict,
    restricted,
    unknown,
    unsupported,
    worst,
)
from graphopt.core.discovery import find_constant, names_in
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Caution, ForeignOperator, Operand, attributes_of
from graphopt.core.lineage import node_label
from graphopt.core.operator_bodies import call_of
from graphopt.core.operators import at_home

_RULES = "graphopt.compile.support.rules"
_FUNCTION = "it calls a function of the model, which ATC does not read"


@dataclass(frozen=True, kw_only=True)
class NodeSupport:
    """One node.

    Attributes:
        node: never changed.
        operator: as ATC would look it up, with ``DOMAIN::`` unless that is the default one.
        opset: of its domain.
        findings: what is to say, the registration first; at least one.
    """

    node: ir.Node
    operator: str
    opset: int
    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        """The node's name, or that of its first output."""
        return node_label(self.node)

    @property
    def verdict(self) -> Verdict:
        """The worst of its findings."""
        return worst(self.findings)

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that are not fine, the worst first."""
        if len(self.findings) == 1 and self.findings[0].verdict is Verdict.FINE:
            return ()
        bad = [item for item in self.findings if item.verdict is not Verdict.FINE]
        return tuple(sorted(bad, key=lambda item: -item.verdict.severity))

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        entry = registrations().get(self.operator)
        return {
            "node": self.name,
            "operator": self.operator,
            "opset": self.opset,
            "ascend_operator": (entry.ascend_name or self.operator) if entry else "",
            "verdict": self.verdict.value,
            "findings": [item.to_json() for item in self.findings],
        }


@dataclass(frozen=True, kw_only=True)
class Support:
    """What the tables say of a model.

    Attributes:
        aim: chip and release.
        nodes: in the order of the graph, those of subgraphs too.
        model: findings about the model as a whole.
    """

    aim: Aim
    nodes: tuple[NodeSupport, ...]
    model: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return worst((*self.model, *(fault for item in self.nodes for fault in item.faults)))

    def count(self, verdict: Verdict) -> int:
        """Return how many nodes have a verdict."""
        return sum(item.verdict is verdict for item in self.nodes)

    @property
    def counts(self) -> dict[str, int]:
        """Nodes by verdict, all four."""
        return {verdict.value: self.count(verdict) for verdict in Verdict}

    @property
    def sources(self) -> tuple[str, ...]:
        """Keys of the sources of all that is not fine, in the order of ``SOURCES``."""
        faults = [*self.model, *(fault for item in self.nodes for fault in item.faults)]
        used = {key for item in faults for key in item.source.split()}
        return tuple(key for key in SOURCES if key in used)

    @property
    def int64(self) -> dict[str, int]:
        """Nodes that compute with int64, by operator, the most first."""
        found = Counter(
            item.operator for item in self.nodes if any(fault.code == "int64" for fault in item.faults)
        )
        return dict(found.most_common())


def check_model(
    model: ir.Model,
    aim: Aim,
    type_of: TypeOf,
    *,
    size_bytes: int = 0,
    open_at: Sequence[str] = (),
    records: Records | None = None,
) -> Support:
    """Check a model against the tables.

    Args:
        model: with foreign operators at home, as ``load_model`` leaves them; not changed.
        aim: chip and release.
        type_of: dtype and shape of a tensor.
        size_bytes: of its file.
        open_at: see ``model_rules.Whole``.
        records: of the user's own; they override what sources say of an operator.
    """
    records = records or Records()
    weights = sum(
        v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None
    )
    whole = model_rules.Whole(
        model=model,
        aim=aim,
        type_of=type_of,
        size_bytes=max(size_bytes, weights),
        open_at=tuple(open_at),
    )
    functions = {(key[0], key[1]) for key in model.functions}
    return Support(
        aim=aim,
        nodes=tuple(_node(node, whole, records, functions) for node in model.graph.all_nodes()),
        model=tuple(finding for rule in model_rules.RULES for finding in rule(whole)),
    )


@functools.cache
def rules_by_operator() -> Rules:
    """Return the rules of all files of ``rules/``, by operator.

    Raises:
        TypeError: two files speak of one operator.
    """
    found: dict[str, Any] = {}
    for name in names_in(_RULES):
        rules = find_constant(_RULES, name, "RULES", dict, kind="family of rules")
        if twice := found.keys() & rules.keys():
            raise TypeError(f"{_RULES}.{name}: another file has rules for {', '.join(sorted(twice))}")
        found |= rules
    return found


def _node(
    node: ir.Node, whole: model_rules.Whole, records: Records, functions: set[tuple[str, str]]
) -> NodeSupport:
    foreign = at_home(node)
    opset = whole.model.opset_imports.get("", 0)
    place = Place(node=node, opset=opset, aim=whole.aim, type_of=whole.type_of)
    bare = foreign is not None and foreign.is_target
    operator = f"{node.domain}::{node.op_type}" if node.domain and not bare else node.op_type
    own = opset if bare or not node.domain else whole.model.opset_imports.get(node.domain, 1)
    if foreign is None and (node.domain, node.op_type) in functions:
        findings: tuple[Finding, ...] = (unsupported("function", _FUNCTION, "GE"),)
    else:
        findings = (_registered(operator, own, whole.aim, foreign), *_limits(place, foreign))
    judged = records.judged(operator, own, whole.aim, findings)
    return NodeSupport(node=node, operator=operator, opset=own, findings=judged)


def _registered(operator: str, opset: int, aim: Aim, foreign: ForeignOperator | None) -> Finding:
    known = registrations()
    domain, _, name = operator.rpartition("::")
    if domain == "npu" and name in known:
        why = "the sources register it for the default domain; of the domain npu they tell in part"
        return unknown("domain", why, "OPS")
    if foreign is not None and not foreign.is_target:
        return unsupported("not_registered", "only exporters write it: no source has it for ATC", "C22 OPS")
    if foreign is not None and operator not in known:
        return unknown(
            "plugin", "only your plugin tells of it; its operator package must be installed", "HERE"
        )
    return registration_finding(operator, opset, aim.release)


def _limits(place: Place, foreign: ForeignOperator | None) -> Iterator[Finding]:
    if place.node.domain and (foreign is None or not foreign.is_target):
        return
    for rule in rules_by_operator().get(place.op, ()):
        yield from rule(place)
    if foreign is None:
        yield from dtype_findings(place)
    else:
        yield from _foreign_limits(place, foreign)


def _foreign_limits(place: Place, foreign: ForeignOperator) -> Iterator[Finding]:
    yield from _attributes(place.node, foreign)
    operands = [
        None if value is None else Operand(dtype=place.dtype(i), shape=place.shape(i))
        for i, value in enumerate(place.node.inputs)
    ]
    try:
        call = call_of(place.node, place.opset, operands)
        for clause in foreign.check(call):
            if isinstance(clause, Caution):
                yield restricted(clause.code, str(clause), "DOC C22")
            else:
                yield unsupported("operator_limit", clause, "DOC C22")
    except PreconditionError as error:
        yield unsupported("operator_limit", str(error), "OPS C22")


def _attributes(node: ir.Node, foreign: ForeignOperator) -> Iterator[Finding]:
    """Yield what the parser passes over without a word: other types, and names that it does not know."""
    values = attributes_of(node)
    for name, written in node.attributes.items():
        kind = foreign.attributes.get(name)
        near = None if kind else difflib.get_close_matches(name, foreign.attributes, n=1, cutoff=0.8)
        if near and near[0] not in node.attributes:
            why = f"the parser reads no attribute {name}, but {near[0]}, which it takes as left out"
            yield restricted("attribute_name", why, "OPS C22")
        if kind is None or written.type == kind:
            continue
        why = f"the attribute {name} is of type {written.type.name}; the parser reads {kind.name}"
        if name in values and as_type(values[name], kind) is not None:
            yield restricted(
                "attribute_type", f"{why}, as compile writes it into the copy for ATC", "OPS C22"
            )
        else:
            yield unsupported("attribute_type", why, "OPS C22")
