"""The pass ``resize_mode``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir

from graphopt.core.comparison import Tolerance
from graphopt.surgery.graph_pass import Declined, Effect, GraphPass, Site
from graphopt.surgery.graph_queries import has_attribute_references, nodes_of, opset_of

_CUBIC_ONLY = ("cubic_coeff_a", "exclude_outside")


@dataclass(frozen=True, kw_only=True)
class ResizeMode(GraphPass):
    """Resize to the nearest element where the model interpolates; changes what the model computes.

    Why: cubic resizing is missing on many targets and linear resizing slow; where the maps are smooth
    or only the largest class counts, the nearest element may do. Measure the task's metric after it.
    Before: ``Resize(mode=linear)`` or ``cubic``.
    After: ``Resize(mode=nearest)`` at the same coordinates. Each element becomes one of those it was
    mixed from, so it moves by no more than these differ; how far the outputs move depends on the
    model, so nothing is promised for them: the proof refuses, with the measured error, a model that
    leaves the tolerance (``--verify off`` writes it all the same).
    Seen in: flat_upsampling.
    Known as: resize-to-nearest (8), KnowledgeResizeModeToNearest.

    Attributes:
        replace: modes to replace.
        rounding: how a place between two elements is rounded; Ascend knows ``round_prefer_ceil``.
    """

    name: ClassVar[str] = "resize_mode"
    effect: ClassVar[Effect] = Effect.APPROXIMATE
    bound: ClassVar[str] = (
        "each resized element moves by at most the spread of the elements it was mixed from; for the outputs "
        "there is no bound but the measured one, refused beyond 10 % of each element plus 1 % of the peak"
    )
    tolerance: ClassVar[Tolerance] = Tolerance(
        atol=0.0, rtol=0.1, peak=0.01, why="nearest, not interpolated: the most a tolerance may allow"
    )
    replace: Literal["linear", "cubic", "both"] = "both"
    rounding: Literal["round_prefer_ceil", "round_prefer_floor", "floor", "ceil"] = "round_prefer_ceil"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every interpolating ``Resize`` or ``Upsample``; see ``GraphPass.sites``."""
        for node in nodes_of(model, "Resize", "Upsample"):
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
                continue
            mode = node.attributes.get_string("mode", "nearest")
            if mode not in (("linear", "cubic") if self.replace == "both" else (self.replace,)):
                continue
            if node.attributes.get_int("antialias", 0):
                yield Declined(node=node, why="it smooths before it shrinks (antialias), nearest cannot")
            elif node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
                yield Declined(node=node, why="tf_crop_and_resize gives a constant outside, nearest may not")
            else:
                yield Site(node=node, what=f"{mode} -> nearest")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Change the mode; coordinates stay."""
        attributes = site.node.attributes
        attributes["mode"] = ir.AttrString("mode", "nearest")
        if opset_of(model, site.node) >= 11:
            attributes["nearest_mode"] = ir.AttrString("nearest_mode", self.rounding)
            for name in _CUBIC_ONLY:
                attributes.pop(name, None)
