"""What people wear on the head and around the neck, and what they carry."""

from graphopt.runtime.pedestrians.canvas import Canvas
from graphopt.runtime.pedestrians.person import Person, shaded

_HAT = (120, 60, 200)
_SCARF, _FRINGE = (30, 160, 60), (235, 245, 225)
_LENS, _FRAME = (30, 215, 250), (15, 15, 20)
_BACKPACK = (245, 110, 20)
_SATCHEL = (0, 130, 100)
_SUITCASE, _HANDLE = (200, 15, 45), (60, 60, 60)
_PLASTIC, _PRINT = (250, 250, 252), (255, 90, 170)
_STICK = (115, 70, 30)


def draw_behind(canvas: Canvas, person: Person) -> None:
    """Draw what the body covers in part: backpack, suitcase (carryingOther), an old person's stick."""
    if person.has("carryingBackpack"):
        canvas.ellipse((50, 66), (31, 16), _BACKPACK)
        canvas.polygon([(19, 66), (81, 66), (79, 108), (21, 108)], _BACKPACK)
        canvas.line([(22, 90), (78, 90)], 3, shaded(_BACKPACK, 0.6))
    if person.has("carryingOther"):
        canvas.line([(80, 118), (80, 160)], 2, _HANDLE)
        canvas.rectangle((69, 150), (92, 203), _SUITCASE)
        for x in (75, 80.5, 86):
            canvas.line([(x, 155), (x, 198)], 1.2, shaded(_SUITCASE, 0.6))
    if person.has("personalLarger60"):
        canvas.line([(17, 124), (17, 118), (22, 115)], 2.4, _STICK)
        canvas.line([(17, 120), (14, 206)], 2.4, _STICK)


def draw_in_front(canvas: Canvas, person: Person) -> None:
    """Draw hat, sunglasses, muffler, straps and bags."""
    _draw_accessories(canvas, person)
    if person.has("carryingBackpack"):
        for side in (-1, 1):
            canvas.line([(50 + side * 14, 58), (50 + side * 15, 100)], 4, shaded(_BACKPACK, 0.85))
    if person.has("carryingMessengerBag"):
        canvas.line([(66, 60), (30, 112)], 4, _SATCHEL)
        canvas.rectangle((12, 108), (42, 136), _SATCHEL)
        canvas.polygon([(12, 108), (42, 108), (40, 122), (14, 122)], shaded(_SATCHEL, 1.4))
    if person.has("accessoryMuffler"):
        canvas.ellipse((50, 56), (16, 7), _SCARF)
        canvas.polygon([(37, 56), (47, 58), (45, 92), (35, 92)], _SCARF)
        for y in (66, 76, 86):
            canvas.line([(36, y), (46, y)], 2, _FRINGE)
    if person.has("carryingPlasticBags"):
        canvas.line([(20, 118), (16, 136), (26, 136), (22, 118)], 1.5, _PLASTIC)
        canvas.polygon([(11, 134), (31, 134), (33, 168), (9, 168)], _PLASTIC)
        canvas.ellipse((21, 152), (7, 8), _PRINT)


def _draw_accessories(canvas: Canvas, person: Person) -> None:
    if person.has("accessorySunglasses"):
        canvas.line([(36, 36), (64, 36)], 1.6, _FRAME)
        for side in (-1, 1):
            canvas.ellipse((50 + side * 6.5, 37), (7.8, 6.8), _FRAME)
            canvas.ellipse((50 + side * 6.5, 37), (7, 6), _LENS)
    if person.has("accessoryHat"):
        canvas.pie((50, 29), (18, 21), (180, 360), _HAT)
        canvas.polygon([(28, 26), (72, 26), (70, 31), (30, 31)], shaded(_HAT, 0.7))
