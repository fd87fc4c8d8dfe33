"""Rules about ``--input_shape`` and ``--out_nodes``: names, ranks, sizes."""

import re
from collections import Counter
from collections.abc import Iterator

from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.rules import Rule, Violation
from graphopt.compile.atc.soc import family_of
from graphopt.compile.graph_facts import GraphFacts
from graphopt.core.discovery import did_you_mean


def input_names_exist(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10016, E10017: every shape names an input of the graph."""
    known = [spec.name for spec in graph.inputs]
    for shape in call.input_shape:
        if shape.name in known:
            continue
        if shape.name in graph.nodes or shape.name in graph.tensors:
            yield Violation(
                code="E10017",
                what=f"{shape.name!r} in input_shape is inside the graph, not one of its inputs",
                remedy=f"name the inputs: {', '.join(known)}",
            )
        else:
            yield Violation(
                code="E10016",
                what=f"{shape.name!r} in input_shape is not in the graph",
                remedy=did_you_mean(shape.name, known),
            )


def inputs_named_once(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """Each input has one shape."""
    del graph
    for name, count in Counter(shape.name for shape in call.input_shape).items():
        if count > 1:
            yield Violation(what=f"input {name} has {count} shapes in input_shape", remedy="give one")


def names_can_be_written(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """A name with ``;`` or ``,`` cannot be told apart from the next entry."""
    del graph
    for shape in call.input_shape:
        if re.search(r"[;,=\s]", shape.name):
            yield Violation(
                code="E10002",
                what=f"the input name {shape.name!r} has a character that separates entries of input_shape",
                remedy="rename the input",
            )


def ranks_agree(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10049: as many sizes as the input has axes."""
    ranks = {spec.name: spec for spec in graph.inputs}
    for shape in call.input_shape:
        spec = ranks.get(shape.name)
        if spec is not None and len(spec.shape) != len(shape.dims):
            yield Violation(
                code="E10049",
                what=f"input_shape gives {shape.name} {len(shape.dims)} sizes, it is {spec.shape_text}",
                remedy=f"give {len(spec.shape)}",
            )


def sizes_agree(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """A size that the graph fixes is part of its Reshape constants and cannot be another one."""
    specs = {spec.name: spec for spec in graph.inputs}
    for shape in call.input_shape:
        spec = specs.get(shape.name)
        if spec is None or len(spec.shape) != len(shape.dims):
            continue
        pairs = zip(spec.shape, shape.dims, strict=True)
        if any(isinstance(have, int) and have != want for have, want in pairs):
            yield Violation(
                what=f"input_shape asks for {shape}, the graph fixes {spec.shape_text}",
                remedy="make the graph of that shape first (pass set_batch), or export it with dynamic sizes",
            )


def sizes_are_positive(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10011, E10013: sizes are at least 1, ranges go upwards."""
    del graph
    for shape in call.input_shape:
        for dim in shape.dims:
            if isinstance(dim, int) and (dim == 0 or dim < -1):
                yield Violation(code="E10011", what=f"size {dim} in {shape}", remedy="give a positive size")
            if isinstance(dim, tuple) and (dim[0] < 1 or -1 < dim[1] <= dim[0]):
                yield Violation(
                    code="E10013",
                    what=f"range {dim[0]}~{dim[1]} in {shape}",
                    remedy="give a smaller and a larger positive size",
                )


def unknown_sizes_have_profiles(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10011: -1 means "from a profile", and there must be profiles."""
    if call.profile_option or "input_shape_range" in call.extra:
        return
    specs = {spec.name: spec for spec in graph.inputs}
    for shape in call.input_shape:
        if shape.unknowns:
            spec = specs.get(shape.name)
            of_graph = f" (in the graph {spec.shape_text})" if spec is not None else ""
            yield Violation(
                code="E10011",
                what=f"{shape} leaves a size open{of_graph}",
                remedy=f'give sizes, e.g. input_shape="{_example(shape.name, shape.dims)}", profiles, e.g. '
                "dynamic_batch_size=1,4,8, or a range, e.g. 1~8; or make the graph static (static_shapes)",
            )


def dynamic_inputs_are_covered(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10001: an input with open sizes needs a shape; with profiles every input needs one."""
    if "input_shape_range" in call.extra:
        return
    given = {shape.name for shape in call.input_shape}
    for spec in graph.inputs:
        if spec.name not in given and (not spec.is_static or call.profile_option):
            why = "with profiles every input needs one" if spec.is_static else f"it is {spec.shape_text}"
            yield Violation(
                code="E10001",
                what=f"input {spec.name} has no shape in input_shape, and {why}",
                remedy=f'add "{_example(spec.name, spec.shape)}"',
            )


def ranges_are_supported(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """A range makes a dynamic-shape om, which the 310B family does not run."""
    del graph
    ranged = [shape.name for shape in call.input_shape if any(isinstance(d, tuple) for d in shape.dims)]
    if ranged and family_of(call.soc_version) == "310B":
        yield Violation(
            code="E10055",
            what=f"{', '.join(ranged)} has a range, which {call.soc_version} does not support",
            remedy="give fixed sizes or profiles",
        )


def out_nodes_have_one_form(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10001: either ``node:index`` everywhere or tensor names everywhere."""
    del graph
    indexed = [item for item in call.out_nodes if _is_indexed(item)]
    if indexed and len(indexed) != len(call.out_nodes):
        yield Violation(
            code="E10001",
            what=f"out_nodes mixes node:index ({indexed[0]}) and tensor names",
            remedy="use one form for all",
        )


def out_nodes_exist(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10016, E19999: nodes exist and have that output; tensors are outputs of the graph."""
    outputs = [spec.name for spec in graph.outputs]
    for item in call.out_nodes:
        if _is_indexed(item):
            node, _, index = item.rpartition(":")
            made = graph.nodes.get(node)
            if made is None:
                yield Violation(
                    code="E10016",
                    what=f"the node {node!r} of out_nodes is not in the graph",
                    remedy=did_you_mean(node, graph.nodes) if len(graph.nodes) < 50 else _near(node, graph),
                )
            elif int(index) >= len(made):
                yield Violation(
                    code="E10001",
                    what=f"out_nodes asks for output {index} of {node}, which has {len(made)}",
                    remedy=f"use an index below {len(made)}",
                )
        elif ":" in item:
            yield Violation(
                code="E10001",
                what=f"the tensor name {item!r} in out_nodes contains ':'",
                remedy="use the form node:index for it",
            )
        elif item not in outputs:
            yield Violation(
                code="E19999",
                what=f"the tensor {item!r} in out_nodes is not an output of the graph",
                remedy=f"outputs are {', '.join(outputs)}; for an inner tensor use node:index",
            )


def fp16_inputs_exist(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10016: ``input_fp16_nodes`` names inputs."""
    known = [spec.name for spec in graph.inputs]
    for name in filter(None, call.extra.get("input_fp16_nodes", "").split(";")):
        if name not in known:
            yield Violation(
                code="E10016",
                what=f"{name!r} in input_fp16_nodes is no input of the graph",
                remedy=did_you_mean(name, known),
            )


RULES: tuple[Rule, ...] = (
    input_names_exist,
    inputs_named_once,
    names_can_be_written,
    ranks_agree,
    sizes_agree,
    sizes_are_positive,
    unknown_sizes_have_profiles,
    dynamic_inputs_are_covered,
    ranges_are_supported,
    out_nodes_have_one_form,
    out_nodes_exist,
    fp16_inputs_exist,
)


def _is_indexed(item: str) -> bool:
    return re.fullmatch(r".+:\d+", item) is not None


def _near(node: str, graph: GraphFacts) -> str:
    ending = did_you_mean(node, graph.nodes)
    return ending if ending.startswith("did") else "list the nodes with graphopt inspect"


def _example(name: str, dims: tuple[object, ...]) -> str:
    return f"{name}:" + ",".join(str(dim) if isinstance(dim, int) and dim > 0 else "1" for dim in dims)
