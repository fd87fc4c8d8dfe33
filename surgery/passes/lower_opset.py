"""The pass ``lower_opset``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx
import onnx_ir as ir

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.lineage import node_label
from graphopt.surgery.graph_queries import has_attribute_references, label, nodes_of, opset_of
from graphopt.surgery.model_pass import Change, ModelPass, Outcome
from graphopt.surgery.opsets import adapters
from graphopt.surgery.opsets.general_rules import general_rewrite, is_the_same
from graphopt.surgery.opsets.place import Blocked, Place, Rewrite
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder

_LOWEST = 11
_DEVICE_IR = 8
"""IR version of opset 15: the newest that old onnxruntimes and ATC read, and functions need it."""


@dataclass(frozen=True, kw_only=True)
class LowerOpset(ModelPass):
    """Write the model in an older opset.

    Why: new exporters write opset 18 whatever is asked; device compilers are sure of 11 only.
    Before: any opset from 12 to the newest, e.g. ``ReduceMean(x, axes)``, ``LayerNormalization``.
    After: the same function in opset 11, e.g. ``ReduceMean<axes>(x)``; or nothing is changed and
    every node that stands in the way is listed with its reason.
    Seen in: transformer_layer, mobile_block, group_norm_head, einsum_attention.

    Attributes:
        to: the opset to write, 11 or newer.
    """

    name: ClassVar[str] = "lower_opset"

    to: int = 11

    def __post_init__(self) -> None:
        if self.to < _LOWEST:
            raise UsageError(f"lower_opset: goes down to opset {_LOWEST}, not to {self.to}")

    def run(self, model: ir.Model) -> Outcome:
        """Look at every node first; change something only when none stands in the way.

        Raises:
            PreconditionError: lists all nodes that cannot be written in that opset.
        """
        versions = [model.opset_imports, *(function.opset_imports for function in model.functions.values())]
        if all(imports.get("", self.to) <= self.to for imports in versions):
            return Outcome(model=model, changes=())
        planned: list[tuple[Place, Rewrite]] = []
        blocked = []
        for place in self._places(model):
            try:
                planned.append((place, _plan(place)))
            except Blocked as reason:
                blocked.append(f"{label(place.node)}: {reason}")
        if blocked:
            listed = "; ".join(blocked)
            raise PreconditionError(
                f"lower_opset: {len(blocked)} nodes cannot be written in opset {self.to}: {listed}"
            )
        return Outcome(model=model, changes=tuple(self._apply(model, planned)))

    def _places(self, model: ir.Model) -> Iterator[Place]:
        types = KnownTypes(model)
        for node in nodes_of(model):
            opset = opset_of(model, node)
            if node.domain == "" and opset > self.to:
                place = Place(model=model, node=node, opset=opset, to=self.to, types=types)
                if not is_the_same(place):
                    yield place

    def _apply(self, model: ir.Model, planned: list[tuple[Place, Rewrite]]) -> Iterator[Change]:
        before = model.opset_imports.get("", self.to)
        yield Change(node="", op_type="", what=f"opset {before} becomes {self.to}")
        for place, rewrite in planned:
            node, what = place.node, _shown(place.node)
            change = Change(node=node_label(node), op_type=node.op_type, what="")
            rewrite(VersionedBuilder(model, node, opset=self.to))
            if node.graph is None:
                yield Change(node=change.node, op_type=change.op_type, what="is written out")
            elif _shown(node) != what:
                yield Change(node=change.node, op_type=change.op_type, what="takes its older form")
        for function in model.functions.values():
            function.opset_imports[""] = min(self.to, function.opset_imports.get("", self.to))
        model.opset_imports[""] = min(self.to, before)
        for node in nodes_of(model):
            if node.domain == "" and node.version is not None:
                node.version = min(node.version, self.to)
        model.ir_version = min(model.ir_version, _DEVICE_IR)


def _plan(place: Place) -> Rewrite:
    adapter = adapters().get(place.node.op_type)
    if adapter is not None:
        if has_attribute_references(place.node):
            raise Blocked("an attribute comes from the caller of its function")
        found = adapter(place)
        if found is not None:
            return found
    if onnx.defs.has(place.node.op_type, "") or adapter is None:
        return general_rewrite(place)
    raise Blocked("it is no operator of ONNX")


def _shown(node: ir.Node) -> object:
    attributes = {name: item.value for name, item in node.attributes.items()}
    return len(node.inputs), [value.name if value else None for value in node.inputs], str(attributes)
