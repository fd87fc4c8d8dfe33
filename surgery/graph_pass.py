"""What a pass is: where it applies, what it does there, and what it does to the numbers.

One public class per file of ``surgery/passes``; file, ``name`` and command-line word are the same.
Options are dataclass fields. The engine owns loops, reports, lineage and verification.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.core.comparison import FLOAT32_REORDERED, Tolerance
from graphopt.core.detections import Detections


class Effect(enum.Enum):
    """What a pass does to the numbers."""

    EXACT = "exact"
    """Equal up to the order of float sums; the engine measures the error."""
    APPROXIMATE = "approximate"
    """Changes numbers within ``GraphPass.bound``."""
    TARGET_ONLY = "target only"
    """Emits operators that only the target knows; their bodies run on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place where a pass applies.

    Attributes:
        node: the node the match is anchored at.
        what: the change in one line, for ``--dry-run`` and reports.
    """

    node: ir.Node
    what: str


@dataclass(frozen=True, kw_only=True)
class Declined:
    """A place that looks right but where a pass does not apply.

    Attributes:
        node: the candidate.
        why: the reason, a clause without a full stop.
    """

    node: ir.Node
    why: str


class Pass:
    """What every kind of pass tells the engine; derive from ``GraphPass`` or one of its siblings.

    Subclasses are frozen dataclasses whose docstring has one imperative line, then the words
    ``Why:``, ``Before:`` and ``After:``; options are documented under ``Attributes:``.
    """

    name: ClassVar[str]
    effect: ClassVar[Effect] = Effect.EXACT
    bound: ClassVar[str] = ""
    """For APPROXIMATE passes: the bound in words."""
    tolerance: ClassVar[Tolerance] = FLOAT32_REORDERED
    """How far outputs may move; APPROXIMATE passes state their own."""

    casts_outputs: ClassVar[bool] = False
    """Whether outputs may get another dtype; then their numbers are compared in the source's dtype."""

    def output_names(self, model: ir.Model) -> Mapping[str, str] | None:
        """Say which outputs the model has after this pass; asked before the pass changes it.

        A pass that renames, drops, reorders or adds outputs overrides this, so that the engine
        compares the right tensors and does not take a dropped output for a lost one.

        Args:
            model: as the pass will find it.

        Returns:
            Output name after the pass -> name of the same tensor before it (an output or an inner
            tensor). None, the default: the outputs keep their names and none is dropped.
        """
        del model
        return None

    def detections(self, model: ir.Model) -> Detections | None:
        """Say which outputs are detections, to be compared as sets; asked before the pass changes the model.

        A pass whose result may order or pad the rows otherwise overrides this. It counts only when the
        pass then changes something.

        Args:
            model: as the pass will find it.

        Returns:
            Names of its outputs, what cuts their rows off, and the tolerance. None, the default: outputs
            are compared number by number.
        """
        del model
        return None

    @property
    def rounds_reference(self) -> bool:
        """Whether ``mend_reference`` gives the reference a rounding of the result's own.

        Then the verdict does not show what that rounding costs, and the report says so, with figures for
        detections.
        """
        return False

    def mend_reference(self, model: ir.Model) -> Mapping[str, str]:
        """Let a copy compute what its network does where the exported operators are known not to.

        An exporter may have had no operator for what the network computes in rare cases. Where this pass
        puts such an operator in, its result is right and the source is not: so the source, and what
        earlier passes made of it, are mended before they are compared with it.

        Args:
            model: a copy that is only run; changed in place.

        Returns:
            Name of a new int64 tensor [1] that counts the cases -> a clause that names them. Nothing,
            the default: the source is the reference as it is.
        """
        del model
        return {}


class GraphPass(Pass, ABC):
    """A rewrite of single places in a model."""

    @abstractmethod
    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every place that matches or nearly does; changes nothing.

        Main graph, subgraphs and functions are visited.

        Raises:
            PreconditionError: the model does not meet what the pass needs (e.g. opset).
        """

    @abstractmethod
    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Apply the change at one site that ``sites`` yielded.

        An earlier rewrite of the same sweep may have consumed the site: then do nothing.
        """
