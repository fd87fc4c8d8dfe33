"""From a graph and what the user asks for to the shapes and outputs of one call."""

import dataclasses
from collections.abc import Mapping

from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.shapes import InputShape, Size
from graphopt.compile.graph_facts import GraphFacts
from graphopt.core.errors import UsageError
from graphopt.core.tensors import TensorSpec

_TYPES = {"FP32": "float32", "FP16": "float16", "UINT8": "uint8", "INT8": "int8"}


def requested_shapes(graph: GraphFacts, inputs: tuple[TensorSpec, ...]) -> tuple[InputShape, ...]:
    """Return ``--input_shape`` for a graph: sizes asked for, else the graph's, else -1.

    Args:
        graph: names and sizes.
        inputs: asked for; a name that the graph lacks is kept, so that the rules report it.
    """
    asked = {spec.name: spec for spec in inputs}
    known = [spec.name for spec in graph.inputs]
    specs = [asked.get(spec.name, spec) for spec in graph.inputs]
    specs += [spec for spec in inputs if spec.name not in known]
    return tuple(
        InputShape(spec.name, tuple(dim if isinstance(dim, int) else -1 for dim in spec.shape))
        for spec in specs
    )


def nodes_of_outputs(graph: GraphFacts) -> tuple[str, ...]:
    """Return the graph's outputs as ``node:index``, the form that survives any tensor name.

    Raises:
        UsageError: the node that makes an output has no name.
    """
    place = _places(graph)
    missing = [spec.name for spec in graph.outputs if spec.name not in place]
    if missing:
        raise UsageError(
            f"out_nodes=auto: the node that makes {missing[0]} has no name; leave out_nodes out "
            "(ATC then takes the graph's outputs)"
        )
    return tuple(place[spec.name] for spec in graph.outputs)


def resolved_outputs(text: str, graph: GraphFacts, roles: Mapping[str, str]) -> str:
    """Return ``--out_nodes`` as ATC takes it.

    Args:
        text: ``auto`` for the graph's outputs; else tensor names, ``node:index`` or roles.
        graph: as it will be compiled.
        roles: role -> output of the graph; a tensor of that name comes first.

    Returns:
        The items as given while ATC takes them so; all as ``node:index`` when one of them is an inner
        tensor (ATC finds only outputs by name), or the forms are mixed (which it refuses).
    """
    if text == "auto":
        return ";".join(nodes_of_outputs(graph))
    place = _places(graph)
    outputs = {spec.name for spec in graph.outputs}
    given = [item.strip() for item in text.split(";") if item.strip()]
    items = [roles.get(item, item) if item not in place and item not in outputs else item for item in given]
    tensors = [item in outputs and ":" not in item for item in items]
    if all(tensors) or not any(item in place for item in items):
        return ";".join(items)
    return ";".join(place.get(item, item) for item in items)


def _places(graph: GraphFacts) -> dict[str, str]:
    return {
        tensor: f"{node}:{index}"
        for node, tensors in graph.nodes.items()
        for index, tensor in enumerate(tensors)
    }


def compiled_inputs(call: AtcInvocation, graph: GraphFacts) -> tuple[TensorSpec, ...]:
    """Return the om's inputs: fixed sizes filled in, fp16 where asked for."""
    shapes = {shape.name: shape.dims for shape in call.input_shape}
    halves = call.extra.get("input_fp16_nodes", "").split(";")
    return tuple(
        dataclasses.replace(
            spec,
            shape=tuple(
                want if isinstance(want, int) and want > 0 else have
                for want, have in zip(shapes.get(spec.name, ()) or _sizes(spec), spec.shape, strict=True)
            ),
            dtype="float16" if spec.name in halves else spec.dtype,
        )
        for spec in graph.inputs
    )


def compiled_outputs(call: AtcInvocation, graph: GraphFacts) -> tuple[TensorSpec, ...]:
    """Return those of the om's outputs that the graph declares, in the om's order.

    With ``out_nodes`` that is its order. An inner tensor has no declared shape and is left out.
    """
    by_name = {spec.name: spec for spec in graph.outputs}
    names = [_tensor(item, graph) for item in call.out_nodes] or list(by_name)
    dtype = _TYPES.get(call.extra.get("output_type", ""))
    specs = [by_name[name] for name in names if name in by_name]
    return tuple(dataclasses.replace(spec, dtype=dtype) if dtype else spec for spec in specs)


def _tensor(item: str, graph: GraphFacts) -> str:
    node, colon, index = item.rpartition(":")
    return graph.nodes[node][int(index)] if colon else item


def _sizes(spec: TensorSpec) -> tuple[Size, ...]:
    return tuple(dim if isinstance(dim, int) else -1 for dim in spec.shape)
