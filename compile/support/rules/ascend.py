"""Ascend's own operators: on which chips their kernels were listed."""

from collections.abc import Iterator

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted

_HALF_NMS = ("310", "310P", "310B", "910", "910B")
_EXTRACTOR = ("310", "310P", "310B")
_ON_CORE_CHANNELS = 8


def suppression_in_half(place: Place) -> Iterator[Finding]:
    """The kernels of 2022 suppress in half precision."""
    kind = place.dtype(0)
    if kind is not None and kind.short_name() == "f32" and place.aim.family in _HALF_NMS:
        yield restricted(
            "nms_float32",
            "its boxes are float32; the kernels of 2022 take float16 only, so ATC rounds them",
            "C22",
        )


def extractor_has_a_kernel(place: Place) -> Iterator[Finding]:
    """In 2022 RoiExtractor was listed for the inference chips."""
    if place.aim.family not in _EXTRACTOR:
        yield restricted("roi_chip", f"no kernel was listed for {place.aim.family} in 2022", "C22")


def sampling_has_a_kernel(place: Place) -> Iterator[Finding]:
    """DeformableConv2D becomes DeformableOffsets, whose kernel has limits."""
    if place.aim.family == "310":
        yield restricted("dcn_chip", "no kernel was listed for Ascend310 in 2022: runs on its CPU", "C22")
        return
    groups, channels = place.integer("deformable_groups", 1), (place.shape(0) or (None, None))[1]
    if groups != 1:
        yield restricted("dcn_slow", f"deformable_groups {groups} ran on the chip's CPU in 2022", "C22")
    elif isinstance(channels, int) and channels % _ON_CORE_CHANNELS:
        yield restricted(
            "dcn_slow", f"{channels} channels, no multiple of 8: ran on the chip's CPU in 2022", "C22"
        )


RULES: Rules = {
    "BatchMultiClassNMS": (suppression_in_half,),
    "RoiExtractor": (extractor_has_a_kernel,),
    "DeformableConv2D": (sampling_has_a_kernel,),
}
