"""Passes that work on a whole model at once: simplifiers, converters, adapters of other libraries."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.graph_pass import Pass


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change that was made.

    Attributes:
        node: name of the node it is anchored at (of its first output, when the node has no name).
        op_type: of that node; empty for a change of the whole model.
        what: the change in one line.
    """

    node: str
    op_type: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One place that looked right but was left alone.

    Attributes:
        node: as in ``Change``.
        op_type: as in ``Change``.
        why: the reason, a clause without a full stop.
    """

    node: str
    op_type: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a pass over a whole model returns.

    Attributes:
        model: the result; may be the same object, changed in place.
        changes: empty when nothing changed.
        refusals: places that were left alone, and why.
    """

    model: ir.Model
    changes: tuple[Change, ...]
    refusals: tuple[Refusal, ...] = ()


class ModelPass(Pass, ABC):
    """A pass over a whole model; the engine runs it once, not to a fixed point."""

    @abstractmethod
    def run(self, model: ir.Model) -> Outcome:
        """Rewrite the model.

        Nodes whose outputs keep their names keep their lineage, also when the model is rebuilt.

        Raises:
            PreconditionError: the model does not meet what the pass needs.
            MissingBackendError: a library is not installed.
        """
