"""Cut two models at the nodes that cannot run, so that everything between these is compared.

What a foreign node makes becomes an input of both models, fed with the same tensors; what it reads
becomes an output of both and is compared.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import TensorSpec
from graphopt.surgery.engine.foreign import operator_of
from graphopt.surgery.graph_edits import fresh_name, remove_dead
from graphopt.surgery.graph_queries import constant_tensor, label, subgraphs_of


@dataclass(frozen=True)
class Pair:
    """Two tensors that must be equal.

    Attributes:
        label: what reports call them.
        other: name in the rewritten model.
        source: name in the source.
    """

    label: str
    other: str
    source: str


@dataclass(frozen=True)
class Cuts:
    """Where two models are cut, and what is compared then.

    Attributes:
        source_inputs: new inputs of the source.
        other_inputs: new inputs of the rewritten model.
        pairs: to compare.
        operators: of the foreign nodes, each with how often it occurs in the source.
        left_out: what is not compared besides the foreign nodes, and why, in clauses.
        has_unjudged: whether something is left out that another model could answer for: not merely an
            output that such a node makes itself.
    """

    source_inputs: tuple[TensorSpec, ...] = ()
    other_inputs: tuple[TensorSpec, ...] = ()
    pairs: tuple[Pair, ...] = ()
    operators: Mapping[str, int] | None = None
    left_out: tuple[str, ...] = ()
    has_unjudged: bool = False


def no_cuts(names: Mapping[str, str]) -> Cuts:
    """Return the comparison of whole models: outputs, by what they stand for."""
    return Cuts(pairs=tuple(Pair(now, now, then) for now, then in names.items()))


@dataclass(frozen=True)
class Side:
    """One of two models.

    Attributes:
        model: not changed.
        foreign: its nodes that cannot run.
        specs: of what they make, as far as known.
    """

    model: ir.Model
    foreign: Sequence[ir.Node]
    specs: Mapping[str, TensorSpec]


def plan_cuts(source: Side, other: Side, names: Mapping[str, str]) -> Cuts:
    """Work out where to cut two models and what to compare.

    Args:
        source: the reference.
        other: the rewritten model.
        names: output of the rewritten model -> tensor of the source.
    """
    fed = _fed(source, other)
    clean, other_clean = _clean(source, fed), _clean(other, fed)
    pairs = []
    lost = sorted(_made(source.foreign) - fed)
    left_out = [f"what follows from {name}, {_why_not_fed(name, source, other)}" for name in lost]
    made = 0
    for now, then in names.items():
        if then in fed and now in fed:
            made += 1
            left_out.append(f"output {now}, which such an operator makes")
        elif then in clean and now in other_clean:
            pairs.append(Pair(now, now, then))
        else:
            left_out.append(f"output {now}")
    twins = {tuple(value.name for value in node.outputs): node for node in other.foreign}
    for node in source.foreign:
        twin = twins.get(tuple(value.name for value in node.outputs))
        if twin is None or not same_call(node, twin):
            left_out.append(f"what {label(node)} became")
            continue
        for index, (mine, its) in enumerate(zip(_reads(node), _reads(twin), strict=True)):
            if mine is None or its is None or same_constant(mine, its):
                continue
            if mine.name in clean and its.name in other_clean:
                text = f"input {index} of {label(node)}"
                pairs.append(Pair(text, its.name or "", mine.name or ""))
    counts: dict[str, int] = {}
    for node in source.foreign or other.foreign:
        counts[operator_of(node)] = counts.get(operator_of(node), 0) + 1
    return Cuts(
        source_inputs=tuple(_spec_of(name, source, other) for name in sorted(fed)),
        other_inputs=tuple(_spec_of(name, other, source) for name in sorted(fed)),
        pairs=tuple(pairs),
        operators=counts,
        left_out=tuple(left_out),
        has_unjudged=len(left_out) > made,
    )


def open_model(model: ir.Model, inputs: Collection[TensorSpec], tensors: Collection[str]) -> dict[str, str]:
    """Cut a model and let it answer with chosen tensors only.

    Args:
        model: changed: ``inputs`` are no longer computed, what does not lead to ``tensors`` is gone.
        inputs: tensors that become graph inputs.
        tensors: names of the tensors that become the outputs.

    Returns:
        Names of ``tensors`` -> names of the outputs that hold them; those that do not exist are left out.
    """
    graph = model.graph
    values = _values(model)
    for spec in inputs:
        old = values[spec.name]
        dtype = ir.DataType.from_numpy(np.dtype(spec.dtype))
        new = ir.Value(name=spec.name, type=ir.TensorType(dtype), shape=ir.Shape(spec.shape))
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name = fresh_name(model, f"{spec.name} before the cut")
        graph.inputs.append(new)
        values[spec.name] = new
    graph.outputs.clear()
    held = {}
    for name in tensors:
        value = values.get(name)
        if value is None:
            continue
        if value.producer() is None:  # some runtimes want a node behind an output
            node = ir.node("Identity", [value])
            node.outputs[0].name = fresh_name(model, f"{name} as output")
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            value = node.outputs[0]
        graph.outputs.append(value)
        held[name] = value.name or ""
    remove_dead(model)
    return held


def nodes_behind(model: ir.Model, tensors: Collection[str], stop: Collection[str] = ()) -> int:
    """Return how many nodes compute some tensors, bodies of ``If`` and the like included.

    Args:
        model: not changed.
        tensors: their names.
        stop: names of tensors whose making is not looked at.
    """
    values = _values(model)
    pending = [
        node for name in tensors if name in values and name not in stop for node in _producer(values[name])
    ]
    seen: set[ir.Node] = set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        for value in _reads(node):
            if value is not None and value.name not in stop:
                pending.extend(_producer(value))
    return sum(1 + sum(1 for graph in subgraphs_of(node) for _ in graph.all_nodes()) for node in seen)


def _producer(value: ir.Value) -> list[ir.Node]:
    node = value.producer()
    return [] if node is None else [node]


def _fed(source: Side, other: Side) -> set[str]:
    """Return the tensors at which both models can be cut: in both, and of a known size."""
    made = _made(source.foreign) | _made(other.foreign)
    known = set(source.specs) | set(other.specs)
    return made & known & _computed(source.model) & _computed(other.model)


def _made(nodes: Sequence[ir.Node]) -> set[str]:
    return {value.name for node in nodes for value in node.outputs if value.name}


def _computed(model: ir.Model) -> set[str]:
    return {value.name for node in model.graph for value in node.outputs if value.name}


def _clean(side: Side, fed: set[str]) -> set[str]:
    """Return the tensors that can be computed once ``fed`` are given."""
    foreign = set(side.foreign)
    clean = {value.name or "" for value in side.model.graph.inputs} | set(side.model.graph.initializers)
    for node in side.model.graph:
        works = node not in foreign and all(value is None or value.name in clean for value in _reads(node))
        clean.update(value.name for value in node.outputs if value.name and (works or value.name in fed))
    return clean


def _reads(node: ir.Node) -> list[ir.Value | None]:
    """Return the inputs of a node and what graphs inside it read from outside, in a fixed order."""
    return [*node.inputs, *(value for value in _captured(node) if value not in node.inputs)]


def _captured(node: ir.Node) -> list[ir.Value]:
    found: dict[ir.Value, None] = {}
    for graph in subgraphs_of(node):
        inner = [*graph.all_nodes()]
        own = {value for item in inner for value in item.outputs}
        for nested in (graph, *graph.subgraphs()):
            own.update(nested.inputs)
            own.update(nested.initializers.values())
        for item in inner:
            found.update(dict.fromkeys(v for v in item.inputs if v is not None and v not in own))
        for nested in (graph, *graph.subgraphs()):
            found.update(dict.fromkeys(v for v in nested.outputs if v not in own))
    return list(found)


def _values(model: ir.Model) -> dict[str, ir.Value]:
    values = {value.name or "": value for node in model.graph for value in node.outputs if value.name}
    values.update({value.name or "": value for value in model.graph.initializers.values()})
    values.update({value.name or "": value for value in model.graph.inputs})
    return values


def _spec_of(name: str, mine: Side, other: Side) -> TensorSpec:
    return mine.specs.get(name) or other.specs[name]


def _why_not_fed(name: str, source: Side, other: Side) -> str:
    if name not in source.specs and name not in other.specs:
        return "whose shape the model does not declare"
    return "which the rewritten model does not have"


def same_call(one: ir.Node, two: ir.Node) -> bool:
    """Whether two nodes are calls of one operator with the same attributes, and read as many values."""
    if one.op_identifier() != two.op_identifier() or len(_reads(one)) != len(_reads(two)):
        return False
    return _attribute_text(one) == _attribute_text(two)


def _attribute_text(node: ir.Node) -> dict[str, bytes]:
    # A body is judged by what it reads: its own nodes may have been rewritten.
    return {
        name: ir.serde.serialize_attribute(item).SerializeToString(deterministic=True)
        for name, item in node.attributes.items()
        if item.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    }


def same_constant(one: ir.Value | None, two: ir.Value | None) -> bool:
    """Whether both are constants of the same content."""
    mine, its = constant_tensor(one), constant_tensor(two)
    if mine is None or its is None:
        return False
    return (mine.dtype, mine.shape, mine.tobytes()) == (its.dtype, its.shape, its.tobytes())
