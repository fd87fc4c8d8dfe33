"""Pad, Resize, pools and regions: inputs that became optional, and forms that older versions lack."""

import numpy as np

from graphopt.core.tensors import Array
from graphopt.surgery.graph_queries import constant_of
from graphopt.surgery.opsets.place import Blocked, Place, Rewrite
from graphopt.surgery.versioned_builder import VersionedBuilder

_RESIZE_MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize")


def _pad(place: Place) -> Rewrite | None:
    node = place.node
    if place.crosses(19) and place.text("mode", "constant") == "wrap":
        raise Blocked(f"its mode is wrap, which opset {place.to} does not have")
    axes = place.ints(3, "axes") if place.crosses(18) else None
    if axes is None:
        return None
    rank, pads = place.rank(), place.ints(1, "pads") or []
    whole = [0] * (2 * rank)
    for index, axis in enumerate(axes):
        whole[axis % rank] = pads[index]
        whole[axis % rank + rank] = pads[index + len(axes)]

    def rewrite(new: VersionedBuilder) -> None:
        node.replace_input_with(1, new.constant(np.array(whole, dtype=np.int64), "pads"))
        node.resize_inputs(3 if place.input(2) is not None else 2)

    return rewrite


def _resize(place: Place) -> Rewrite | None:
    """Regions and scales are required before opset 13; axes, antialiasing and policies came with 18."""
    node = place.node
    if place.to < 11 or not (place.crosses(13) or place.crosses(18) or place.crosses(19)):
        return None
    for name, default in (("antialias", 0), ("keep_aspect_ratio_policy", "stretch")):
        given = node.attributes.get(name)
        if place.crosses(18) and given is not None and given.value != default:
            raise Blocked(f"{name} = {given.value} has no counterpart in opset {place.to}")
    mode = place.text("coordinate_transformation_mode", "half_pixel")
    if place.crosses(19) and mode not in _RESIZE_MODES:
        raise Blocked(f"coordinate_transformation_mode = {mode} has no counterpart in opset {place.to}")
    whole = _whole_sizes(place) if place.crosses(18) else {}

    def rewrite(new: VersionedBuilder) -> None:
        for name in ("antialias", "keep_aspect_ratio_policy", "axes"):
            node.attributes.pop(name, None)
        for index, values in whole.items():
            node.replace_input_with(index, new.constant(values, "sizes" if index > 2 else "scales"))
        if place.crosses(13):
            node.resize_inputs(max(3, len(node.inputs)))
            for index, stem in ((1, "roi"), (2, "scales")):
                if node.inputs[index] is None:
                    node.replace_input_with(index, new.constant(np.zeros(0, dtype=np.float32), stem))

    return rewrite


def _whole_sizes(place: Place) -> dict[int, Array]:
    """Return scales or sizes for all axes, where the node gives them for some."""
    given = place.node.attributes.get("axes")
    if given is None:
        return {}
    shape = place.shape()
    axes = [int(axis) % len(shape) for axis in given.as_ints()]
    index = 2 if place.input(2) is not None else 3
    values = constant_of(place.input(index))
    if values is None or place.input(1) is not None:
        raise Blocked("it resizes some axes by sizes that are computed")
    if index == 2:
        scales = np.ones(len(shape), dtype=np.float32)
        scales[axes] = values
        return {2: scales}
    if any(size is None for axis, size in enumerate(shape) if axis not in axes):
        raise Blocked("it resizes some axes, and the sizes of the others are not known; fix the shapes first")
    sizes = np.array([0 if size is None else size for size in shape], dtype=np.int64)
    sizes[axes] = values
    return {3: sizes}


def _average_pool(place: Place) -> Rewrite | None:
    node = place.node
    if not place.crosses(19):
        return None
    given = node.attributes.get("dilations")
    if given is not None and any(step != 1 for step in given.as_ints()):
        raise Blocked(f"dilations = {list(given.as_ints())} have no counterpart in opset {place.to}")

    def rewrite(new: VersionedBuilder) -> None:
        del new
        node.attributes.pop("dilations", None)

    return rewrite


def _roi_align(place: Place) -> Rewrite | None:
    node = place.node
    if not place.crosses(16):
        return None
    mode = place.text("coordinate_transformation_mode", "half_pixel")
    if mode != "output_half_pixel":
        raise Blocked(f"coordinate_transformation_mode = {mode} has no counterpart in opset {place.to}")

    def rewrite(new: VersionedBuilder) -> None:
        del new
        node.attributes.pop("coordinate_transformation_mode")

    return rewrite


ADAPTERS = {
    "AveragePool": _average_pool,
    "Pad": _pad,
    "Resize": _resize,
    "RoiAlign": _roi_align,
}
