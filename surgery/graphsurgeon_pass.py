"""Passes written on an onnx-graphsurgeon graph, run and verified like all others.

The model is converted at the border of the pass and nowhere else. What onnx-graphsurgeon cannot
hold (lineage, names of recipes, documentation) is carried around it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import onnx_ir as ir

from graphopt.core.errors import PreconditionError, VerificationError
from graphopt.core.onnx_files import from_proto, to_proto
from graphopt.surgery.engine.walking import all_graphs
from graphopt.surgery.graph_queries import nodes_of
from graphopt.surgery.model_pass import Change, ModelPass, Outcome, Refusal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

MAX_SWEEPS = 100
_UNKNOWN_ATTRIBUTES = (
    ir.AttributeType.GRAPHS,
    ir.AttributeType.TENSORS,
    ir.AttributeType.TYPE_PROTO,
    ir.AttributeType.TYPE_PROTOS,
    ir.AttributeType.SPARSE_TENSOR,
    ir.AttributeType.SPARSE_TENSORS,
)
"""What onnx-graphsurgeon leaves out with no more than a line on stdout."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A place where the pass applies.

    Attributes:
        node: the node to edit.
        what: the change in one line.
    """

    node: "gs.Node"
    what: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A place that looks right but where the pass does not apply.

    Attributes:
        node: the candidate.
        why: the reason, a clause without a full stop.
    """

    node: "gs.Node"
    why: str


class GraphSurgeonPass(ModelPass, ABC):
    """A pass whose author thinks in ``onnx_graphsurgeon``.

    ``find`` says where, ``edit`` says how, for one graph at a time: the main graph, every subgraph
    and every function. Nodes that lost their use are cleaned up and the graph is sorted afterwards,
    so that ``edit`` may simply disconnect what it replaces and append what it adds. Sweeps go on
    until ``find`` finds nothing.

    Attributes:
        operators: what ``find`` looks for, in the standard domain. A model without any of them is not
            converted, which would bring all its weights into memory. Empty converts every model.
    """

    operators: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def find(self, graph: "gs.Graph") -> Iterator[Found | Refused]:
        """Yield every place of one graph that matches or nearly does; changes nothing."""

    @abstractmethod
    def edit(self, graph: "gs.Graph", node: "gs.Node") -> None:
        """Apply the change at one node that ``find`` yielded as ``Found``."""

    def run(self, model: ir.Model) -> Outcome:
        """Convert, sweep, and convert back; see ``ModelPass.run``.

        Raises:
            PreconditionError: the model holds something that onnx-graphsurgeon would drop.
            VerificationError: ``edit`` leaves what ``find`` looks for.
        """
        if self.operators and next(nodes_of(model, *self.operators), None) is None:
            return Outcome(model=model, changes=())
        import onnx_graphsurgeon as gs
        from onnx_graphsurgeon.logger import G_LOGGER

        _refuse_what_would_be_lost(model)
        with G_LOGGER.suppress(severity=G_LOGGER.CRITICAL + 1):  # it prints to stdout
            try:
                graph = gs.import_onnx(to_proto(model))
                changes, refusals = self._sweep(graph)
                if not changes:
                    return Outcome(model=model, changes=(), refusals=tuple(refusals))
                result = from_proto(gs.export_onnx(graph))
            except gs.OnnxGraphSurgeonException as error:
                raise PreconditionError(
                    f"{self.name}: onnx-graphsurgeon refuses the model: {error}"
                ) from error
        _restore(model, result)
        return Outcome(model=result, changes=tuple(changes), refusals=tuple(refusals))

    def look(self, model: ir.Model) -> Outcome:
        """Return what ``find`` yields in a model, without calling ``edit``; the model stays as it is.

        Raises:
            PreconditionError: as ``run``.
        """
        import onnx_graphsurgeon as gs
        from onnx_graphsurgeon.logger import G_LOGGER

        _refuse_what_would_be_lost(model)
        with G_LOGGER.suppress(severity=G_LOGGER.CRITICAL + 1):
            try:
                root = gs.import_onnx(to_proto(model))
            except gs.OnnxGraphSurgeonException as error:
                raise PreconditionError(
                    f"{self.name}: onnx-graphsurgeon refuses the model: {error}"
                ) from error
            places = [place for graph in _graphs(root) for place in self.find(graph)]
        changes = [
            Change(node=_label(place.node), op_type=place.node.op, what=place.what)
            for place in places
            if isinstance(place, Found)
        ]
        return Outcome(model=model, changes=tuple(changes), refusals=tuple(_refusals(places)))

    def _sweep(self, root: "gs.Graph") -> tuple[list[Change], list[Refusal]]:
        changes: list[Change] = []
        for _ in range(MAX_SWEEPS):
            places = [(graph, place) for graph in _graphs(root) for place in self.find(graph)]
            sites = [(graph, place) for graph, place in places if isinstance(place, Found)]
            if not sites:
                return changes, _refusals([place for _, place in places])
            for graph, place in sites:
                if place.node.outputs:  # else an earlier edit of this sweep disconnected it
                    changes.append(Change(node=_label(place.node), op_type=place.node.op, what=place.what))
                    self.edit(graph, place.node)
            # Its toposort() is not stable, and recurses for ever on some subgraphs: the engine sorts.
            root.cleanup()
        node = sites[0][1].node
        raise VerificationError(
            f"{self.name} still finds {len(sites)} places after {MAX_SWEEPS} sweeps, the first at "
            f"{_label(node)}; its edit() must remove what find() looks for"
        )


def _graphs(root: "gs.Graph") -> Iterator["gs.Graph"]:
    for graph in (root, *root.functions):
        yield graph
        yield from graph.subgraphs(recursive=True)


def _refusals(places: list[Found | Refused]) -> list[Refusal]:
    return [
        Refusal(node=_label(place.node), op_type=place.node.op, why=place.why)
        for place in places
        if isinstance(place, Refused)
    ]


def _label(node: "gs.Node") -> str:
    name = node.name or next((tensor.name for tensor in node.outputs), "")
    return str(name)


def _refuse_what_would_be_lost(model: ir.Model) -> None:
    for graph in all_graphs(model):
        for node in graph:
            if node.overload:
                raise PreconditionError(
                    f"node {node.name} calls an overloaded function; onnx-graphsurgeon cannot hold that"
                )
            for attr in node.attributes.values():
                if attr.type in _UNKNOWN_ATTRIBUTES:
                    raise PreconditionError(
                        f"node {node.name} ({node.op_type}) has attribute {attr.name} of type "
                        f"{attr.type.name}; onnx-graphsurgeon cannot hold that, write a GraphPass instead"
                    )

    for value in _values(model):
        if value.meta.get("quant_parameter_tensor_names"):  # where onnx-ir keeps it
            raise PreconditionError(
                f"{value.name} has a quantization annotation; onnx-graphsurgeon cannot hold that, "
                "write a GraphPass instead"
            )


def _restore(old: ir.Model, new: ir.Model) -> None:
    """Give the model back what is not part of a graphsurgeon graph; nodes follow in the engine."""
    new.metadata_props.update(old.metadata_props)
    new.graph.metadata_props.update(old.graph.metadata_props)
    new.doc_string, new.domain, new.model_version = old.doc_string, old.domain, old.model_version
    for key, function in old.functions.items():
        if key in new.functions:
            new.functions[key].metadata_props.update(function.metadata_props)
    kept = {value.name: value.metadata_props for value in _values(old) if value.metadata_props}
    for value in _values(new):
        value.metadata_props.update(kept.get(value.name, {}))


def _values(model: ir.Model) -> Iterator[Any]:
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs
