"""Which input element each output element of a nearest Resize takes, along one axis."""

import math


def nearest_elements(
    coordinates: str, rounding: str, scale: float, size: int, count: int
) -> tuple[int, ...] | None:
    """Return the input index per output index, as the ONNX standard defines it.

    Args:
        coordinates: ``coordinate_transformation_mode``.
        rounding: ``nearest_mode``.
        scale: output elements per input element.
        size: elements of the input.
        count: elements of the output.

    Returns:
        None for modes that are not known here.
    """
    found = []
    for index in range(count):
        place = _place(coordinates, index, scale, size, count)
        chosen = None if place is None else _rounded(rounding, place)
        if chosen is None:
            return None
        found.append(min(max(chosen, 0), size - 1))
    return tuple(found)


def _place(coordinates: str, index: int, scale: float, size: int, count: int) -> float | None:
    if coordinates == "asymmetric":
        return index / scale
    if coordinates == "align_corners":
        return index * (size - 1) / max(count - 1, 1)
    if coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and count > 1):
        return (index + 0.5) / scale - 0.5
    return 0.0 if coordinates == "pytorch_half_pixel" else None


def _rounded(rounding: str, place: float) -> int | None:
    if rounding == "round_prefer_floor":
        return math.ceil(place - 0.5)
    if rounding == "round_prefer_ceil":
        return math.floor(place + 0.5)
    return math.floor(place) if rounding == "floor" else math.ceil(place) if rounding == "ceil" else None
