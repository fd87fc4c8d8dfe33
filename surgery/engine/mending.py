"""A reference that computes what its network does, where exported operators are known not to."""

import dataclasses
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.engine.trials import Candidate
from graphopt.surgery.engine.verdicts import Verdict
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
    if candidate.is_measured:
        return candidate
    model = candidate.model.clone()
    return dataclasses.replace(candidate, model=model) if mend(model, passes) else candidate


def without_rounding(
    source: ir.Model, candidates: Sequence[Candidate], passes: Sequence[Pass]
) -> Candidate | None:
    """Return the source without the rounding that passes give the reference, to see what that alone moves.

    Args:
        source: as it was exported.
        candidates: the last one with detections tells which outputs these are.
        passes: all of a plan.
    """
    if not any(item.rounds_reference for item in passes):
        return None
    found = next((item for item in reversed(candidates) if item.detections), None)
    if found is None:
        return None
    model = source.clone()
    mend(model, [item for item in passes if not item.rounds_reference])
    names = {value.name or "": value.name or "" for value in model.graph.outputs}
    return dataclasses.replace(found, model=model, names=names, casts_outputs=False, is_measured=True)


def cost_of_rounding(verdict: Verdict) -> str:
    """Say how far rounding alone moves detections; see ``without_rounding``."""
    if verdict.detections:
        figures = "; ".join(item.summary for item in verdict.detections)
        text = f"beside the source as it is, the source so rounded has {figures}"
    else:
        text = f"how far this rounding alone moves detections could not be measured ({verdict.reason})"
    return f"{text}; the proof does not cover this loss, evaluate the metric"


def note_of(counters: Mapping[str, str], answers: Sequence[Mapping[str, Array]]) -> str:
    """Say how often the reference was mended in a run; empty when it never was."""
    totals = {
        name: sum(int(outputs[name].sum()) for outputs in answers if name in outputs) for name in counters
    }
    return "; ".join(f"{total} {counters[name]}" for name, total in totals.items() if total)
