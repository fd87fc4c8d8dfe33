"""The pass ``reflection_pad``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import nodes_of
from graphopt.surgery.semantics.windows import pad_mode_of, pads_of
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True)
class _Border:
    """Padding along one axis; ``size`` is the axis's, None where it is not known."""

    axis: int
    begin: int
    end: int
    size: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Padding(Site):
    """A ``Pad`` and what it adds, axis by axis."""

    mode: str
    borders: tuple[_Border, ...]


@dataclass(frozen=True, kw_only=True)
class ReflectionPad(GraphPass):
    """Replace padding by reflected or repeated borders with slices that are joined.

    Why: many targets pad with zeros only, or do other padding slowly or on a CPU.
    Before: ``x -> Pad(mode=reflect)``, or ``edge``, or ``wrap``.
    After: for each axis ``Concat(Slice(x), ..., x, Slice(x), ...)``; wide borders by one ``Gather``
    with constant indices.
    Seen in: style_net, spectrogram_net.
    Known as: reflect-Pad replacement of the MSIT rules.

    Attributes:
        max_slices: the most slices for an axis; beyond it a Gather is used.
    """

    name: ClassVar[str] = "reflection_pad"
    max_slices: int = 8

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``Pad`` that does not pad with a constant; see ``GraphPass.sites``."""
        found = [node for node in nodes_of(model, "Pad") if _is_other_mode(node)]
        types = infer_types(model) if found else {}
        for node in found:
            borders = self._borders(model, node, types)
            if isinstance(borders, str):
                yield Declined(node=node, why=borders)
            else:
                where = ", ".join(f"axis {item.axis} by {item.begin} and {item.end}" for item in borders)
                what = f"{pad_mode_of(node)} of {where}"
                yield _Padding(node=node, what=what, mode=pad_mode_of(node), borders=borders)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Add the borders, one axis after the other."""
        value = site.node.inputs[0]
        if not isinstance(site, _Padding) or site.node.graph is None or value is None:
            return
        new = VersionedBuilder(model, site.node)
        for border in site.borders:
            if self._needs_gather(border, site.mode):
                value = _gathered(new, value, border)
            else:
                value = _joined(new, value, border, site.mode)
        new.replace(value)

    def _needs_gather(self, border: _Border, mode: str) -> bool:
        return mode == "reflect" and border.begin + border.end > self.max_slices

    def _borders(
        self, model: ir.Model, node: ir.Node, types: Mapping[ir.Value, Inferred]
    ) -> tuple[_Border, ...] | str:
        known = types.get(node.inputs[0]) if node.inputs[0] is not None else None
        shape = None if known is None else known.shape
        pads = pads_of(model, node, None if shape is None else len(shape))
        if pads is None:
            return "pads are computed at run time, or name axes of an input of unknown rank"
        if min(pads) < 0:
            return f"pads are {pads}: negative ones cut off"
        if not any(pads):
            return "pads are all zero; remove_pad takes it away"
        rank, borders = len(pads) // 2, []
        for axis in range(rank):
            begin, end = pads[axis], pads[axis + rank]
            size = shape[axis] if shape is not None else None
            known_size = size if isinstance(size, int) else None
            border = _Border(axis=axis, begin=begin, end=end, size=known_size)
            if begin or end:
                reason = self._why_not(border, pad_mode_of(node))
                if reason is not None:
                    return reason
                borders.append(border)
        return tuple(borders)

    def _why_not(self, border: _Border, mode: str) -> str | None:
        most, size = max(border.begin, border.end), border.size
        if size is None:
            if mode == "edge":
                return None
            if self._needs_gather(border, mode) or mode == "wrap":
                return f"the size of axis {border.axis} is not known; run static_shapes first"
            return None
        limit = {"edge": most, "wrap": size}.get(mode, size - 1)
        if most > limit or size == 0:
            return f"it pads axis {border.axis} by {most}, and there are only {size} elements"
        return None


def _is_other_mode(node: ir.Node) -> bool:
    attribute = node.attributes.get("mode")
    return (
        attribute is not None and not attribute.is_ref() and pad_mode_of(node) in ("reflect", "edge", "wrap")
    )


def _joined(new: VersionedBuilder, value: ir.Value, border: _Border, mode: str) -> ir.Value:
    if mode == "edge":
        first = [_piece(new, value, border.axis, 0, 1)] * border.begin if border.begin else []
        last = [_piece(new, value, border.axis, -1, None)] * border.end if border.end else []
    elif mode == "wrap":
        first = [_piece(new, value, border.axis, -border.begin, None)] if border.begin else []
        last = [_piece(new, value, border.axis, 0, border.end)] if border.end else []
    else:
        first = [_piece(new, value, border.axis, at, at + 1) for at in range(border.begin, 0, -1)]
        last = [_piece(new, value, border.axis, -at - 1, -at) for at in range(1, border.end + 1)]
    joined = new.op("Concat", *first, value, *last, attributes={"axis": border.axis})
    joined.type = value.type
    return joined


def _piece(new: VersionedBuilder, value: ir.Value, axis: int, start: int, end: int | None) -> ir.Value:
    return new.slice(value, axes=[axis], starts=[start], ends=[2**31 - 1 if end is None else end])


def _gathered(new: VersionedBuilder, value: ir.Value, border: _Border) -> ir.Value:
    indices = np.pad(np.arange(border.size or 0), (border.begin, border.end), mode="reflect")
    picked = new.op(
        "Gather", value, new.integers(indices.tolist(), "indices"), attributes={"axis": border.axis}
    )
    picked.type = value.type
    return picked
