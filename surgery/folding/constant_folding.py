"""Work out which nodes always give the same tensors, and compute those in a few batches.

Batches, because starting an engine per node costs more than the arithmetic: all nodes whose inputs
are known, chains included, are run as one small model. Sizes are inferred before anything is
computed, so that no huge tensor is ever made.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import onnx_ir as ir

from graphopt.core.errors import InvalidModelError
from graphopt.surgery.folding.constant_batch import ConstantBatch, byte_size
from graphopt.surgery.graph_edits import remove_dead, replace_by_constant
from graphopt.surgery.graph_pass import Site
from graphopt.surgery.graph_queries import (
    ONNX_DOMAIN,
    constant_tensor,
    has_attribute_references,
    has_subgraph,
    is_op,
    root_graphs,
)
from graphopt.surgery.shapes.shape_inference import Inferred

RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
DATA_DEPENDENT = frozenset(("Compress", "NonMaxSuppression", "NonZero", "Unique"))
"""The sizes of their outputs depend on elements, but are bounded by the sizes of their inputs."""
_PASSING_BYTES = 256 << 20
"""Largest tensor that is computed only to compute a smaller one from it."""
QUANTIZING = frozenset(("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"))


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldSite(Site):
    """A node that constants replace.

    Attributes:
        tensors: what takes the place of those outputs that somebody reads.
    """

    tensors: Mapping[ir.Value, ir.TensorProtocol]

    def apply(self, model: ir.Model) -> None:
        """Put the constants in place and remove the node with what only it needed."""
        if self.node.graph is None:
            return
        for value, tensor in self.tensors.items():
            replace_by_constant(model, value, tensor)
        remove_dead(model, [self.node])


@dataclass(kw_only=True)
class ConstantFolder:
    """The growing knowledge of what is constant in a model; the model is not changed.

    Attributes:
        model: must not change while this is used.
        max_bytes: a node is left alone when its outputs are larger by more than this than the
            inputs that disappear with it.
        everywhere: fold whatever is constant, function bodies included; otherwise only what
            depends on tensors that ``learn`` was given, in main graph and subgraphs.
        known: tensors that a node outside reads, or that are graph outputs.
        refused: constant nodes that are left alone, with the reason (a clause).
    """

    model: ir.Model
    max_bytes: int
    everywhere: bool
    known: dict[ir.Value, ir.TensorProtocol] = field(default_factory=dict)
    refused: dict[ir.Node, str] = field(default_factory=dict)
    _folded: set[ir.Node] = field(default_factory=set)
    _done: set[ir.Value] = field(default_factory=set)

    def learn(self, seeds: Mapping[ir.Value, ir.TensorProtocol]) -> None:
        """Take over node outputs that are known from elsewhere, such as shapes."""
        for value, tensor in seeds.items():
            node = value.producer()
            if node is not None:
                self.known[value] = tensor
                self._done.add(value)
                self._folded.add(node)

    def fold(self) -> None:
        """Compute everything that follows from constants and known tensors."""
        for root in root_graphs(self.model):
            if root is self.model.graph or self.everywhere:
                default = self.model.opset_imports.get(ONNX_DOMAIN, 1)
                self._fold_nodes(list(root.all_nodes()), root.opset_imports.get(ONNX_DOMAIN, default))

    def is_folded(self, node: ir.Node) -> bool:
        """Whether a node is not needed any more."""
        return node in self._folded

    def sites(self) -> list[FoldSite]:
        """Return the nodes at the edge: those that constants replace; the rest dies with them."""
        tensors: dict[ir.Node, dict[ir.Value, ir.TensorProtocol]] = {}
        for value, tensor in self.known.items():
            node = value.producer()
            if node is not None and _is_read_outside(value, self._folded):
                tensors.setdefault(node, {})[value] = tensor
        return [FoldSite(node=node, what=_describe(found), tensors=found) for node, found in tensors.items()]

    def _fold_nodes(self, nodes: list[ir.Node], opset: int) -> None:
        while nodes := self._constant_among(nodes):
            batch = ConstantBatch(nodes, self._tensor_of, opset)
            types = batch.types()
            accepted = self._affordable(nodes, types)
            if not accepted:
                return
            self._compute(accepted, types, opset)

    def _constant_among(self, nodes: Iterable[ir.Node]) -> list[ir.Node]:
        found: list[ir.Node] = []
        coming: set[ir.Value] = set()
        for node in nodes:
            if node in self._folded or node in self.refused or is_op(node, "Constant"):
                continue
            inputs = [value for value in node.inputs if value is not None]
            if not (self.everywhere or any(value in coming or value in self._done for value in inputs)):
                continue
            if not all(value in coming or self._is_known(value) for value in inputs):
                continue
            reason = _why_never(node)
            if reason is None:
                found.append(node)
                coming.update(node.outputs)
            elif inputs:
                self.refused[node] = reason
        return found

    def _affordable(self, nodes: list[ir.Node], types: Mapping[ir.Value, Inferred]) -> list[ir.Node]:
        accepted: set[ir.Node] = set()
        large: dict[ir.Node, int] = {}
        coming: set[ir.Value] = set()
        for node in nodes:
            concrete = all(value is None or self._is_known(value) for value in node.inputs)
            if not concrete and not all(v is None or v in coming or self._is_known(v) for v in node.inputs):
                continue  # waits for a node that is too large, or for one whose size is not told yet
            growth = self._growth(node, types)
            if growth is None and not (concrete and node.op_type in DATA_DEPENDENT):
                if concrete:
                    self.refused[node] = "the size of its output cannot be told before it runs"
                continue
            if growth is not None and growth > self.max_bytes:
                large[node] = growth
                continue
            accepted.add(node)
            coming.update(node.outputs)
        accepted |= self._passing(nodes, accepted, types) if large else set()
        for node, growth in large.items():
            if node not in accepted:
                self.refused[node] = f"the constant would add {growth} bytes (max_bytes is {self.max_bytes})"
        return [node for node in nodes if node in accepted]

    def _passing(
        self, nodes: list[ir.Node], accepted: set[ir.Node], types: Mapping[ir.Value, Inferred]
    ) -> set[ir.Node]:
        """Return nodes whose large results nobody reads once small ones take the place of all readers."""
        chosen: set[ir.Node] = set()
        for node in reversed(nodes):
            if node in accepted:
                continue
            sizes = [byte_size(types.get(value)) for value in node.outputs if value.name]
            kept = [byte_size(types.get(v)) for v in node.outputs if _is_read_outside(v, chosen | accepted)]
            if all(size is not None and size <= _PASSING_BYTES for size in sizes) and (
                sum(size or 0 for size in kept) <= self.max_bytes
            ):
                chosen.add(node)
        coming = {value for node in accepted for value in node.outputs}
        ready: set[ir.Node] = set()
        for node in nodes:
            if node in chosen and all(v is None or v in coming or self._is_known(v) for v in node.inputs):
                ready.add(node)
                coming.update(node.outputs)
        return ready

    def _growth(self, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> int | None:
        total = 0
        for value in node.outputs:
            if value.name and (value.uses() or value.is_graph_output()):
                size = byte_size(types.get(value))
                if size is None:
                    return None
                total += size
        for value in {value for value in node.inputs if value is not None}:
            if not _is_read_outside(value, self._folded, node):
                tensor = self._tensor_of(value)
                total -= tensor.nbytes if tensor is not None else byte_size(types.get(value)) or 0
        return total

    def _compute(self, nodes: list[ir.Node], types: dict[ir.Value, Inferred], opset: int) -> None:
        ready = self._constant_among(nodes)
        if not ready:
            return
        inside = set(ready)
        wanted = [v for node in ready for v in node.outputs if v.name and _is_read_outside(v, inside)]
        try:
            arrays = ConstantBatch(ready, self._tensor_of, opset).run(wanted, types)
        except InvalidModelError as error:
            if len(ready) == 1:
                self.refused[ready[0]] = f"onnxruntime cannot compute it: {_first_line(error)}"
                return
            half = len(ready) // 2
            self._compute(ready[:half], types, opset)
            self._compute(ready[half:], types, opset)
            return
        self.known.update((value, ir.Tensor(array)) for value, array in arrays.items())
        self._folded.update(ready)
        self._done.update(value for node in ready for value in node.outputs)

    def _is_known(self, value: ir.Value) -> bool:
        return value in self._done or constant_tensor(value) is not None

    def _tensor_of(self, value: ir.Value) -> ir.TensorProtocol | None:
        return self.known.get(value) or constant_tensor(value)


def _is_read_outside(value: ir.Value, inside: AbstractSet[ir.Node], also: ir.Node | None = None) -> bool:
    return value.is_graph_output() or any(user is not also and user not in inside for user, _ in value.uses())


def _why_never(node: ir.Node) -> str | None:
    if node.domain != ONNX_DOMAIN:
        return f"{node.domain}.{node.op_type} is no standard operator"
    if node.op_type in RANDOM or (node.op_type == "Dropout" and len(node.inputs) > 2):
        return "it gives other numbers in each run"
    if node.op_type in QUANTIZING:
        return "it carries the quantisation of a tensor"
    if has_subgraph(node):
        return "it has a subgraph"
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    return None


def _describe(tensors: Mapping[ir.Value, ir.TensorProtocol]) -> str:
    return "; ".join(
        f"{value.name} is constant, {tensor.dtype} {list(tensor.shape)}" for value, tensor in tensors.items()
    )


def _first_line(error: InvalidModelError) -> str:
    return str(error).rpartition(" : ")[2].strip().partition("\n")[0][:200]
