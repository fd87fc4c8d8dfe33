"""Compare two models: what is in one and not in the other, and which pass made the difference."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import onnx_ir as ir

from graphopt.core.lineage import MODEL_LINEAGE, MODEL_PARENT, LineageStep, read_lineage
from graphopt.surgery.differences.alignment import Alignment
from graphopt.surgery.differences.attribution import Attribution
from graphopt.surgery.differences.content import Contents, dtype_text, tensor_text
from graphopt.surgery.differences.node_changes import compare_nodes
from graphopt.surgery.differences.regions import Region, moved_constants, regions_of
from graphopt.surgery.differences.side import Side, operator
from graphopt.surgery.graph_queries import shape_text

MAIN = "main graph"


@dataclass(frozen=True, kw_only=True)
class OperatorCount:
    """How one operator fared; numbers of nodes."""

    operator: str
    before: int
    after: int
    removed: int
    added: int
    changed: int


@dataclass(frozen=True, kw_only=True)
class GraphDiff:
    """The differences of one graph with its subgraphs.

    Attributes:
        name: ``main graph`` or ``function domain::name``.
        alignment: which node is which.
        operators: only those that differ.
        regions: what changed, in graph order.
        same: number of nodes that did not change.
    """

    name: str
    alignment: Alignment
    operators: tuple[OperatorCount, ...]
    regions: tuple[Region, ...]
    same: int


@dataclass(frozen=True, kw_only=True)
class WeightChange:
    """One initializer that differs: ``kind`` is added, removed, changed or renamed."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ModelDiff:
    """All differences of two models.

    Attributes:
        before: one model.
        after: the other.
        graphs: the main graph, then the functions of both that differ.
        interface: inputs and outputs, opsets and functions that differ, as sentences.
        weights: initializers that differ.
        notes: what differs without changing what is computed: names, producer, metadata.
        steps: passes that the second model went through and the first did not.
        stripped: number of weights whose values are not in the files.
    """

    before: ir.Model
    after: ir.Model
    graphs: tuple[GraphDiff, ...]
    interface: tuple[str, ...]
    weights: tuple[WeightChange, ...]
    notes: tuple[str, ...]
    steps: tuple[LineageStep, ...] = ()
    stripped: int = 0

    @property
    def equal(self) -> bool:
        """Whether both compute the same from the same inputs: names inside and notes do not count."""
        return not self.interface and not any(graph.regions for graph in self.graphs)

    @property
    def main(self) -> GraphDiff:
        """The differences of the main graph."""
        return self.graphs[0]


@dataclass
class _Notes:
    interface: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def diff_models(
    before: ir.Model, after: ir.Model, *, sites: Mapping[str, str] | None = None, related: bool = False
) -> ModelDiff:
    """Compare two models.

    Args:
        before: changed by nothing here.
        after: as ``before``.
        sites: node name -> pass that was applied there, where it is known.
        related: the second was made from the first by passes.
    """
    contents = Contents()
    steps = _new_steps(before, after)
    attribution = Attribution(steps=tuple(dict.fromkeys(step.name for step in steps)), sites=sites)
    compare = partial(_diff_graph, contents=contents, attribution=attribution, related=related or bool(steps))
    found = _Notes()
    _compare_interfaces(before, after, found)
    graphs = [compare(MAIN, before.graph, after.graph)]
    for key, function in before.functions.items():
        if key in after.functions:
            other = after.functions[key]
            inner = compare(f"function {_function_name(key)}", function.graph, other.graph)
            if set(function.attributes) != set(other.attributes):
                found.interface.append(f"{inner.name} takes other attributes")
            if inner.regions or _output_changes(inner):
                graphs.append(inner)
    gone = [key for key in before.functions if key not in after.functions]
    new = [key for key in after.functions if key not in before.functions]
    found.interface += [f"function {_function_name(key)} is gone" for key in gone]
    found.interface += [f"function {_function_name(key)} is new" for key in new]
    found.interface += [text for graph in graphs for text in _output_changes(graph)]
    weights = tuple(_weight_changes(graphs[0].alignment, contents))
    found.notes += _notes_on_form(graphs[0].alignment, len(contents.unknown))
    return ModelDiff(
        before=before,
        after=after,
        graphs=tuple(graphs),
        interface=tuple(found.interface),
        weights=weights,
        notes=tuple(found.notes),
        steps=steps,
        stripped=len(contents.unknown),
    )


def _function_name(key: ir.OperatorIdentifier) -> str:
    return "::".join(filter(None, key))


def _notes_on_form(alignment: Alignment, stripped: int) -> Iterator[str]:
    named = {value.name for node in alignment.before.nodes for value in node.outputs}
    pairs = alignment.values.items()
    renamed = sum(new.name not in named for old, new in pairs if old.producer() is not None)
    if moved := len(moved_constants(alignment)):
        yield f"{moved} Constant nodes are initializers now, or the other way round"
    if renamed:
        yield f"{renamed} inner tensors have another name"
    if stripped:
        yield f"the values of {stripped} weights are not in the files; their types were compared"


def _new_steps(before: ir.Model, after: ir.Model) -> tuple[LineageStep, ...]:
    mine, theirs = read_lineage(before), read_lineage(after)
    return theirs[len(mine) :] if theirs[: len(mine)] == mine else ()


