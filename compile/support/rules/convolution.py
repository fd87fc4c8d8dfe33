"""Convolutions, transposed ones, and what folds columns."""

from collections.abc import Iterator

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_MOST = {"kernel": 255, "stride": 63, "dilation": 255, "pad": 255}
_WIDEST = 4096


def window_is_in_range(place: Place) -> Iterator[Finding]:
    """Sizes of a convolution's window that the documents allow."""
    weights = place.shape(1)
    kernel = place.integers("kernel_shape") or tuple(n for n in (weights or ())[2:] if isinstance(n, int))
    sizes = {
        "kernel": kernel,
        "stride": place.integers("strides"),
        "dilation": place.integers("dilations"),
        "pad": place.integers("pads"),
    }
    for what, values in sizes.items():
        if values and max(values) > _MOST[what]:
            yield unsupported(
                f"conv_{what}", f"{what} {max(values)} is above {_MOST[what]}, the most along an axis", "DOC"
            )
    if any(value < 0 for value in sizes["pad"]):
        yield unsupported("conv_pad", "a pad is negative; the documents allow 0 to 255", "DOC")


def width_is_in_range(place: Place) -> Iterator[Finding]:
    """Rows are at most 4096 wide."""
    shape = place.shape(0)
    width = shape[-1] if shape is not None and len(shape) > 2 else None
    if isinstance(width, int) and width > _WIDEST:
        yield restricted("conv_width", f"input width {width} is above {_WIDEST}", "DOC")


def volumes_are_padded_explicitly(place: Place) -> Iterator[Finding]:
    """3-D convolutions know auto_pad NOTSET and VALID."""
    auto_pad = place.text("auto_pad", "NOTSET")
    if place.rank() == 5 and auto_pad not in ("NOTSET", "VALID"):
        yield unsupported("conv_auto_pad", f"auto_pad {auto_pad} of a 3-D convolution", "DOC")


def transposed_is_known(place: Place) -> Iterator[Finding]:
    """Transposed convolutions: 2-D and 3-D, the kernel's shape written."""
    if not place.has("kernel_shape"):
        yield unsupported("kernel_shape", "the attribute kernel_shape is not written", "OPS")
    if place.rank() not in (None, 4, 5):
        yield unsupported("deconv_rank", f"input of rank {place.rank()}; only 4 and 5 are taken", "OPS")
    if place.aim.is_50:
        if any(size != 1 for size in place.integers("dilations")):
            yield unsupported("deconv_dilation", "dilations other than 1", "DOC5")
        if place.text("auto_pad", "NOTSET").startswith("SAME"):
            yield unsupported("deconv_auto_pad", f"auto_pad {place.text('auto_pad')}", "DOC5")


def columns_are_2d(place: Place) -> Iterator[Finding]:
    """Col2Im knows two spatial axes."""
    for name in ("dilations", "pads", "strides"):
        values = place.integers(name)
        if values and len(values) != (4 if name == "pads" else 2):
            yield unsupported("col2im_rank", f"{name} has {len(values)} values; only 2-D is taken", "OPS")


RULES: Rules = {
    "Conv": (window_is_in_range, width_is_in_range, volumes_are_padded_explicitly),
    "ConvTranspose": (window_is_in_range, transposed_is_known),
    "Col2Im": (columns_are_2d,),
}
