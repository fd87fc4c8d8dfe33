"""Pools."""

from collections.abc import Iterator
from math import prod

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_MOST_AREA = 256
_MOST_SIDE = 255
_MOST_STRIDE = 63
_WIDEST = 4096


def window_fits_the_core(place: Place) -> Iterator[Finding]:
    """Larger windows run on the CPU of the chip."""
    kernel, strides = place.integers("kernel_shape"), place.integers("strides")
    why = ""
    if kernel and max(kernel) > _MOST_SIDE:
        why = f"kernel {max(kernel)} is above {_MOST_SIDE}"
    elif kernel and prod(kernel[-2:]) > _MOST_AREA:
        why = f"kernel {'x'.join(map(str, kernel))} covers more than {_MOST_AREA} elements"
    elif strides and max(strides) > _MOST_STRIDE:
        why = f"stride {max(strides)} is above {_MOST_STRIDE}"
    if why:
        yield restricted("pool_window", f"{why}: runs on the chip's CPU", "DOC")


def width_is_in_range(place: Place) -> Iterator[Finding]:
    """Rows are at most 4096 wide."""
    shape = place.shape(0)
    width = shape[-1] if shape is not None and len(shape) > 2 else None
    if isinstance(width, int) and width > _WIDEST:
        yield restricted("pool_width", f"input width {width} is above {_WIDEST}", "DOC")


def rank_is_known(place: Place) -> Iterator[Finding]:
    """Pools have one to three spatial axes."""
    rank = place.rank()
    if rank is not None and rank not in (3, 4, 5):
        yield unsupported("pool_rank", f"input of rank {rank}; 1-D, 2-D and 3-D pools are taken", "DOC")


def padding_is_explicit(place: Place) -> Iterator[Finding]:
    """SAME_LOWER pads like SAME_UPPER; ceil_mode wants written pads."""
    auto_pad = place.text("auto_pad", "NOTSET")
    if auto_pad == "SAME_LOWER":
        yield restricted(
            "same_lower",
            "auto_pad SAME_LOWER is read as SAME_UPPER: an odd pad goes to the other side",
            "OPS",
        )
    refused = auto_pad != "NOTSET" if place.op == "AveragePool" else auto_pad == "VALID"
    if place.integer("ceil_mode", 0) and refused:
        yield restricted("ceil_auto_pad", f"ceil_mode with auto_pad {auto_pad}", "DOC")


def maxima_only(place: Place) -> Iterator[Finding]:
    """MaxPool gives no indices, knows row-major order and no dilated 2-D windows."""
    if place.has_output(1):
        yield unsupported("pool_indices", "its second output, Indices, is read", "OPS C22")
    if place.integer("storage_order", 0):
        yield unsupported("pool_storage_order", "storage_order 1", "OPS")
    dilations = place.integers("dilations")
    if len(dilations) == 2 and max(dilations) > 1:
        yield unsupported("pool_dilations", f"dilations {'x'.join(map(str, dilations))} of a 2-D pool", "DOC")


def nothing_is_ignored(place: Place) -> Iterator[Finding]:
    """LpPool takes ceil_mode and dilations without heeding them."""
    if place.integer("ceil_mode", 0):
        yield unsupported("ignored", "ceil_mode is ignored, so the result differs", "OPS")
    if any(size > 1 for size in place.integers("dilations")):
        yield unsupported("ignored", "dilations are ignored, so the result differs", "OPS")
    if place.text("auto_pad", "NOTSET") == "SAME_LOWER":
        yield unsupported("lp_auto_pad", "auto_pad SAME_LOWER", "DOC")


_COMMON = (window_fits_the_core, width_is_in_range, rank_is_known, padding_is_explicit)

RULES: Rules = {
    "AveragePool": _COMMON,
    "MaxPool": (*_COMMON, maxima_only),
    "LpPool": (nothing_is_ignored,),
}
