"""Bring a model to a newer opset where no operator that it uses changed its meaning."""

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from graphopt.surgery.graph_queries import ONNX_DOMAIN, graphs_of, label

_NEW_MEANING = frozenset(("GroupNormalization", "RoiAlign", "Resize", "Upsample", "Softmax", "LogSoftmax"))
"""Operators of which a newer version reads the same node differently; their schemas do not always tell."""


def what_changed(model: ir.Model, version: int, domain: str = ONNX_DOMAIN) -> Iterator[str]:
    """Yield the nodes (as clauses) that would mean something else at another opset of a domain.

    A node keeps its meaning when the newer schema takes at least the same dtypes, the same inputs and
    outputs, and the same attributes with the same defaults.

    Args:
        model: with all its subgraphs and functions; not changed.
        version: to compare with; may be older, too.
        domain: of the operators looked at.
    """
    now = model.opset_imports.get(domain, version)
    low, high = sorted((now, version))
    for graph in graphs_of(model):
        for node in graph:
            if node.domain != domain:
                continue
            reason = _difference(node.op_type, domain, low, high, raising=version > now)
            if reason:
                yield f"{label(node)} ({reason})"


def set_opset(model: ir.Model, version: int, domain: str = ONNX_DOMAIN) -> None:
    """Declare another opset for the model and its functions; ask ``what_changed`` first."""
    model.opset_imports[domain] = version
    for function in model.functions.values():
        if domain in function.opset_imports:
            function.opset_imports[domain] = version
    for graph in graphs_of(model):
        for node in graph:
            if node.domain == domain and node.version is not None:
                node.version = version


def _difference(op_type: str, domain: str, low: int, high: int, *, raising: bool) -> str:
    """Return what a node of one version cannot be in the other; empty when it is the same."""
    if not (onnx.defs.has(op_type, low, domain) and onnx.defs.has(op_type, high, domain)):
        return f"not in opset {low if onnx.defs.has(op_type, high, domain) else high}"
    old = onnx.defs.get_schema(op_type, low, domain)
    new = onnx.defs.get_schema(op_type, high, domain)
    if old.since_version == new.since_version:
        return ""
    steps = f"changed between opset {old.since_version} and {new.since_version}"
    if not raising or op_type in _NEW_MEANING or new.deprecated:
        return steps
    return "" if _takes_all_of(new, old) else steps


def _takes_all_of(new: onnx.defs.OpSchema, old: onnx.defs.OpSchema) -> bool:
    if len(new.inputs) < len(old.inputs) or len(new.outputs) != len(old.outputs):
        return False
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    if any(formal.option != optional for formal in new.inputs[len(old.inputs) :]):
        return False
    for name, attribute in old.attributes.items():
        kept = new.attributes.get(name)
        if kept is None or kept.type != attribute.type or kept.default_value != attribute.default_value:
            return False
    added = (new.attributes[name] for name in new.attributes if name not in old.attributes)
    if any(attribute.required for attribute in added):
        return False
    pairs = zip(old.inputs, new.inputs, strict=False)
    return all(set(mine.types) <= set(theirs.types) for mine, theirs in pairs)
