"""Write new nodes in front of an old one: names are fresh, types may be told."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from graphopt.core.operator_bodies import import_domain
from graphopt.core.tensors import Array
from graphopt.core.versioned_ops import Attribute, NodeOps
from graphopt.surgery.graph_edits import add_constant, fresh_name, remove_dead, take_over
from graphopt.surgery.graph_queries import graph_of


class NodeBuilder(NodeOps):
    """Inserts nodes before one node of a model, in the order in which they are asked for.

    Args:
        model: the model that holds ``before``.
        before: the node that the new ones make way for, or feed.
        stem: start of the new names; the first output of ``before`` when empty.
    """

    def __init__(self, model: ir.Model, before: ir.Node, stem: str = "") -> None:
        self._model = model
        self._before = before
        self._graph = graph_of(before)
        self._stem = stem or before.outputs[0].name or before.op_type

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        attributes: Mapping[str, Attribute] | None = None,
        outputs: int = 1,
        like: ir.Value | None = None,
        shape: Sequence[int | str | None] | None = None,
        domain: str = "",
    ) -> tuple[ir.Value, ...]:
        """Insert a node as ``op`` does and return all its outputs; the model imports its domain."""
        stem = f"{self._stem}.{op_type.lower()}"
        node = ir.node(
            op_type,
            inputs,
            dict(attributes or {}),
            domain=domain,
            num_outputs=outputs,
            name=fresh_name(self._model, f"{stem}_node"),
        )
        for value in node.outputs:
            value.name = fresh_name(self._model, stem)
        first = node.outputs[0]
        if like is not None:
            first.type = like.type
            first.shape = like.shape.copy() if like.shape is not None and shape is None else None
        if shape is not None and first.type is not None:  # ONNX has no shape without a dtype
            first.shape = ir.Shape(list(shape))
        self._graph.insert_before(self._before, node)
        if domain:
            import_domain(self._model, node)
        return tuple(node.outputs)

    def constant(self, content: Array | ir.TensorProtocol, stem: str = "constant") -> ir.Value:
        """Return a new constant that the new nodes and ``before`` can read."""
        return add_constant(self._model, self._before, content, f"{self._stem}.{stem}")

    def replace(self, *results: ir.Value) -> None:
        """Let ``results`` take the places of the outputs of ``before``, and remove what is dead then."""
        for new, old in zip(results, self._before.outputs, strict=False):
            take_over(new, old)
        remove_dead(self._model, [self._before])
