"""Rules by which pipelines scale an image into a network's input, and where they put it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from graphopt.validate.inputs.expected import Placement

Size = tuple[int, int]
"""Height and width in pixels."""
_IMAGENET_CROP = 256 / 224
"""Of the usual evaluation on ImageNet: scale to 256, keep the middle 224."""
_MOST_SHIFTED = 2
"""Pixels; larger moves are found as placements of the padding."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a rule may look at.

    Attributes:
        image: size of the decoded image.
        canvas: size of the network's input.
        own: where the recipe puts it.
    """

    image: Size
    canvas: Size
    own: Placement


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One way to place an image, other than the recipe's.

    Attributes:
        cause: a name of ``verdict.CAUSES``.
        sentence: what it does.
        place: a scene to a placement.
        read_off: the placement was read off one file, and says nothing of others.
    """

    cause: str
    sentence: str
    place: Callable[[Scene], Placement]
    read_off: bool = False


Side = Callable[[Size, Size], Placement]
SIDES: dict[str, Side] = {
    "in the middle": lambda s, c: Placement(*s, (c[0] - s[0]) // 2, (c[1] - s[1]) // 2),
    "in the upper left corner": lambda s, _: Placement(*s, 0, 0),
    "in the middle, the odd pixel of padding before it": lambda s, c: Placement(
        *s, (c[0] - s[0] + 1) // 2, (c[1] - s[1] + 1) // 2
    ),
    "in the lower right corner": lambda s, c: Placement(*s, c[0] - s[0], c[1] - s[1]),
    "in the upper right corner": lambda s, c: Placement(*s, 0, c[1] - s[1]),
    "in the lower left corner": lambda s, c: Placement(*s, c[0] - s[0], 0),
}
"""Where a scaled image may lie: its size and the canvas to a placement."""


def other_rules(scenes: Sequence[Scene]) -> list[tuple[Rule, tuple[Placement, ...]]]:
    """Return rules that place at least one image otherwise than the recipe, with their placements.

    Of rules that place all images alike, only the first is kept.
    """
    own = tuple(scene.own for scene in scenes)
    seen = {own}
    found = []
    for rule in _rules(scenes):
        placed = tuple(rule.place(scene) for scene in scenes)
        possible = all(_overlaps(place, scene) for place, scene in zip(placed, scenes, strict=True))
        if placed not in seen and possible:
            seen.add(placed)
            far = rule.cause == "size_rounding" and any(map(_is_another_size, placed, own))
            found.append((replace(rule, cause="size") if far else rule, placed))
    return found


def _is_another_size(place: Placement, own: Placement) -> bool:
    """Whether more than rounding lies between two sizes."""
    return max(abs(place.height - own.height), abs(place.width - own.width)) > 1


def own_side(scenes: Sequence[Scene]) -> str:
    """Return the key of ``SIDES`` by which the recipe places all scenes; the middle when none fits."""
    for name, side in SIDES.items():
        if all(side((s.own.height, s.own.width), s.canvas) == s.own for s in scenes):
            return name
    return next(iter(SIDES))


def _overlaps(place: Placement, scene: Scene) -> bool:
    rows, columns = place.inside(scene.canvas)
    enough = 0.02 * scene.canvas[0] * scene.canvas[1]
    return min(place.height, place.width) > 0 and (
        (rows.stop - rows.start) * (columns.stop - columns.start) >= min(enough, 4)
    )


def _rules(scenes: Sequence[Scene]) -> Iterator[Rule]:
    stretched = all((s.own.height, s.own.width) == s.canvas for s in scenes)
    side = own_side(scenes)
    if stretched:
        yield from _fitted("aspect", "the aspect is kept and the image lies {}", SIDES)
    else:
        yield from _sides(side)
        yield Rule(
            cause="aspect",
            sentence="the image is stretched over the whole input, its aspect is not kept",
            place=lambda scene: Placement(*scene.canvas, 0, 0),
        )
        yield from _fitted(
            "size_rounding", "the image fills the input, its sides rounded {}", {side: SIDES[side]}
        )
        yield from _a_pixel_more_or_less(side)
    yield from _crops()
    yield from _shifts()
    yield from _unscaled()


def _sides(own: str) -> Iterator[Rule]:
    for name, side in SIDES.items():
        yield Rule(
            cause="padding_side",
            sentence=f"the image lies {name}, the recipe's {own}",
            place=lambda scene, side=side: side(  # type: ignore[misc]  # its default is its own
                (scene.own.height, scene.own.width), scene.canvas
            ),
        )


_ROUNDINGS: dict[str, Callable[[float], int]] = {
    "to the nearest": lambda value: int(value + 0.5),
    "down": int,
    "up": lambda value: math.ceil(value - 1e-9),
}


def _fitted(cause: str, sentence: str, sides: dict[str, Side]) -> Iterator[Rule]:
    for side_name, side in sides.items():
        for rounding_name, rounding in _ROUNDINGS.items():
            name = rounding_name if cause == "size_rounding" else side_name

            def place(
                scene: Scene, side: Side = side, rounding: Callable[[float], int] = rounding
            ) -> Placement:
                scale = min(scene.canvas[0] / scene.image[0], scene.canvas[1] / scene.image[1])
                size = max(1, rounding(scene.image[0] * scale)), max(1, rounding(scene.image[1] * scale))
                return side(size, scene.canvas)

            yield Rule(cause=cause, sentence=sentence.format(name), place=place)


def _a_pixel_more_or_less(side_name: str) -> Iterator[Rule]:
    side = SIDES[side_name]
    for taller, wider in ((0, -1), (-1, 0), (-1, -1), (0, 1), (1, 0), (1, 1)):

        def place(scene: Scene, taller: int = taller, wider: int = wider) -> Placement:
            return side((scene.own.height + taller, scene.own.width + wider), scene.canvas)

        yield Rule(
            cause="size_rounding",
            sentence=f"the image is {_more(taller, 'higher')}, {_more(wider, 'wider')} than the recipe's",
            place=place,
        )


def _more(pixels: int, word: str) -> str:
    return f"{pixels:+d} px {word}" if pixels else f"no {word}"


def _crops() -> Iterator[Rule]:
    sizes: tuple[tuple[str, Callable[[Scene], Size]], ...] = (
        ("scaled to cover the input", lambda scene: _cover(scene, 1.0)),
        (
            "the shorter side scaled to 256/224 of the input",
            lambda scene: _cover(scene, _IMAGENET_CROP),
        ),
        (
            "stretched to 256/224 of the input",
            lambda scene: (
                round(scene.canvas[0] * _IMAGENET_CROP),
                round(scene.canvas[1] * _IMAGENET_CROP),
            ),
        ),
    )
    halves: tuple[Callable[[int], int], ...] = (
        lambda n: n // 2,
        lambda n: round(n / 2),
        lambda n: -(-n // 2),
    )
    for what, size in sizes:
        for half in halves:
            yield Rule(cause="crop", sentence=f"{what}, and the middle cut out", place=_middle_of(size, half))


def _middle_of(size: Callable[[Scene], Size], half: Callable[[int], int]) -> Callable[[Scene], Placement]:
    def place(scene: Scene) -> Placement:
        height, width = size(scene)
        return Placement(height, width, -half(height - scene.canvas[0]), -half(width - scene.canvas[1]))

    return place


def _cover(scene: Scene, more: float) -> Size:
    """Return the size of which the shorter side is exact, the other rounded down, as torchvision has it."""
    shorter = round(min(scene.canvas) * more)
    height, width = scene.image
    scale = max(shorter / min(height, width), scene.canvas[0] / height, scene.canvas[1] / width)
    return max(scene.canvas[0], int(height * scale + 1e-9)), max(scene.canvas[1], int(width * scale + 1e-9))


def _shifts() -> Iterator[Rule]:
    steps = range(-_MOST_SHIFTED, _MOST_SHIFTED + 1)
    for down, right in sorted(((d, r) for d in steps for r in steps), key=lambda m: abs(m[0]) + abs(m[1])):

        def place(scene: Scene, down: int = down, right: int = right) -> Placement:
            own = scene.own
            return Placement(own.height, own.width, own.top + down, own.left + right)

        yield Rule(
            cause="shift",
            sentence=f"the image is moved by {right:+d} px to the right and {down:+d} px down",
            place=place,
        )


def _unscaled() -> Iterator[Rule]:
    for name in ("in the middle", "in the upper left corner"):
        side = SIDES[name]
        yield Rule(
            cause="size",
            sentence=f"the image is not scaled and lies {name}",
            place=lambda scene, side=side: side(scene.image, scene.canvas),  # type: ignore[misc]  # as above
        )
