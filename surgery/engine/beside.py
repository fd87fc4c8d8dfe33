"""Put rewritten models beside their source in one graph, sharing all that is the same.

A node of a rewrite that has the operator, attributes and inputs of a node of the source computes the
same numbers: it is left out and its readers read the source's. So one run answers for all of them, and
what no pass touched (mostly the weights, often most of the work) is held and computed once.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from graphopt.core.file_tensors import FileTensor
from graphopt.surgery.graph_edits import fresh_name
from graphopt.surgery.graph_queries import constant_tensor, has_subgraph, is_op

_CHUNK = 1 << 22
_HEAD = 4096


@dataclass(frozen=True)
class Joined:
    """Several models in one.

    Attributes:
        model: has the outputs of all.
        outputs: per rewrite, its output names -> tensors of ``model`` that hold them.
        shared: per rewrite, how many of its nodes the source computes for it.
    """

    model: ir.Model
    outputs: tuple[dict[str, str], ...]
    shared: tuple[int, ...]


def why_not_joined(source: ir.Model, other: ir.Model) -> str | None:
    """Return why two models cannot be in one graph (a clause), or None when they can."""
    for domain, version in other.opset_imports.items():
        if source.opset_imports.get(domain, version) != version:
            return f"they follow different versions of {domain or 'the standard operators'}"
    for identifier, function in other.functions.items():
        mine = source.functions.get(identifier)
        if mine is not None and _text_of(mine) != _text_of(function):
            return f"the function {function.name} differs"
    known = {value.name for value in source.graph.inputs}
    if extra := [value.name for value in other.graph.inputs if value.name not in known]:
        return f"the source has no input {extra[0]}"
    return None


def join(source: ir.Model, others: Sequence[ir.Model]) -> Joined:
    """Put models into one graph.

    Args:
        source: a copy for this use; becomes the joint model.
        others: copies too, emptied; each fits the source (``why_not_joined``).
    """
    joint = _Joint(source)
    found = [joint.add(index, other) for index, other in enumerate(others)]
    return Joined(source, tuple(names for names, _ in found), tuple(count for _, count in found))


@dataclass
class _Joint:
    """The graph that takes the others in."""

    model: ir.Model
    nodes: dict[Hashable, list[ir.Node]] = field(default_factory=dict)
    constants: dict[Hashable, list[ir.Value]] = field(default_factory=dict)
    alike: dict[ir.Value, ir.Value] = field(default_factory=dict)
    """Value -> an earlier one that holds the same: equal constants, and what passes an Identity."""

    def __post_init__(self) -> None:
        for value in self.model.graph.initializers.values():
            self._learn_constant(value)
        for node in self.model.graph:
            self._learn(node)

    def add(self, index: int, other: ir.Model) -> tuple[dict[str, str], int]:
        graph, suffix, shared = self.model.graph, f" of {index}", 0
        outputs = [(value.name or "", value) for value in other.graph.outputs]
        stand_for = _Follow()
        for domain, version in other.opset_imports.items():
            self.model.opset_imports.setdefault(domain, version)
        for identifier, function in other.functions.items():
            self.model.functions.setdefault(identifier, function)
        mine = {value.name: value for value in graph.inputs}
        other.graph.outputs.clear()
        for value in list(other.graph.inputs):
            stand_for.put(value, mine[value.name])
        for name, value in list(other.graph.initializers.items()):
            same = self._same_constant(value)
            if same is not None:
                stand_for.put(value, same)
            else:
                other.graph.initializers.pop(name)
                value.name = name + suffix
                graph.register_initializer(value)
                self._learn_constant(value)
        for node in list(other.graph):
            twins = self._twins(node)
            other.graph.remove(node)
            if twins is not None:
                shared += 1
                for value, same in zip(node.outputs, twins, strict=True):
                    stand_for.put(value, same)
                for position in range(len(node.inputs)):
                    node.replace_input_with(position, None)
            else:
                _rename(node, suffix)
                graph.append(node)
                self._learn(node)
        return {name: self._as_output(stand_for.get(value), suffix) for name, value in outputs}, shared

    def _as_output(self, value: ir.Value, suffix: str) -> str:
        graph = self.model.graph
        if value.producer() is None:  # some runtimes want a node behind an output
            node = ir.node("Identity", [value])
            node.outputs[0].name = fresh_name(self.model, f"{value.name} as output{suffix}")
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            value = node.outputs[0]
        if not value.is_graph_output():
            graph.outputs.append(value)
        return value.name or ""

    def _learn(self, node: ir.Node) -> None:
        if is_op(node, "Constant"):
            self._learn_constant(node.outputs[0])
        elif is_op(node, "Identity") and node.inputs[0] is not None:
            self.alike[node.outputs[0]] = self._first(node.inputs[0])
        elif (key := self._key(node)) is not None:
            self.nodes.setdefault(key, []).append(node)

    def _learn_constant(self, value: ir.Value) -> None:
        tensor = constant_tensor(value)
        if tensor is None:
            return
        same = self._same_constant(value)
        if same is not None:
            self.alike[value] = self._first(same)
        else:
            self.constants.setdefault(_constant_key(tensor), []).append(value)

    def _first(self, value: ir.Value) -> ir.Value:
        return self.alike.get(value, value)

    def _twins(self, node: ir.Node) -> Sequence[ir.Value] | None:
        """Return values of the joint graph that hold what a node makes; None when there are none."""
        if is_op(node, "Identity") and node.inputs[0] is not None:
            return [self._first(node.inputs[0])]
        if is_op(node, "Constant"):
            same = self._same_constant(node.outputs[0])
            return None if same is None else [same]
        key = self._key(node)
        twins = self.nodes.get(key, []) if key is not None else []
        names = [value.name for value in node.outputs]
        # Among equals the one of the same name: random numbers differ from node to node.
        named = next((twin for twin in twins if [value.name for value in twin.outputs] == names), None)
        if named is None and twins and not node.op_type.startswith(_RANDOM):
            named = twins[0]
        return None if named is None else named.outputs

    def _same_constant(self, value: ir.Value) -> ir.Value | None:
        tensor = constant_tensor(value)
        if tensor is None:
            return None
        candidates = self.constants.get(_constant_key(tensor), [])
        return next((other for other in candidates if _same_bytes(constant_tensor(other), tensor)), None)

    def _key(self, node: ir.Node) -> Hashable | None:
        """Return what a node computes; None when it carries a graph, which is not looked into."""
        if has_subgraph(node):
            return None
        attributes = tuple(sorted((name, _attribute_key(item)) for name, item in node.attributes.items()))
        inputs = tuple(None if value is None else id(self._first(value)) for value in node.inputs)
        return (node.op_identifier(), attributes, inputs, tuple(bool(value.name) for value in node.outputs))


_RANDOM = ("Random", "Multinomial", "Bernoulli", "Dropout")


class _Follow:
    """Which value took the place of which."""

    def __init__(self) -> None:
        self._map: dict[ir.Value, ir.Value] = {}

    def put(self, old: ir.Value, new: ir.Value) -> None:
        self._map[old] = new
        old.replace_all_uses_with(new)

    def get(self, value: ir.Value) -> ir.Value:
        return self._map.get(value, value)


def _attribute_key(item: ir.Attr) -> str:
    if item.type is ir.AttributeType.TENSOR:
        tensor = item.as_tensor()
        return f"{tensor.dtype} {tensor.shape} {tensor.tobytes()!r}"
    return f"{item.type} {item.value!r}"


def _constant_key(tensor: ir.TensorProtocol) -> Hashable:
    head = b"".join(_chunks(tensor, min(_HEAD, tensor.nbytes), _HEAD)) if tensor.nbytes else b""
    return (tensor.dtype, tuple(tensor.shape.numpy()), head)


def _same_bytes(one: ir.TensorProtocol | None, two: ir.TensorProtocol) -> bool:
    if one is None or one.nbytes != two.nbytes:
        return False
    if one is two or _place(one) == _place(two):
        return True
    pairs = zip(_chunks(one, one.nbytes, _CHUNK), _chunks(two, two.nbytes, _CHUNK), strict=True)
    return all(mine == other for mine, other in pairs)


def _place(tensor: ir.TensorProtocol) -> Hashable:
    return (tensor.source.path, tensor.span) if isinstance(tensor, FileTensor) else id(tensor)


def _chunks(tensor: ir.TensorProtocol, length: int, size: int) -> Iterator[bytes]:
    """Yield the first bytes of a tensor, piece by piece: a file need not be in memory as a whole."""
    if isinstance(tensor, FileTensor):
        for start in range(0, length, size):
            yield tensor.source.read(
                tensor.span._replace(offset=tensor.span.offset + start, length=min(size, length - start))
            )
    elif tensor.dtype is ir.DataType.STRING:
        yield repr(tensor.numpy().tolist()).encode()
    else:
        whole = tensor.tobytes()
        for start in range(0, length, size):
            yield whole[start : min(start + size, length)]


def _rename(node: ir.Node, suffix: str) -> None:
    for value in node.outputs:
        if value.name:
            value.name += suffix
    if node.name:
        node.name += suffix
    for attribute in node.attributes.values():
        graphs = (
            [attribute.as_graph()]
            if attribute.type is ir.AttributeType.GRAPH
            else attribute.as_graphs()
            if attribute.type is ir.AttributeType.GRAPHS
            else []
        )
        for graph in graphs:
            for value in (*graph.inputs, *list(graph.initializers.values())):
                value.name = f"{value.name}{suffix}"
            for inner in graph:
                _rename(inner, suffix)


def _text_of(function: ir.Function) -> bytes:
    text: bytes = ir.serde.serialize_function(function).SerializeToString(deterministic=True)
    return text
