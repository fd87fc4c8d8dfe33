"""A reference that computes what its network does, where exported operators are known not to."""

import dataclasses
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.engine.trials import Candidate
from graphopt.surgery.graph_pass import Pass


def mend(model: ir.Model, passes: Sequence[Pass]) -> dict[str, str]:
    """Let every pass mend a model; return the tensors that count the cases, with clauses that name them.

    Args:
        model: a copy that is only run; changed in place.
        passes: all of a plan.
    """
    counters: dict[str, str] = {}
    for item in passes:
        counters.update(item.mend_reference(model))
    return counters


def mended(candidate: Candidate, passes: Sequence[Pass]) -> Candidate:
    """Return a candidate that is mended like the source: what a pass has replaced is as it is."""
    model = candidate.model.clone()
    return dataclasses.replace(candidate, model=model) if mend(model, passes) else candidate


def note_of(counters: Mapping[str, str], answers: Sequence[Mapping[str, Array]]) -> str:
    """Say how often the reference was mended in a run; empty when it never was."""
    totals = {
        name: sum(int(outputs[name].sum()) for outputs in answers if name in outputs) for name in counters
    }
    return "; ".join(f"{total} {counters[name]}" for name, total in totals.items() if total)
