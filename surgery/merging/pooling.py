"""Max pools without overlap that bring a map to a smaller one's size: how they are made cheap."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_edits import add_constant, remove_unread
from graphopt.surgery.graph_queries import input_of, is_op, opset_of
from graphopt.surgery.merging.cells import is_pool_without_overlap
from graphopt.surgery.semantics.windows import Window, pad_mode_of, pad_value_of, set_window, window_of
from graphopt.surgery.shapes.known_sizes import KnownSizes
from graphopt.surgery.values.value_signs import is_non_negative

_FIRST_WITH_PADS_INPUT = 11


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """A ``MaxPool`` with another input or window.

    Attributes:
        node: the ``MaxPool``.
        source: what it reads then.
        window: what it has then.
        pads: constants for the ``Pad`` in front, which stays.
        what: the change in words.
    """

    node: ir.Node
    source: ir.Value
    window: Window
    pads: tuple[int, ...] | None = None
    what: str

    def apply(self, model: ir.Model) -> None:
        """Change the node; an earlier change of the sweep may have removed what it should read."""
        maker = self.source.producer()
        if self.node.graph is None or (maker is not None and maker.graph is None):
            return
        old = self.node.inputs[0]
        self.node.replace_input_with(0, self.source)
        set_window(self.node, self.window)
        if not self.window.ceil_mode:
            self.node.attributes.pop("ceil_mode", None)
        if self.pads is not None and maker is not None:
            computed = maker.inputs[1]
            stem = f"{self.source.name}.pads"
            maker.replace_input_with(1, add_constant(model, maker, np.array(self.pads, dtype=np.int64), stem))
            remove_unread(model, [value for value in (computed,) if value is not None])
        if old is not None and old is not self.source:
            remove_unread(model, [old])


def plan_pooling(model: ir.Model, node: ir.Node, sizes: KnownSizes) -> Pooling | str | None:
    """Say how a max pool without overlap gets cheaper; None when it cannot.

    Returns:
        The change, or why there is none (a clause).
    """
    source = node.inputs[0]
    spatial = sizes.spatial(source)
    if source is None or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "it also gives indices"
    window = window_of(node, spatial)
    if isinstance(window, str):
        return window
    plain = _without_needless(window, spatial)
    said = [] if plain == window and "auto_pad" not in node.attributes else ["plain attributes"]
    here = Pooling(node=node, source=source, window=plain, what="")
    maker = source.producer()
    if is_op(maker, "Pad") and maker is not None and not plain.is_padded:
        padded = _without_pad(model, here, maker, sizes)
        if isinstance(padded, str):
            return padded
        here, said = (padded, [*said, padded.what]) if padded is not None else (here, said)
    if not here.window.is_padded and not here.window.ceil_mode and here.pads is None:
        smaller = _smaller_pool(here)
        here, said = (smaller, [*said, smaller.what]) if smaller is not None else (here, said)
    return replace(here, what=", ".join(said)) if said else None


def _without_needless(window: Window, spatial: tuple[int, ...] | None) -> Window:
    """Drop ``ceil_mode`` where no partial window is left over."""
    if not window.ceil_mode or spatial is None:
        return window
    room = (size + begin + end for size, begin, end in zip(spatial, window.begins, window.ends, strict=True))
    whole = all(item % step == 0 for item, step in zip(room, window.strides, strict=True))
    return replace(window, ceil_mode=False) if whole else window


def _without_pad(model: ir.Model, here: Pooling, pad: ir.Node, sizes: KnownSizes) -> Pooling | str | None:
    """Read what the ``Pad`` reads, where its elements cannot win; else give it constant pads."""
    inner = pad.inputs[0]
    shape = sizes.shape(inner)
    if opset_of(model, pad) < _FIRST_WITH_PADS_INPUT or input_of(pad, 3) is not None:
        return None
    array = sizes.array(input_of(pad, 1))
    if array is None or inner is None or shape is None or array.size != 2 * len(shape):
        return f"the pads of {pad.name} in front of it are not known"
    pads = tuple(int(item) for item in array.ravel())
    if not any(pads):
        return replace(here, source=inner, what="a Pad by nothing goes")
    rank = len(shape)
    begins, ends = pads[2:rank], pads[rank + 2 :]
    others = (*pads[:2], *pads[rank : rank + 2])
    is_zero = pad_mode_of(pad) == "constant" and pad_value_of(model, pad) == 0.0
    taps = here.window.kernel * 2
    fits = all(0 <= amount < most for amount, most in zip((*begins, *ends), taps, strict=True))
    if is_zero and fits and not any(others) and is_non_negative(model, inner):
        window = here.window.padded(begins, ends)
        return replace(here, source=inner, window=window, what="the Pad of zeros is its own padding")
    if is_op(_maker(pad, 1), "Constant") or _maker(pad, 1) is None:
        return None
    return replace(here, pads=pads, what=f"constant pads {list(pads)} in front")


def _maker(node: ir.Node, index: int) -> ir.Node | None:
    value = input_of(node, index)
    return value.producer() if value is not None else None


def _smaller_pool(here: Pooling) -> Pooling | None:
    """Read the largest pool of the same map that was made before and of which this one is a pool."""
    if set(here.window.dilations) != {1}:
        return None
    best: tuple[Window, ir.Value] | None = None
    for other, window in _pools_before(here.node, here.source):
        divides = all(a % b == 0 for a, b in zip(here.window.kernel, window.kernel, strict=True))
        is_larger = best is None or best[0].kernel < window.kernel
        if divides and is_larger and window.kernel != here.window.kernel:
            best = (window, other.outputs[0])
    if best is None:
        return None
    rest = tuple(a // b for a, b in zip(here.window.kernel, best[0].kernel, strict=True))
    what = f"kernel {list(here.window.kernel)} -> {list(rest)} on the pool {best[1].name}"
    return replace(here, source=best[1], window=replace(here.window, kernel=rest, strides=rest), what=what)


def _pools_before(node: ir.Node, source: ir.Value) -> Iterator[tuple[ir.Node, Window]]:
    for other, _ in source.uses():
        if other is node or other.graph is not node.graph or not is_pool_without_overlap(other):
            continue
        window = window_of(other)
        if isinstance(window, str) or window.is_padded or window.ceil_mode or set(window.dilations) != {1}:
            continue
        if _comes_before(other, node):
            yield other, window


def _comes_before(first: ir.Node, second: ir.Node) -> bool:
    for node in first.graph or ():
        if node is first or node is second:
            return node is first
    return False
