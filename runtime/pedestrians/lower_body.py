"""Hips, legs and feet: trousers, jeans, shorts or a skirt over four kinds of footwear."""

from graphopt.runtime.pedestrians.canvas import Canvas
from graphopt.runtime.pedestrians.person import Colour, Person, shaded

_DENIM, _STITCH = (62, 96, 160), (224, 160, 70)
_KHAKI = (172, 158, 108)
_FORMAL = (48, 48, 56)
_SHORTS = (70, 140, 60)
_SKIRT = (150, 40, 140)
_BELT, _BUCKLE = (20, 16, 16), (230, 190, 70)
_LEATHER, _GLOSS = (110, 36, 16), (235, 190, 165)
_STRAPS = (110, 255, 185)
_BLACK = (14, 14, 16)
_SNEAKER, _SNEAKER_SOLE = (246, 246, 244), (150, 240, 20)

_LEGS = (40, 60)
"""Middle of each leg."""
_FEET = ((-1, 37), (1, 63))
"""Side and middle of each foot."""


def draw_lower_body(canvas: Canvas, person: Person) -> None:
    """Draw hips and legs."""
    formal = person.has("lowerBodyFormal")
    if person.has("lowerBodyShorts"):
        _draw_shorts(canvas, person)
    elif person.has("lowerBodyShortSkirt"):
        _draw_legs(canvas, person.skin, width=10, top=118)
        _draw_skirt(canvas, _FORMAL if formal else _SKIRT, flare=19 if formal else 25)
    elif person.has("lowerBodyJeans"):
        _draw_jeans(canvas)
    else:
        _draw_trousers(canvas, formal=formal)
    if formal:
        canvas.rectangle((33, 114), (67, 120), _BELT)
        canvas.rectangle((46, 113), (54, 121), _BUCKLE)


def draw_footwear(canvas: Canvas, person: Person) -> None:
    """Draw both feet."""
    for side, middle in _FEET:
        if person.has("footwearLeatherShoes"):
            _draw_shoe(canvas, middle, _LEATHER, top=195, sole=_LEATHER)
            canvas.ellipse((middle + side * 2, 200), (3.5, 2), _GLOSS)
        elif person.has("footwearSandals"):
            _draw_shoe(canvas, middle, person.skin, top=197, sole=_STRAPS)
            for x in (-4, 0, 4):
                canvas.line([(middle + x - 2, 205), (middle + x + 2, 196)], 2.4, _STRAPS)
        elif person.has("footwearShoes"):
            _draw_shoe(canvas, middle, _BLACK, top=192, sole=_BLACK)
        else:
            _draw_shoe(canvas, middle, _SNEAKER, top=193, sole=_SNEAKER_SOLE)
            canvas.line([(middle - 6, 203), (middle + 5, 197)], 3, _SNEAKER_SOLE)


def _draw_shoe(canvas: Canvas, middle: float, colour: Colour, *, top: float, sole: Colour) -> None:
    canvas.ellipse((middle, 203), (9, 203 - top), colour)
    canvas.rectangle((middle - 9, 203), (middle + 9, 206), colour)
    canvas.rectangle((middle - 9.5, 206), (middle + 9.5, 210), sole)


def _draw_legs(canvas: Canvas, colour: Colour, *, width: float, top: float, bottom: float = 198) -> None:
    for side in (-1, 1):
        hip, foot = 50 + side * 9, 50 + side * 12
        ankle = [(foot + width / 2, bottom), (foot - width / 2, bottom)]
        canvas.polygon([(hip - 8, top), (hip + 8, top), *ankle], colour)
    canvas.polygon([(33, top), (67, top), (66, top + 14), (34, top + 14)], colour)


def _draw_shorts(canvas: Canvas, person: Person) -> None:
    _draw_legs(canvas, person.skin, width=11, top=118)
    _draw_legs(canvas, _SHORTS, width=15, top=112, bottom=152)
    for x in _LEGS:
        canvas.line([(x - 7.5, 150), (x + 7.5, 150)], 2, shaded(_SHORTS, 1.5))


def _draw_skirt(canvas: Canvas, colour: Colour, *, flare: float) -> None:
    canvas.polygon([(34, 112), (66, 112), (50 + flare, 150), (50 - flare, 150)], colour)
    for pleat in range(-2, 3):
        bottom = (50 + pleat * flare / 2.5, 149)
        canvas.line([(50 + 5 * pleat, 117), bottom], 0.8, shaded(colour, 0.6))


def _draw_jeans(canvas: Canvas) -> None:
    _draw_legs(canvas, _DENIM, width=14, top=112)
    for x, seam in zip(_LEGS, (34, 66), strict=True):
        canvas.ellipse((x, 150), (3.5, 18), shaded(_DENIM, 1.4))
        canvas.line([(seam, 120), (seam, 194)], 1.2, _STITCH)


def _draw_trousers(canvas: Canvas, *, formal: bool) -> None:
    colour = _FORMAL if formal else _KHAKI
    _draw_legs(canvas, colour, width=15, top=112)
    for x, pocket in zip(_LEGS, (36, 64), strict=True):
        if formal:
            canvas.line([(x, 125), (x, 195)], 1, shaded(colour, 1.8))
        else:
            canvas.rectangle((pocket - 4, 142), (pocket + 4, 156), shaded(colour, 0.75))
