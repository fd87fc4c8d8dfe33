"""Pads."""

from collections.abc import Iterator

import numpy as np

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_MODES = ("constant", "reflect", "edge")


def mode_is_known(place: Place) -> Iterator[Finding]:
    """Constant, reflected and repeated borders."""
    mode = place.text("mode", "constant")
    if mode not in _MODES:
        yield unsupported("pad_mode", f"mode {mode}; {', '.join(_MODES)} are taken", "OPS")
    elif mode != "constant":
        yield restricted(
            "pad_mode_slow", f"mode {mode}: slow, and unknown to the kernels of 2022", "MSIT C22"
        )


def filling_is_zero(place: Place) -> Iterator[Finding]:
    """Documents promise zeros only; newer kernels take the number."""
    if place.text("mode", "constant") != "constant":
        return
    filling = place.array(2) if place.opset >= 11 else np.array(place.number("value", 0.0))
    if filling is not None and filling.size and np.any(filling != 0):
        number = float(filling.ravel()[0])
        yield restricted("pad_value", f"it fills with {number:g}; documents promise 0 only", "DOC C22")
    elif place.opset >= 11 and place.is_computed(2):
        yield restricted("pad_value", "what it fills with is computed; documents promise 0 only", "DOC C22")


def pads_are_constant(place: Place) -> Iterator[Finding]:
    """The widths are constants, for all axes."""
    if place.opset >= 11 and place.is_computed(1):
        yield restricted("computed_size", "its size is computed in the graph; it should be constant", "DOC")
    if place.opset >= 18 and place.value(3) is not None:
        yield unsupported("pad_axes", "its input axes is not read: it pads other axes", "OPS")


RULES: Rules = {"Pad": (mode_is_known, filling_is_zero, pads_are_constant)}
