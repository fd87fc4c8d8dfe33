"""Torso and arms: four kinds of garment, three patterns, sleeves, shirt and tie.

Each attribute has a colour that hardly anything else wears.
"""

from graphopt.runtime.pedestrians.canvas import Canvas, Point
from graphopt.runtime.pedestrians.person import Person, shaded

_SHIRT, _TIE = (225, 232, 246), (150, 20, 30)
_LOGO, _LOGO_RIM = (252, 222, 20), (40, 40, 40)
_STRIPES = ((240, 240, 250), (25, 25, 40))
_CHECK_DOWN, _CHECK_ACROSS, _CHECK_FINE = (190, 30, 30), (30, 90, 40), (20, 20, 20)
_JACKET_TRIM, _JACKET_LINING, _ZIP = (66, 30, 120), (215, 215, 205), (90, 92, 100)
_TSHIRT_TRIM = (205, 170, 255)
_VNECK_TRIM = (255, 244, 130)
_OTHER_TRIM = (116, 66, 30)
_SHORT_SLEEVE = (170, 185, 40)


def draw_upper_body(canvas: Canvas, person: Person) -> None:
    """Draw arms, torso, its pattern, and what tells one garment from another."""
    _draw_arms(canvas, person)
    torso = _torso(person)
    canvas.polygon(torso, person.cloth)
    canvas.inside(torso, lambda layer: _draw_pattern(layer, person))
    _draw_garment(canvas, person, torso)
    if person.has("upperBodyFormal"):
        canvas.polygon([(38, 56), (62, 56), (54, 102), (46, 102)], _SHIRT)
        canvas.polygon([(47.5, 60), (52.5, 60), (54.5, 94), (50, 102), (45.5, 94)], _TIE)
    canvas.polygon([(44, 50), (56, 50), (55, 60), (45, 60)], shaded(person.skin, 0.9))
    if person.has("upperBodyLogo"):
        canvas.ellipse((50, 95), (10.5, 10.5), _LOGO_RIM)
        canvas.ellipse((50, 95), (9.2, 9.2), _LOGO)


def _torso(person: Person) -> list[Point]:
    shoulder, waist = (25.0, 20.0) if person.has("personalMale") else (20.0, 14.0)
    right = [(9.0, 56.0), (shoulder, 61.0), (waist, 92.0), (19.0, 118.0)]
    return [(50 - x, y) for x, y in right] + [(50 + x, y) for x, y in reversed(right)]


def _draw_arms(canvas: Canvas, person: Person) -> None:
    shoulder = 23 if person.has("personalMale") else 18
    for side in (-1, 1):
        top, elbow, hand = ((50 + side * (shoulder + x), y) for x, y in ((-1, 65), (6, 90), (8, 116)))
        if person.has("upperBodyShortSleeve"):
            canvas.line([top, elbow, hand], 9, person.skin)
            canvas.line([top, (50 + side * (shoulder + 3), 80)], 12, _SHORT_SLEEVE)
        else:
            plain = shaded(person.cloth, 0.9)
            canvas.line([top, elbow, hand], 10, _JACKET_TRIM if person.has("upperBodyJacket") else plain)
        canvas.ellipse((hand[0], hand[1] + 3), (5, 5.5), person.skin)


def _draw_pattern(canvas: Canvas, person: Person) -> None:
    if person.has("upperBodyPlaid"):
        for at in range(20, 124, 12):
            canvas.line([(at, 50), (at, 125)], 4.5, _CHECK_DOWN)
            canvas.line([(15, at + 42), (85, at + 42)], 4.5, _CHECK_ACROSS)
            canvas.line([(at + 4, 50), (at + 4, 125)], 1.2, _CHECK_FINE)
    elif person.has("upperBodyThinStripes"):
        for y in range(52, 124, 7):
            for offset, colour in zip((0, 2.2), _STRIPES, strict=True):
                canvas.line([(15, y + offset), (85, y + offset)], 2.2, colour)


def _draw_garment(canvas: Canvas, person: Person, torso: list[Point]) -> None:
    if person.has("upperBodyJacket"):
        _draw_open_jacket(canvas)
    elif person.has("upperBodyTshirt"):
        canvas.ellipse((50, 59), (12, 8), _TSHIRT_TRIM)
        canvas.inside(torso, lambda layer: layer.rectangle((20, 108.5), (80, 118), _TSHIRT_TRIM))
    elif person.has("upperBodyVNeck"):
        canvas.polygon([(37, 56), (63, 56), (50, 92)], _VNECK_TRIM)
        canvas.inside(torso, lambda layer: layer.rectangle((20, 113), (80, 119), _VNECK_TRIM))
    else:
        canvas.ellipse((50, 59), (15, 6), _OTHER_TRIM)
        canvas.inside(torso, lambda layer: layer.rectangle((20, 98), (80, 120), _OTHER_TRIM))


def _draw_open_jacket(canvas: Canvas) -> None:
    canvas.polygon([(44, 57), (56, 57), (55, 118), (45, 118)], _JACKET_LINING)
    for side in (-1, 1):
        canvas.line([(50 + side * 6, 58), (50 + side * 6, 118)], 1.6, _ZIP)
        for shape in ([(6, 113), (19, 113), (19, 120), (6, 120)], [(5, 55), (12, 55), (14, 62), (6, 72)]):
            canvas.polygon([(50 + side * x, y) for x, y in shape], _JACKET_TRIM)
