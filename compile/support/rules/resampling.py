"""Resizing, sampling at computed places, pooling of regions."""

from collections.abc import Iterator

from graphopt.compile.support.nearest import nearest_elements
from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_ROUNDING = "round_prefer_ceil"
_VOLUME_COORDINATES = ("align_corners", "pytorch_half_pixel")
_IGNORED_FROM_18 = ("antialias", "axes", "keep_aspect_ratio_policy")


def inputs_are_there(place: Place) -> Iterator[Finding]:
    """From opset 11 on the parser counts three inputs at least; roi may be empty."""
    if place.opset >= 11 and len(place.node.inputs) < 3:
        count = len(place.node.inputs)
        yield unsupported("resize_inputs", f"{count} inputs; from opset 11 on it has 3 or 4", "OPS")


def size_is_constant(place: Place) -> Iterator[Finding]:
    """Scales and sizes are constants."""
    indices = (1,) if place.opset < 11 else (2, 3)
    if any(place.is_computed(index) for index in indices):
        yield restricted("computed_size", "its size is computed in the graph; it should be constant", "DOC")


def mode_is_known(place: Place) -> Iterator[Finding]:
    """Documents name nearest, in one rounding, and linear."""
    mode = place.text("mode", "nearest")
    if mode == "cubic":
        yield restricted(
            "resize_cubic", "mode cubic is handed on by the parser, but no document promises it", "DOC OPS"
        )
    rounding = place.text("nearest_mode", "round_prefer_floor")
    if mode != "nearest" or place.opset < 11 or rounding == _ROUNDING:
        return
    if not _rounds_alike(place, rounding):
        yield restricted(
            "resize_rounding",
            f"nearest_mode {rounding}; documents promise {_ROUNDING}, so elements may shift by one",
            "DOC",
        )


def _rounds_alike(place: Place, rounding: str) -> bool:
    """Whether the promised rounding takes the same elements along every axis."""
    sizes, wanted = place.shape(0), place.output_shape()
    coordinates = place.text("coordinate_transformation_mode", "half_pixel")
    scales = place.array(2)
    if sizes is None or wanted is None or len(sizes) != len(wanted):
        return False
    for axis, (size, count) in enumerate(zip(sizes, wanted, strict=True)):
        if size == count:
            continue
        if not isinstance(size, int) or not isinstance(count, int):
            return False
        scale = float(scales[axis]) if scales is not None and scales.size == len(sizes) else count / size
        own = nearest_elements(coordinates, rounding, scale, size, count)
        if own is None or own != nearest_elements(coordinates, _ROUNDING, scale, size, count):
            return False
    return True


def volumes_are_linear(place: Place) -> Iterator[Finding]:
    """Volumes are resized linearly, in two coordinate modes."""
    if place.rank() != 5:
        return
    mode = place.text("mode", "nearest")
    coordinates = place.text("coordinate_transformation_mode", "half_pixel")
    if mode != "linear" or coordinates not in _VOLUME_COORDINATES:
        yield unsupported("resize_5d", f"5-D input with mode {mode} and coordinates {coordinates}", "OPS MZ")


def nothing_is_ignored(place: Place) -> Iterator[Finding]:
    """What opset 18 added is not read."""
    defaults: dict[str, object] = {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}
    for name in _IGNORED_FROM_18:
        if place.has(name) and place.node.attributes[name].value != defaults.get(name):
            yield unsupported("resize_ignored", f"the attribute {name} is not read", "OPS")


def upsampling_is_plain(place: Place) -> Iterator[Finding]:
    """Upsample: nearest and linear."""
    mode = place.text("mode", "nearest")
    if mode not in ("nearest", "linear"):
        yield unsupported("upsample_mode", f"mode {mode}", "OPS")


def grid_is_sampled_simply(place: Place) -> Iterator[Finding]:
    """GridSample: bilinear and nearest, pictures only."""
    mode = place.text("mode", "linear" if place.opset >= 20 else "bilinear")
    if mode in ("bicubic", "cubic"):
        yield unsupported("grid_mode", f"mode {mode}; documents name bilinear and nearest", "DOC")
    if place.rank() not in (None, 4):
        yield unsupported("grid_rank", f"input of rank {place.rank()}; only 4 is taken", "DOC")


def regions_are_averaged(place: Place) -> Iterator[Finding]:
    """RoiAlign averages whatever its mode says."""
    if place.text("mode", "avg") != "avg":
        yield unsupported("ignored", f"mode {place.text('mode')} is ignored: it averages", "OPS")


RULES: Rules = {
    "Resize": (inputs_are_there, size_is_constant, mode_is_known, volumes_are_linear, nothing_is_ignored),
    "Upsample": (upsampling_is_plain,),
    "GridSample": (grid_is_sampled_simply,),
    "RoiAlign": (regions_are_averaged,),
}
