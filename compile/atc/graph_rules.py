"""Rules about the graph itself: versions, names, size, operators outside the standard."""

from collections.abc import Iterator

from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.rules import Rule, Violation
from graphopt.compile.graph_facts import GraphFacts

LAST_OPSET = 18
"""ATC matches the opset exactly, and no public release registers a standard operator above it."""
LAST_IR_VERSION = 8
_LIMIT_BYTES = 2 << 30
_NO_ADAPTER = ("Loop", "Scan", "RNN")


def opset_is_registered(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E13010: there is no falling back to a lower opset."""
    del call
    opset = graph.opsets.get("", 0)
    if opset > LAST_OPSET:
        yield Violation(
            code="E13010",
            what=f"the model has opset {opset}, ATC knows none above {LAST_OPSET}",
            remedy="export with opset 11, or lower it",
        )


def names_are_unique(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E13009: node names are unique, also against the inputs, which become nodes."""
    del call
    if graph.duplicates:
        shown = ", ".join(graph.duplicates[:5]) + (", ..." if len(graph.duplicates) > 5 else "")
        yield Violation(
            code="E13009",
            what=f"{len(graph.duplicates)} node names occur twice or equal an input's: {shown}",
            remedy="rename them",
        )


def graph_has_ends(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E16001: at least one input and one output."""
    del call
    for kind, specs in (("input", graph.inputs), ("output", graph.outputs)):
        if not specs:
            yield Violation(code="E16001", what=f"the graph has no {kind}", remedy=f"give it an {kind}")


def functions_are_unknown(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E13010: calls of model-local functions are operators that ATC does not know."""
    del call
    if graph.functions:
        yield Violation(
            code="E13010",
            what=f"the model holds functions ({', '.join(graph.functions[:5])}), which ATC does not read",
            remedy="inline them, or replace each call by the target's own operator",
        )


def control_flow_is_known(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E13010: of the operators with subgraphs only If has an adapter."""
    del call
    found = [name for name in _NO_ADAPTER if name in graph.op_types]
    if found:
        yield Violation(
            code="E13010",
            what=f"ATC has no parser for {', '.join(found)}",
            remedy="export the model unrolled, or cut that part out",
        )


def size_fits(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E13015, E13023: an om beyond 2 GB keeps its weights outside."""
    if graph.size_bytes > _LIMIT_BYTES and call.extra.get("external_weight", "0") == "0":
        yield Violation(
            code="E13023",
            what=f"the weights are {graph.size_bytes / 2**30:.1f} GiB, an om holds at most 2",
            remedy="set external_weight=1; its folder weight/ then stays beside the om",
        )


RULES: tuple[Rule, ...] = (
    opset_is_registered,
    names_are_unique,
    graph_has_ends,
    functions_are_unknown,
    control_flow_is_known,
    size_fits,
)
