"""Where preprocessing puts an image inside the network's input, read from the steps themselves."""

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

from graphopt.core.errors import UsageError
from graphopt.core.preprocessing import (
    PadBehindTo,
    PadCentredTo,
    ResizeCv2,
    ResizeEdgesCv2,
    ResizeLongestCv2,
    ResizePil,
    ResizeToFitCv2,
    Step,
)
from graphopt.runtime.letterbox import Letterbox

_Resize: TypeAlias = ResizePil | ResizeLongestCv2 | ResizeToFitCv2 | ResizeCv2 | ResizeEdgesCv2


def place_of(steps: Sequence[Step], width: int, height: int) -> Letterbox:
    """Return the transform that the steps apply to an image.

    Args:
        steps: preprocessing of a recipe.
        width: of the decoded image, in pixels.
        height: of the decoded image, in pixels.

    Raises:
        UsageError: a resize follows a padding, so that one scale and one offset do not say it.
    """
    place = Letterbox(
        source_width=width,
        source_height=height,
        width=width,
        height=height,
        left=0,
        top=0,
        canvas_width=width,
        canvas_height=height,
    )
    padded = False
    for step in steps:
        if isinstance(step, (PadCentredTo, PadBehindTo)):
            place, padded = _padded(place, step), True
        elif isinstance(step, _Resize):
            if padded:
                raise UsageError(f"{type(step).__name__} follows a padding: boxes cannot be mapped back")
            place = _resized(place, step)
    return place


def _resized(place: Letterbox, step: _Resize) -> Letterbox:
    if isinstance(step, (ResizePil, ResizeCv2)):
        width, height = step.width, step.height
    elif isinstance(step, ResizeLongestCv2):
        fitted = Letterbox.fitted(place.width, place.height, longest=step.size)
        width, height = fitted.width, fitted.height
    elif isinstance(step, ResizeEdgesCv2):
        scaled = Letterbox.within_edges(place.width, place.height, step)
        width, height = scaled.width, scaled.height
    else:
        canvas = (step.height, step.width)
        within = Letterbox.within(place.width, place.height, canvas=canvas, rounding=step.rounding)
        width, height = within.width, within.height
    return dataclasses.replace(place, width=width, height=height, canvas_width=width, canvas_height=height)


def _padded(place: Letterbox, step: PadCentredTo | PadBehindTo) -> Letterbox:
    centred = isinstance(step, PadCentredTo)
    return dataclasses.replace(
        place,
        left=place.left + ((step.width - place.canvas_width) // 2 if centred else 0),
        top=place.top + ((step.height - place.canvas_height) // 2 if centred else 0),
        canvas_width=step.width,
        canvas_height=step.height,
    )
