"""The pass ``static_shapes``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import PreconditionError, UsageError
from graphopt.surgery.folding.constant_folding import FoldSite
from graphopt.surgery.graph_edits import add_constant, remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import label, shape_text
from graphopt.surgery.shapes.dynamic_causes import dynamic_causes
from graphopt.surgery.shapes.shape_analysis import analyse_sizes
from graphopt.surgery.shapes.shape_inference import Inferred, record_types

_LISTED = 10
"""Causes that an error message holds; reports hold all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _TypeSite(Site):
    """A graph input or output whose declared shape becomes exact."""

    types: Mapping[ir.Value, Inferred]


@dataclass(frozen=True, kw_only=True, eq=False)
class _ReshapeSite(Site):
    """A Reshape to computed sizes for which constants would do."""

    sizes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class StaticShapes(GraphPass):
    """Fix the input shapes and turn every computed shape into a constant.

    Why: compilers for devices allocate and tile at compile time; a shape computed at run time is
    refused or runs on the host.
    Before: ``x[N,C,H,W] -> Shape -> Gather -> Unsqueeze -> Concat -> Reshape(x, .)``.
    After: ``x[1,C,H,W] -> Reshape(x, constant)``; a size that stays open is 0 (as in ``x``) or -1 there.
    Seen in: deepmar_bs1, skip_decoder.
    Known as: simplify-first (1), shape-to-constant (S1).

    Attributes:
        shapes: input shapes such as ``1x3x224x224`` (one input) or ``a=1x3x224x224+b=1x5``;
            empty takes the file's.
        require_static: make it an error when a tensor stays dynamic.
        max_bytes: a computed tensor larger by more than this than what it replaces stays computed.
    """

    name: ClassVar[str] = "static_shapes"

    shapes: str = ""
    require_static: bool = False
    max_bytes: int = 1 << 20

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield inputs to fix, shape computations to fold, and what stays dynamic.

        Raises:
            UsageError: ``shapes`` names an unknown input, or contradicts a declared size.
            PreconditionError: the shapes contradict the graph; or, with ``require_static``, a
                tensor stays dynamic.
        """
        inputs = {value.name or "": shape for value, shape in self._new_shapes(model).items()}
        found = analyse_sizes(model, inputs=inputs, max_bytes=self.max_bytes)
        types, folder = found.types, found.folder
        yield from _type_sites(model, types)
        yield from folder.sites()
        for node, sizes in found.reshapes.items():
            if not folder.is_folded(node):
                yield _ReshapeSite(node=node, what=f"its sizes are {list(sizes)} for any input", sizes=sizes)
        for node, reason in folder.refused.items():
            yield Declined(node=node, why=reason)
        causes = dynamic_causes(model, types, folder.is_folded)
        if causes and self.require_static:
            listed = "; ".join(f"{label(cause.node)}: {cause.why}" for cause in causes[:_LISTED])
            more = f"; and {len(causes) - _LISTED} more" if len(causes) > _LISTED else ""
            raise PreconditionError(
                f"static_shapes: sizes stay open at {len(causes)} places: {listed}{more}; fix inputs with "
                "static_shapes:shapes=NAME=1x3x224x224, or replace what decides sizes at run time"
            )
        yield from (Declined(node=cause.node, why=cause.why) for cause in causes)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Fix a declared shape, or put a constant in the place of a shape computation."""
        if isinstance(site, FoldSite):
            site.apply(model)
        elif isinstance(site, _TypeSite):
            record_types(site.types)
        elif isinstance(site, _ReshapeSite):
            computed = site.node.inputs[1]
            stem = f"{site.node.outputs[0].name}.sizes"
            constant = add_constant(model, site.node, np.array(site.sizes, np.int64), stem)
            site.node.replace_input_with(1, constant)
            remove_unread(model, [value for value in (computed,) if value is not None])

    def _new_shapes(self, model: ir.Model) -> dict[ir.Value, tuple[int, ...]]:
        inputs = [value for value in model.graph.inputs if not value.is_initializer()]
        given = parse_shapes(self.shapes, [value.name or "" for value in inputs])
        found = {value: given[value.name or ""] for value in inputs if (value.name or "") in given}
        for value, shape in found.items():
            if value.shape is not None and not _fits(value.shape, shape):
                raise UsageError(
                    f"static_shapes: input {value.name} is {shape_text(value.shape)}, not {list(shape)}; "
                    "export the model again for another size (set_batch changes the batch)"
                )
        return found


def parse_shapes(text: str, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Read ``a=1x3x224x224;b=1x5`` (or with ``+``); a single input needs no name.

    Raises:
        UsageError: an unknown input, a missing name, or sizes that are no positive numbers.
    """
    found: dict[str, tuple[int, ...]] = {}
    for part in (item.strip() for item in text.replace("+", ";").split(";") if item.strip()):
        name, _, sizes = part.rpartition("=")
        if not name and len(names) != 1:
            listed = ", ".join(names)
            raise UsageError(f"static_shapes: {part!r} needs an input name: NAME={part}; inputs: {listed}")
        name = name or names[0]
        if name not in names:
            raise UsageError(f"static_shapes: the model has no input {name!r}; {did_you_mean(name, names)}")
        words = sizes.split("x")
        if not all(word.isdecimal() and int(word) > 0 for word in words):
            raise UsageError(f"static_shapes: {sizes!r} is no shape; write sizes like 1x3x224x224")
        found[name] = tuple(int(word) for word in words)
    return found


def _fits(declared: ir.Shape, shape: tuple[int, ...]) -> bool:
    if len(declared) != len(shape):
        return False
    return all(not isinstance(old, int) or old == new for old, new in zip(declared, shape, strict=True))


def _type_sites(model: ir.Model, types: Mapping[ir.Value, Inferred]) -> Iterator[_TypeSite]:
    interface = [value for value in (*model.graph.inputs, *model.graph.outputs) if not value.is_initializer()]
    for value in interface:
        found = types[value]
        if found.static is None or (value.shape is not None and list(value.shape) == list(found.static)):
            continue
        anchor = value.producer() or next((user for user, _ in value.uses()), None)
        if anchor is not None:
            what = f"{value.name} is {found.text} (declared {shape_text(value.shape)})"
            yield _TypeSite(node=anchor, what=what, types=types)
