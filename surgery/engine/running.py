"""Run one pass on a model in memory: sweeps, claims, structure, lineage, report."""

import time

import onnx_ir as ir

from graphopt.core.errors import VerificationError
from graphopt.core.lineage import node_label
from graphopt.core.onnx_files import FIRST_WITHOUT_INPUTS
from graphopt.core.operator_bodies import forget_unused_homes
from graphopt.surgery.catalogue import options_of, plugin_sha256
from graphopt.surgery.engine.fingerprint import fingerprint
from graphopt.surgery.engine.structure import drop_unused_initializers, faults, sort_if_needed
from graphopt.surgery.engine.tracing import stamp_new_nodes, take_snapshot
from graphopt.surgery.engine.walking import main_graphs
from graphopt.surgery.graph_pass import Declined, GraphPass, Pass, Site
from graphopt.surgery.graph_queries import graphs_of
from graphopt.surgery.model_pass import Change, ModelPass, Outcome, Refusal
from graphopt.surgery.report import PassReport

MAX_SWEEPS = 100
"""A rewrite may open new sites; more sweeps than this mean that it never ends."""


def run_pass(
    model: ir.Model, item: Pass, *, known_faults: frozenset[str] | None = None
) -> tuple[ir.Model, PassReport]:
    """Run a pass; return the model (the same object, unless the pass rebuilt it) and what was done.

    Args:
        model: changed in place where the pass does so.
        item: the pass.
        known_faults: of the source, which no pass is blamed for; None looks for them first.

    Raises:
        VerificationError: the pass broke the graph, never ends, or did not do what it reports.
        PreconditionError: the model does not meet what the pass needs.
    """
    started = time.perf_counter()
    nodes_before = _count(model)
    old_faults = frozenset(faults(model)) if known_faults is None else known_faults
    if isinstance(item, GraphPass):
        outcome = _sweep(model, item)
    elif isinstance(item, ModelPass):
        outcome = _run_whole(model, item)
    else:
        raise TypeError(f"{item.name}: {type(item).__name__} must derive from GraphPass or ModelPass")
    if outcome.changes:
        _tidy(outcome.model, item, old_faults)
    report = PassReport(
        name=item.name,
        options=options_of(item),
        effect=item.effect.value,
        applied=outcome.changes,
        declined=outcome.refusals,
        nodes_before=nodes_before,
        nodes_after=_count(outcome.model),
        seconds=time.perf_counter() - started,
        warning="" if outcome.changes else "matched nothing",
        plugin=plugin_sha256(type(item)),
    )
    return outcome.model, report


def _sweep(model: ir.Model, item: GraphPass) -> Outcome:
    changes: list[Change] = []
    digest = fingerprint(model)
    for _ in range(MAX_SWEEPS):
        found = list(item.sites(model))
        sites = [place for place in found if isinstance(place, Site)]
        if not sites:
            if not changes and fingerprint(model) != digest:
                raise VerificationError(f"{item.name}: its sites() changed the model; only rewrite() may")
            return Outcome(model=model, changes=tuple(changes), refusals=_refusals(found))
        before = take_snapshot(model)
        for site in sites:
            if site.node.graph is None:
                continue  # an earlier rewrite of this sweep consumed it
            change = Change(node=node_label(site.node), op_type=site.node.op_type, what=site.what)
            item.rewrite(model, site)
            changes.append(change)
        stamp_new_nodes(before, model, item.name)
        old_digest, digest = digest, fingerprint(model)
        if digest == old_digest:
            raise VerificationError(
                f"{item.name} reports a change at {node_label(sites[0].node)} ({sites[0].what}), "
                "but the model is as before; its rewrite() does nothing there"
            )
    raise VerificationError(
        f"{item.name} still finds {len(sites)} sites after {MAX_SWEEPS} sweeps, the first at "
        f"{node_label(sites[0].node)} ({sites[0].what}); its rewrite() must remove what sites() looks for"
    )


def _run_whole(model: ir.Model, item: ModelPass) -> Outcome:
    digest = fingerprint(model)
    before = take_snapshot(model)
    outcome = item.run(model)
    rebuilt = outcome.model is not model
    if not outcome.changes:
        if rebuilt or fingerprint(model) != digest:
            raise VerificationError(f"{item.name} changed the model, but reports no change")
        return outcome
    if not rebuilt and fingerprint(model) == digest:
        raise VerificationError(f"{item.name} reports {outcome.changes[0].what}, but the model is as before")
    stamp_new_nodes(before, outcome.model, item.name)
    return outcome


def _count(model: ir.Model) -> int:
    return sum(len(graph) for graph in main_graphs(model))


def _refusals(found: list[Site | Declined]) -> tuple[Refusal, ...]:
    return tuple(
        Refusal(node=node_label(place.node), op_type=place.node.op_type, why=place.why)
        for place in found
        if isinstance(place, Declined)
    )


def _tidy(model: ir.Model, item: Pass, old_faults: frozenset[str]) -> None:
    drop_unused_initializers(model)
    forget_unused_homes(model)
    if model.ir_version < FIRST_WITHOUT_INPUTS and any(graph.initializers for graph in graphs_of(model)):
        model.ir_version = FIRST_WITHOUT_INPUTS  # new constants; the source's are no inputs since it was read
    try:
        sort_if_needed(model)
    except ValueError as error:
        raise VerificationError(f"{item.name} broke the graph: it made a cycle") from error
    for fault in faults(model):
        if fault not in old_faults:
            raise VerificationError(f"{item.name} broke the graph: {fault}")
