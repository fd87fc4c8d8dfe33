"""The drawing of one pedestrian, from back to front; each attribute has its own shape and colour."""

from graphopt.runtime.pedestrians import belongings, lower_body, upper_body
from graphopt.runtime.pedestrians.canvas import Canvas
from graphopt.runtime.pedestrians.person import Person, shaded

_RIBBON = (30, 30, 255)
_PUPIL, _LIPS, _LIPSTICK, _EARRING = (40, 30, 30), (150, 80, 75), (205, 30, 70), (250, 205, 60)


def draw_person(canvas: Canvas, person: Person) -> None:
    """Draw a person who stands in the middle of the canvas and looks at us."""
    belongings.draw_behind(canvas, person)
    if person.has("hairLong"):
        canvas.ellipse((50, 52), (24, 36), person.hair)
    lower_body.draw_lower_body(canvas, person)
    lower_body.draw_footwear(canvas, person)
    upper_body.draw_upper_body(canvas, person)
    _draw_head(canvas, person)
    _draw_face(canvas, person)
    belongings.draw_in_front(canvas, person)


def _draw_head(canvas: Canvas, person: Person) -> None:
    hair = person.hair
    canvas.ellipse((50, 36), (14, 18), person.skin)
    canvas.pie((50, 30), (16, 17), (180, 360), hair)
    for side in (-1, 1):
        sideburn = [(16, 29), (11, 29), (13, 42), (16, 40)]
        canvas.polygon([(50 + side * x, y) for x, y in sideburn], hair)
        if person.has("hairLong"):
            strand = [(12, 28), (19, 30), (24, 84), (14, 84)]
            canvas.polygon([(50 + side * x, y) for x, y in strand], hair)
            canvas.ellipse((50 + side * 19, 78), (5.5, 4), _RIBBON)


def _draw_face(canvas: Canvas, person: Person) -> None:
    for side in (-1, 1):
        canvas.ellipse((50 + side * 5.5, 37), (1.8, 2.2), _PUPIL)
        canvas.line([(50 + side * 3.5, 33), (50 + side * 8, 32.5)], 1, shaded(person.hair, 0.7))
    if person.has("personalMale"):
        canvas.pie((50, 44), (11, 11), (15, 165), shaded(person.hair, 0.85))
        canvas.line([(46, 47.5), (54, 47.5)], 1.4, _LIPS)
    else:
        canvas.ellipse((50, 47), (4.2, 1.9), _LIPSTICK)
        for side in (-1, 1):
            canvas.ellipse((50 + side * 14.5, 42), (1.8, 2.4), _EARRING)
