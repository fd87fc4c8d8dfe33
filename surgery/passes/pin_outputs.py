"""The pass ``pin_outputs``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.words import counted
from graphopt.surgery.graph_edits import fresh_name, remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import graphs_of
from graphopt.surgery.lookup import find_tensors
from graphopt.surgery.shapes.shape_inference import infer_types, record_types

_PINNED = "graphopt.pinned_as"


@dataclass(frozen=True, kw_only=True)
class PinOutputs(GraphPass):
    """Make these tensors the outputs, in this order, and cut what is dead.

    Why: evaluation code binds outputs by name and order; a tail that only the training framework
    needs costs time on the device, and its post-processing is often done elsewhere.
    Before: outputs ``scores, boxes, aux``; ``names=boxes+Softmax_12:0``, ``rename=boxes+probabilities``.
    After: outputs ``boxes, probabilities``; the branch of ``aux`` is gone.
    Seen in: skip_decoder.
    Known as: drop-or-expose-outputs (34), cut-preprocess-tail (35).

    Attributes:
        names: tensors, each by its name, as ``NODE:INDEX`` (``Concat_1487:0``), or, where sidecar, recipe
            or ``--as`` tell the roles, by role (``dets``).
        rename: new names of the same tensors, one each; empty keeps the names.
    """

    name: ClassVar[str] = "pin_outputs"

    names: tuple[str, ...]
    rename: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError("pin_outputs needs names: pin_outputs:names=TENSOR+TENSOR")
        if self.rename and len(self.rename) != len(self.names):
            raise UsageError(
                f"pin_outputs: {counted(len(self.rename), 'new name')} for "
                f"{counted(len(self.names), 'output')}; give one each"
            )
        for listed in (self.names, self.rename):
            if len(set(listed)) != len(listed):
                raise UsageError(f"pin_outputs: a name is given twice: {', '.join(listed)}")

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield one site unless the outputs are as wanted.

        Raises:
            UsageError: a name is unknown, or a new name is taken by an input.
            PreconditionError: the dtype of a chosen tensor cannot be inferred.
        """
        if self._is_done(model):
            return
        chosen = self._chosen(model)
        final = self._final_names(chosen)
        if chosen == list(model.graph.outputs) and final == [value.name for value in chosen]:
            return
        self._check_new_names(model, chosen, final)
        _check_types(model, chosen)
        anchor = next((node for value in chosen if (node := value.producer()) is not None), model.graph[0])
        before = ", ".join(value.name or "" for value in model.graph.outputs)
        yield Site(node=anchor, what=f"outputs {before} become {', '.join(final)}")

    def rewrite(self, model: ir.Model, site: Site) -> None:  # noqa: ARG002
        """Set, rename and reorder the outputs, then remove what none of them needs."""
        chosen = self._chosen(model)
        types = infer_types(model)
        record_types({value: types[value] for value in chosen})
        dropped = [value for value in model.graph.outputs if value not in chosen]
        for value, name in zip(chosen, self.names, strict=True):
            value.meta[_PINNED] = name
        final = self._final_names(chosen)
        model.graph.outputs.clear()
        model.graph.outputs.extend(chosen)
        remove_unread(model, dropped)
        _rename(model, chosen, final)

    def output_names(self, model: ir.Model) -> Mapping[str, str] | None:
        """Map each output of the result to the same tensor's name now; see ``Pass.output_names``."""
        if self._is_done(model):
            return None
        chosen = self._chosen(model)
        return {new: value.name or "" for new, value in zip(self._final_names(chosen), chosen, strict=True)}

    def _is_done(self, model: ir.Model) -> bool:
        # The mark tells a finished swap of two names from one still to be made.
        if [value.meta.get(_PINNED) for value in model.graph.outputs] == list(self.names):
            return True
        if not self.rename or [value.name for value in model.graph.outputs] != list(self.rename):
            return False
        return not any(_is_known(model, name) for name in self.names)

    def _final_names(self, chosen: list[ir.Value]) -> list[str]:
        return list(self.rename) if self.rename else [value.name or "" for value in chosen]

    def _chosen(self, model: ir.Model) -> list[ir.Value]:
        try:
            chosen = find_tensors(model, self.names)
        except UsageError as error:
            raise UsageError(f"pin_outputs: {error}") from error
        for name, value in zip(self.names, chosen, strict=True):
            if value.producer() is None and not value.is_graph_output():
                raise UsageError(f"pin_outputs: {name!r} is an input or a constant, which no node makes")
        if len(set(chosen)) != len(chosen):
            raise UsageError(f"pin_outputs: two of {', '.join(self.names)} are the same tensor")
        return chosen

    def _check_new_names(self, model: ir.Model, chosen: list[ir.Value], final: list[str]) -> None:
        fixed = {value.name for value in (*model.graph.inputs, *model.graph.initializers.values())}
        for name, value in zip(final, chosen, strict=True):
            if name in fixed and value.name != name:
                raise UsageError(f"pin_outputs: the new name {name!r} is that of an input or initializer")


def _is_known(model: ir.Model, name: str) -> bool:
    try:
        return bool(find_tensors(model, [name]))
    except UsageError:
        return False


def _check_types(model: ir.Model, chosen: list[ir.Value]) -> None:
    types = infer_types(model)
    for value in chosen:
        if value.dtype is None and types[value].dtype is None:
            raise PreconditionError(
                f"pin_outputs: the dtype of {value.name} cannot be inferred, so it cannot be an output; "
                "choose a tensor that a standard operator makes"
            )


def _rename(model: ir.Model, chosen: list[ir.Value], final: list[str]) -> None:
    wanted, mine = set(final), set(chosen)
    for graph in graphs_of(model):
        made = (value for node in graph for value in node.outputs)
        for value in (*graph.inputs, *graph.initializers.values(), *made):
            if value.name in wanted and value not in mine:
                value.name = fresh_name(model, f"{value.name}_before")
    for value in chosen:
        value.name = None
    for value, name in zip(chosen, final, strict=True):
        value.name = name
