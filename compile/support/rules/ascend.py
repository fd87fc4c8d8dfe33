"""Ascend's own operators: on which chips their kernels were listed; other limits stand with the operator."""

from collections.abc import Iterator

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted

_EXTRACTOR = ("310", "310P", "310B")


def extractor_has_a_kernel(place: Place) -> Iterator[Finding]:
    """In 2022 RoiExtractor was listed for the inference chips."""
    if place.aim.family not in _EXTRACTOR:
        yield restricted("chip", f"no kernel was listed for {place.aim.family} in 2022", "C22")


def sampling_has_a_kernel(place: Place) -> Iterator[Finding]:
    """DeformableConv2D becomes DeformableOffsets, which the first Ascend310 has no kernel for."""
    if place.aim.family == "310":
        yield restricted("chip", "no kernel was listed for Ascend310 in 2022: the chip's CPU runs it", "C22")


RULES: Rules = {
    "RoiExtractor": (extractor_has_a_kernel,),
    "DeformableConv2D": (sampling_has_a_kernel,),
}
