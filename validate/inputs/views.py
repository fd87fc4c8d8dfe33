"""Decide how to look at files: which axes they have, how images were turned, and whose images they are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphopt.validate.inputs.coarse import (
    ORIENTATIONS,
    Grey,
    likeness,
    oriented,
    shrunk,
    thumbnail,
    thumbnail_size,
)
from graphopt.validate.inputs.expected import ExpectedInput, Placement
from graphopt.validate.inputs.layouts import LAYOUTS, arranged
from graphopt.validate.inputs.looks import Look
from graphopt.validate.inputs.placements import Scene, other_rules
from graphopt.validate.inputs.verdict import InputCause

_CLEARLY = 0.03
"""By how much the likeness of something unusual must exceed that of the usual."""
_SURELY = 0.15
"""Likewise, for it to be believed where not every value is explained."""
_ANOTHER = 0.1
"""By how much a file must be more like another image than its own."""
_LEAST = 0.7
"""Likeness below which a file shows no image in particular."""
_ALIKE = 0.97
"""Likeness of the file to its own image above which no other image is thought of."""
_CLOSER_LOOKS = 3
_SHOWN = 3
_COARSE = ("padding_side", "aspect", "crop", "size")
"""Causes that a thumbnail shows."""


@dataclass(frozen=True, kw_only=True)
class Fed:
    """A file and the image that it should hold.

    Attributes:
        file: its name.
        flat: its values, one after the other.
        image: the recipe's input.
    """

    file: str
    flat: NDArray[np.generic]
    image: ExpectedInput


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at all files.

    Attributes:
        looks: each file beside its image; the one that shows most comes first.
        causes: what this way differs in from the usual one.
        sure: the causes hold whatever else differs.
    """

    looks: tuple[Look, ...]
    causes: tuple[InputCause, ...]
    sure: bool


@dataclass(frozen=True)
class _Way:
    layout: str
    orientation: str
    likeness: float


def views(fed: Sequence[Fed], others: Callable[[], Sequence[ExpectedInput]]) -> Iterator[View]:
    """Yield ways to look at files, the likeliest first.

    Args:
        fed: files that do not equal the recipe's inputs.
        others: more images that a file might hold.
    """
    fed = sorted(fed, key=lambda item: (_is_unscaled(item.image), -_colourful(item.image)))
    ways = _ways(fed[0])
    if max(way.likeness for way in ways) < _ALIKE:
        moved = _moved(fed, ways, [item.image for item in fed]) or _moved(fed, ways, others())
        if moved is not None:
            yield moved
            return
    for way in _preferred(ways):
        looks = tuple(
            Look(arranged(item.flat, way.layout, item.image.canvas), item.image, way.orientation)
            for item in fed
            if way.orientation != "EXIF" or item.image.turned is not None
        )
        sure = way.likeness >= ways[0].likeness + _SURELY
        yield View(looks=looks, causes=_causes(way, fed[0]), sure=sure)


def _is_unscaled(image: ExpectedInput) -> bool:
    """Whether an image shows nothing of how others are scaled."""
    return image.pixels.shape[:2] == (image.placement.height, image.placement.width)


def _colourful(image: ExpectedInput) -> float:
    """Return how much an image shows: contrast, and difference between its channels."""
    small = shrunk(image.pixels).astype(np.float32)
    return float(small.std((0, 1)).min() + 2 * (small - small.mean(2, keepdims=True)).std())


def _ways(item: Fed) -> list[_Way]:
    """Return every arrangement with its likeness, the usual one first."""
    layouts = dict.fromkeys((*(("NHWC",) if item.flat.dtype == np.uint8 else ()), *LAYOUTS))
    ways = []
    for layout in layouts:
        file = _thumbnail(item.flat, layout, item.image)
        for orientation in ORIENTATIONS:
            if orientation == "EXIF" and item.image.turned is None:
                continue
            ways.append(_Way(layout, orientation, _likeness(file, item.image, orientation)))
    return ways


def _thumbnail(flat: NDArray[np.generic], layout: str, image: ExpectedInput) -> Grey:
    return thumbnail(arranged(flat, layout, image.canvas), thumbnail_size(image.canvas))


def _likeness(file: Grey, image: ExpectedInput, orientation: str = "") -> float:
    pixels, own = oriented(image, orientation)
    scene = Scene(image=(pixels.shape[0], pixels.shape[1]), canvas=image.canvas, own=own)
    places: list[Placement] = [own]
    places += [placed[0] for rule, placed in other_rules([scene]) if rule.cause in _COARSE]
    return likeness(file, shrunk(pixels), places, image.canvas)


def _preferred(ways: Sequence[_Way]) -> Iterator[_Way]:
    """Yield what is worth a closer look: the usual way unless another is clearly better, then others."""
    usual = ways[0]
    ranked = sorted(ways, key=lambda way: -way.likeness)
    best = ranked[0].likeness
    if usual.likeness >= best - _CLEARLY:
        ranked.remove(usual)
        ranked.insert(0, usual)
    yield from (way for way in ranked[:_CLOSER_LOOKS] if way.likeness >= best - _SURELY)


def _causes(way: _Way, item: Fed) -> tuple[InputCause, ...]:
    causes = []
    free = ("NCHW", "NHWC") if item.flat.dtype == np.uint8 else ("NCHW",)
    if way.layout not in free:
        sentence = f"the axes of the files are {way.layout}, the model's {free[0]}"
        causes.append(InputCause(name="layout", sentence=sentence))
    if way.orientation:
        what = (
            "the EXIF orientation of the images is treated otherwise than by the recipe"
            if way.orientation == "EXIF"
            else f"the images are {way.orientation}"
        )
        causes.append(InputCause(name="orientation", sentence=what))
    return tuple(causes)


def _moved(fed: Sequence[Fed], ways: Sequence[_Way], images: Sequence[ExpectedInput]) -> View | None:
    """Return the view in which files hold other images than their own, if they clearly do."""
    own = max(way.likeness for way in ways)
    best: tuple[float, str] = (max(_LEAST, own + _ANOTHER), "")
    for layout in dict.fromkeys(way.layout for way in ways):
        file = _thumbnail(fed[0].flat, layout, fed[0].image)
        best = max(best, (max((_likeness(file, image) for image in images), default=0.0), layout))
    layout = best[1]
    if not layout:
        return None
    pairs = [(item, _holds(item, layout, images)) for item in fed]
    moved = [(item, image) for item, image in pairs if image.name != item.image.name]
    examples = ", ".join(f"{item.file} holds {image.name}" for item, image in moved[:_SHOWN])
    more = f", and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
    order = InputCause(name="image_order", sentence=f"files hold other images: {examples}{more}")
    looks = tuple(Look(arranged(item.flat, layout, image.canvas), image) for item, image in pairs)
    way = _Way(layout, "", best[0])
    return View(looks=looks, causes=(order, *_causes(way, fed[0])), sure=best[0] > 0.9)


def _holds(item: Fed, layout: str, images: Sequence[ExpectedInput]) -> ExpectedInput:
    """Return the image that a file is most like; its own unless another is clearly more so."""
    file = _thumbnail(item.flat, layout, item.image)
    best = max(images, key=lambda image: _likeness(file, image))
    return best if _likeness(file, best) > _likeness(file, item.image) + _CLEARLY else item.image
