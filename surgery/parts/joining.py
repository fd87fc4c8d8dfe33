"""Join models end to end: what the first computes is what the next one reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.surgery.graph_queries import ONNX_DOMAIN
from graphopt.surgery.parts.connections import Part, Source, connections
from graphopt.surgery.parts.opset_agreement import set_opset, what_changed
from graphopt.surgery.parts.unique_names import make_names_unique

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A model made of others.

    Attributes:
        model: the whole.
        inputs: name in the whole -> the inputs that it feeds, as (which part, own name).
        links: (which part, input) -> (which earlier part, output or input) that it reads.
        outputs: name in the whole -> the output it is, as (which part, own name).
        renamed: per part, own name -> name in the whole, of values that could not keep theirs.
        raised: opset conversions, as sentences.
    """

    model: ir.Model
    inputs: Mapping[str, tuple[int, str]]
    links: Mapping[tuple[int, str], Source]
    outputs: Mapping[str, tuple[int, str]]
    renamed: tuple[Mapping[str, str], ...]
    raised: tuple[str, ...]


def join_models(parts: Sequence[Part], connect: Mapping[str, str]) -> Joined:
    """Return one model that runs ``parts`` one after the other.

    An input reads the output of an earlier model that is connected to it, or else has its name; where a
    model has a single output and the next a single input, these. Inputs that read nothing are inputs of
    the whole, outputs that nobody reads are its outputs. Names stay; where two clash, those of the
    interface are kept and others prefixed. The models are used up.

    Args:
        parts: at least two, with weights wherever they are.
        connect: input of a later model -> output (or input) of an earlier one.

    Raises:
        UsageError: a connected name is unknown, or a model reads nothing of those before it.
        PreconditionError: connected tensors differ in dtype or shape; functions of one name differ; an
            opset cannot be raised without changing what a node means.
    """
    models = [part.model for part in parts]
    raised = _agree_on_opsets(parts)
    functions = _merged_functions(parts)
    links = connections(parts, connect)
    own_inputs = [{value: value.name or "" for value in model.graph.inputs} for model in models]
    own_outputs = [[(value.name or "", value) for value in model.graph.outputs] for model in models]
    values: dict[tuple[int, str], ir.Value] = {}  # where a link can come from
    for index, model in enumerate(models):
        for value in model.graph.inputs:
            source = links.get((index, value.name or ""))
            if source is not None:
                value.replace_all_uses_with(values[source], replace_graph_outputs=True)
                values[index, value.name or ""] = values[source]
            else:
                values[index, value.name or ""] = value
        outputs = zip((name for name, _ in own_outputs[index]), model.graph.outputs, strict=True)
        values.update({(index, name): value for name, value in outputs})
    read = set(links.values())
    entering = [
        (index, value)
        for index, named in enumerate(own_inputs)
        for value, name in named.items()
        if (index, name) not in links
    ]
    leaving = {
        (index, name): values[index, name]
        for index, named in enumerate(own_outputs)
        for name, _ in named
        if (index, name) not in read
    }
    claims = [*entering, *((index, value) for (index, _), value in reversed(leaving.items()))]
    names_before = {value: value.name or "" for _, value in entering}
    for index, model in enumerate(models):
        left = [value for i, value in entering if i == index]
        model.graph.inputs.clear()
        model.graph.inputs.extend(left)
    renamed = make_names_unique([part.name for part in parts], models, claims)
    graph = _merged(models, [value for _, value in entering], list(dict.fromkeys(leaving.values())))
    whole = _model_of(graph, models, functions)
    return Joined(
        model=whole,
        inputs={value.name or "": (index, names_before[value]) for index, value in entering},
        links=links,
        outputs={value.name or "": where for where, value in leaving.items()},
        renamed=renamed,
        raised=raised,
    )


def _merged(models: Sequence[ir.Model], inputs: list[ir.Value], outputs: list[ir.Value]) -> ir.Graph:
    nodes: list[ir.Node] = []
    weights: list[ir.Value] = []
    for model in models:
        graph = model.graph
        graph.inputs.clear()
        graph.outputs.clear()
        weights += graph.initializers.values()
        graph.initializers.clear()
        mine = list(graph)
        graph.remove(mine)
        nodes += mine
    first = models[0].graph
    return ir.Graph(
        inputs,
        outputs,
        nodes=nodes,
        initializers=weights,
        opset_imports=dict(first.opset_imports),
        name="_".join(filter(None, (model.graph.name for model in models))),
        doc_string=first.doc_string,
        metadata_props={
            key: text for model in reversed(models) for key, text in model.graph.metadata_props.items()
        },
    )


def _model_of(graph: ir.Graph, models: Sequence[ir.Model], functions: Sequence[ir.Function]) -> ir.Model:
    return ir.Model(
        graph,
        ir_version=max(model.ir_version for model in models),
        producer_name=models[0].producer_name,
        producer_version=models[0].producer_version,
        functions=functions,
        metadata_props={
            key: text for model in reversed(models) for key, text in model.metadata_props.items()
        },
    )


def _agree_on_opsets(parts: Sequence[Part]) -> tuple[str, ...]:
    wanted: dict[str, int] = {}
    for part in parts:
        for domain, version in part.model.opset_imports.items():
            wanted[domain] = max(version, wanted.get(domain, 0))
    raised = []
    for part in parts:
        for domain, version in wanted.items():
            now = part.model.opset_imports.get(domain)
            if now is not None and now != version:
                _raise_opset(part, domain, now, version)
                raised.append(f"{part.name}: opset {domain or 'ai.onnx'} {now} -> {version}")
        part.model.opset_imports.update(wanted)
    return tuple(raised)


def _raise_opset(part: Part, domain: str, now: int, version: int) -> None:
    blocking = list(islice(what_changed(part.model, version, domain), _SHOWN + 1))
    if blocking:
        shown = ", ".join(blocking[:_SHOWN]) + (", ..." if len(blocking) > _SHOWN else "")
        lower = f", or lower the other: graphopt apply MODEL --passes lower_opset:to={now}"
        raise PreconditionError(
            f"{part.name} has opset {domain or 'ai.onnx'} {now}, another model {version}, and these nodes "
            f"would not mean the same there: {shown}; export it at {version}"
            f"{lower if domain == ONNX_DOMAIN else ''}"
        )
    set_opset(part.model, version, domain)


def _merged_functions(parts: Sequence[Part]) -> list[ir.Function]:
    merged: dict[ir.OperatorIdentifier, tuple[str, ir.Function]] = {}
    for part in parts:
        for key, function in part.model.functions.items():
            owner, known = merged.setdefault(key, (part.name, function))
            if known is not function and _text(known) != _text(function):
                raise PreconditionError(
                    f"{owner} and {part.name} have different functions {'::'.join(filter(None, key))}; "
                    "rename the function in one of them"
                )
    return [function for _, function in merged.values()]


def _text(function: ir.Function) -> bytes:
    content: bytes = ir.serde.serialize_function(function).SerializeToString(deterministic=True)
    return content
