"""The pass ``pad_into_conv``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_dead
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    has_attribute_references,
    is_op,
    label,
    nodes_of,
    opset_of,
)
from graphopt.surgery.semantics.windows import (
    Window,
    pad_mode_of,
    pad_value_of,
    pads_of,
    set_window,
    window_of,
)
from graphopt.surgery.values.value_signs import is_non_negative

_READERS = ("Conv", "MaxPool", "AveragePool", "LpPool")
_FLOAT32_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Absorbed(Site):
    """A ``Pad`` and the window that each of its readers has when it pads by itself."""

    readers: tuple[tuple[ir.Node, Window], ...]


@dataclass(frozen=True, kw_only=True)
class PadIntoConv(GraphPass):
    """Move constant padding into the padding of the convolution or pool behind it.

    Why: a Pad copies the whole tensor; a convolution pads for nothing.
    Before: ``x -> Pad(zeros) -> Conv(pads p)``, ``AveragePool`` or ``LpPool``; ``-> MaxPool`` where it
    pads with minus infinity, or with zero what is proven not to be negative.
    After: ``x -> Conv(pads p + q)``, ``AveragePool(count_include_pad)``, ``LpPool``, ``MaxPool``.
    Seen in: efficient_neck.
    Known as: pad-fold (24).
    """

    name: ClassVar[str] = "pad_into_conv"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``Pad`` with such a reader; see ``GraphPass.sites``."""
        for node in nodes_of(model, "Pad"):
            readers = list(dict.fromkeys(user for user, _ in node.outputs[0].uses()))
            if not any(is_op(user, *_READERS) for user in readers):
                continue
            found = _absorbed(model, node, readers)
            if isinstance(found, str):
                yield Declined(node=node, why=found)
            else:
                what = f"padded by {', '.join(label(reader) for reader in readers)}"
                yield _Absorbed(node=node, what=what, readers=found)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Let the readers read the unpadded tensor and pad it themselves."""
        if not isinstance(site, _Absorbed) or site.node.graph is None:
            return
        for reader, window in site.readers:
            reader.replace_input_with(0, site.node.inputs[0])
            set_window(reader, window)
            if reader.op_type == "AveragePool":
                reader.attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
        remove_dead(model, [site.node])


def _absorbed(
    model: ir.Model, node: ir.Node, readers: list[ir.Node]
) -> tuple[tuple[ir.Node, Window], ...] | str:
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    if pad_mode_of(node) != "constant":
        return f"it pads in mode {pad_mode_of(node)}"
    if node.outputs[0].is_graph_output():
        return f"{node.outputs[0].name} is a graph output"
    value = pad_value_of(model, node)
    if value is None:
        return "the value it pads with is computed at run time"
    found = []
    for reader in readers:
        result = _window_with(model, node, reader, value)
        if isinstance(result, str):
            return result
        found.append((reader, result))
    return tuple(found)


def _window_with(model: ir.Model, node: ir.Node, reader: ir.Node, value: float) -> Window | str:
    """Return the window of ``reader`` when it takes over the padding, or why it cannot."""
    if not is_op(reader, *_READERS) or reader.inputs[0] is not node.outputs[0]:
        return f"{node.outputs[0].name} is also read by {label(reader)}"
    window = window_of(reader)
    if isinstance(window, str):
        return f"{label(reader)}: {window}"
    rank = window.rank + 2
    pads = pads_of(model, node, rank)
    if pads is None:
        return "pads are computed at run time"
    if min(pads) < 0:
        return f"pads are {pads}: negative ones cut off"
    if not any(pads):
        return "pads are all zero; remove_pad takes it away"
    if any(pads[:2]) or any(pads[rank : rank + 2]):
        return f"pads are {pads}: batch or channels are padded too"
    begins = [own + more for own, more in zip(window.begins, pads[2:rank], strict=True)]
    ends = [own + more for own, more in zip(window.ends, pads[rank + 2 :], strict=True)]
    joined = window.padded(begins, ends)
    if reader.op_type == "Conv":
        return joined if value == 0 else f"it pads with {value:g}; {label(reader)} pads with 0"
    return _why_no_pool(model, node, reader, window, joined, value) or joined


def _why_no_pool(
    model: ir.Model, node: ir.Node, reader: ir.Node, window: Window, joined: Window, value: float
) -> str | None:
    if window.ceil_mode:
        return f"{label(reader)} rounds its output size up, which counts padding of its own differently"
    if any(max(pads) >= taps for *pads, taps in zip(joined.begins, joined.ends, window.kernel, strict=True)):
        return f"{label(reader)} cannot pad by its kernel {list(window.kernel)} or more"
    if reader.op_type == "MaxPool":
        return _why_no_max_pool(model, node, reader, window, value)
    if value != 0:
        return f"it pads with {value:g}; {label(reader)} pads with 0"
    if reader.op_type == "AveragePool":
        if opset_of(model, reader) < 7:
            return "before opset 7 AveragePool cannot count its padding"
        if window.is_padded and not attribute_int(reader, "count_include_pad", 0):
            return f"{label(reader)} pads too, and does not count what it pads"
    return None


def _why_no_max_pool(
    model: ir.Model, node: ir.Node, reader: ir.Node, window: Window, value: float
) -> str | None:
    if len(reader.outputs) > 1 and (reader.outputs[1].uses() or reader.outputs[1].is_graph_output()):
        return f"{label(reader)} also gives indices, which count the padding"
    if set(window.dilations) != {1}:
        return f"{label(reader)} is dilated: some of its windows may hold nothing but padding"
    if value <= _FLOAT32_LOWEST:
        return None
    if value != 0:
        return f"it pads with {value:g}, which may win in {label(reader)}"
    if window.is_padded:
        return f"{label(reader)} pads too, with minus infinity"
    if not is_non_negative(model, node.inputs[0]):
        return f"it pads with 0, which wins over negative values in {label(reader)}"
    return None