def _diff_graph(
    name: str,
    before: ir.Graph,
    after: ir.Graph,
    contents: Contents,
    attribution: Attribution,
    *,
    related: bool,
) -> GraphDiff:
    alignment = Alignment(Side(before), Side(after), contents, related=related)
    compared = [compare_nodes(alignment, old, new) for old, new in alignment.nodes.items()]
    pairs = [pair for pair in compared if pair.changes or pair.rewired]
    regions = regions_of(alignment, pairs, attribution)
    changed = sum(bool(pair.changes) for pair in pairs)
    return GraphDiff(
        name=name,
        alignment=alignment,
        operators=_operators(alignment, regions),
        regions=tuple(regions),
        same=len(alignment.nodes) - changed,
    )


def _output_changes(graph: GraphDiff) -> list[str]:
    """Return the outputs that another node makes now, where no region shows it."""
    alignment = graph.alignment
    before, after = alignment.before.graph.outputs, alignment.after.graph.outputs
    if graph.name == MAIN:
        by_name = {value.name: value for value in after}
        pairs = [(value, by_name[value.name]) for value in before if value.name in by_name]
    else:
        pairs = list(zip(before, after, strict=False))
    return [
        f"output {old.name}{'' if graph.name == MAIN else ' of ' + graph.name} is made by another node"
        for old, new in pairs
        if not alignment.same(old, new)
        and (old.producer() is None or old.producer() in alignment.nodes)
        and (new.producer() is None or new.producer() in alignment.back)
    ]


def _operators(alignment: Alignment, regions: list[Region]) -> tuple[OperatorCount, ...]:
    before = Counter(map(operator, alignment.before.nodes))
    after = Counter(map(operator, alignment.after.nodes))
    removed = Counter(operator(node) for region in regions for node in region.removed)
    added = Counter(operator(node) for region in regions for node in region.added)
    changed = Counter(operator(pair.after) for region in regions for pair in region.changed)
    touched = {*removed, *added, *changed} | {name for name in before | after if before[name] != after[name]}
    return tuple(
        OperatorCount(
            operator=name,
            before=before[name],
            after=after[name],
            removed=removed[name],
            added=added[name],
            changed=changed[name],
        )
        for name in sorted(touched, key=lambda name: (-removed[name] - added[name] - changed[name], name))
    )


def _compare_interfaces(before: ir.Model, after: ir.Model, found: _Notes) -> None:
    for side, mine, theirs in (
        ("input", before.graph.inputs, after.graph.inputs),
        ("output", before.graph.outputs, after.graph.outputs),
    ):
        old = {value.name: _type_text(value) for value in mine}
        new = {value.name: _type_text(value) for value in theirs}
        found.interface += [f"{side} {name} {old[name]} is gone" for name in old if name not in new]
        found.interface += [f"{side} {name} {new[name]} is new" for name in new if name not in old]
        found.interface += [
            f"{side} {name} is {new[name]}, was {old[name]}"
            for name in old
            if name in new and old[name] != new[name]
        ]
        kept = [name for name in old if name in new]
        if kept != [name for name in new if name in old]:
            found.interface.append(f"the {side}s are in another order")
    for domain in sorted({*before.opset_imports, *after.opset_imports}):
        old_version, new_version = before.opset_imports.get(domain), after.opset_imports.get(domain)
        if old_version != new_version:
            text = f"opset {domain or 'ai.onnx'}: {new_version or 'none'}, was {old_version or 'none'}"
            (found.interface if domain == "" else found.notes).append(text)
    for what, was, now in (
        ("IR version", before.ir_version, after.ir_version),
        ("producer", _producer(before), _producer(after)),
    ):
        if was != now:
            found.notes.append(f"{what}: {now}, was {was}")
    _compare_metadata(before, after, found)


def _compare_metadata(before: ir.Model, after: ir.Model, found: _Notes) -> None:
    keys = sorted(
        key
        for key in {*before.metadata_props, *after.metadata_props}
        if key not in (MODEL_LINEAGE, MODEL_PARENT)  # shown as the passes between them
        and before.metadata_props.get(key) != after.metadata_props.get(key)
    )
    if keys:
        found.notes.append(f"metadata that differ: {', '.join(keys)}")


def _weight_changes(alignment: Alignment, contents: Contents) -> Iterator[WeightChange]:
    before, after = alignment.before.weights, alignment.after.weights
    gone: dict[str, list[str]] = {}
    for name, value in before.items():
        tensor, other = value.const_value, after.get(name)
        if tensor is None:
            continue
        if other is None or other.const_value is None:
            gone.setdefault(tensor_text(tensor), []).append(name)
        elif not contents.equal(tensor, other.const_value):
            texts = tensor_text(tensor), tensor_text(other.const_value)
            text = f"{texts[1]}, was {texts[0]}" if texts[0] != texts[1] else f"{texts[1]}: other values"
            yield WeightChange(name=name, kind="changed", text=text)
    for name, value in after.items():
        tensor = value.const_value
        if tensor is None or name in before:
            continue
        text = tensor_text(tensor)
        same = next((n for n in gone.get(text, []) if _same_weight(before[n], tensor, contents)), None)
        if same is None:
            yield WeightChange(name=name, kind="added", text=text)
        else:
            gone[text].remove(same)
            yield WeightChange(name=name, kind="renamed", text=f"{text}, was {same}")
    for text, names in gone.items():
        yield from (WeightChange(name=name, kind="removed", text=text) for name in names)


def _same_weight(old: ir.Value, new: ir.TensorProtocol, contents: Contents) -> bool:
    tensor = old.const_value
    if tensor is None:
        return False
    digest = contents.digest(new)
    return digest != "" and contents.digest(tensor) == digest


def _type_text(value: ir.Value) -> str:
    kind = dtype_text(value.dtype) or str(value.type)
    return f"{kind} {shape_text(value.shape)}"


def _producer(model: ir.Model) -> str:
    return " ".join(filter(None, (model.producer_name, model.producer_version))) or "unknown"
