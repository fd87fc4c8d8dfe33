"""Who is drawn: attributes that go together, and the looks that tell them apart."""

import colorsys
from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""

_AGES = ("personalLess30", "personalLess45", "personalLess60", "personalLarger60")
_BAGS = ("carryingBackpack", "carryingOther", "carryingMessengerBag", "carryingPlasticBags")
_ACCESSORIES = {"accessoryHat": 0.24, "accessoryMuffler": 0.22, "accessorySunglasses": 0.22}
_FOOTWEAR = ("footwearLeatherShoes", "footwearSandals", "footwearShoes", "footwearSneaker")
_GARMENTS = ("upperBodyJacket", "upperBodyTshirt", "upperBodyVNeck", "upperBodyOther")
_SHORT_SLEEVES = {"upperBodyTshirt": 0.8, "upperBodyVNeck": 0.35, "upperBodyOther": 0.35}

# Saturation and value of the clothes by age: from vivid over muted and dark to pale.
_CLOTHES_BY_AGE = {
    "personalLess30": ((0.75, 0.95), (0.80, 0.95)),
    "personalLess45": ((0.60, 0.80), (0.45, 0.60)),
    "personalLess60": ((0.20, 0.32), (0.36, 0.48)),
    "personalLarger60": ((0.20, 0.32), (0.80, 0.92)),
}
_HAIR_BY_AGE = {
    "personalLess30": (205, 140, 50),
    "personalLess45": (50, 30, 20),
    "personalLess60": (125, 122, 125),
    "personalLarger60": (238, 238, 240),
}


@dataclass(frozen=True, kw_only=True)
class Person:
    """One pedestrian.

    Attributes:
        attributes: the names that hold, out of PETA's 35.
        skin: from light to dark, independent of everything else.
        hair: follows the age.
        cloth: the upper garment; cool hues for men, warm ones for women, as on door signs; vivid,
            dark, muted or pale by age.
    """

    attributes: frozenset[str]
    skin: Colour
    hair: Colour
    cloth: Colour

    def has(self, attribute: str) -> bool:
        """Return whether the attribute holds."""
        return attribute in self.attributes


def random_person(rng: np.random.Generator) -> Person:
    """Draw attributes that are consistent with one another, then the looks that follow from them."""
    age = str(rng.choice(_AGES, p=(0.32, 0.28, 0.22, 0.18)))
    male = bool(rng.random() < 0.52)
    found = {age} | ({"personalMale"} if male else set())
    if rng.random() < (0.15 if male else 0.65):
        found.add("hairLong")
    found |= _upper_body(rng) | _lower_body(rng, male=male)
    found.add(str(rng.choice(_FOOTWEAR, p=(0.27, 0.2, 0.27, 0.26))))
    accessories = {name for name, rate in _ACCESSORIES.items() if rng.random() < rate}
    found |= accessories or {"accessoryNothing"}
    bags = rng.choice(_BAGS, size=int(rng.choice(3, p=(0.3, 0.5, 0.2))), replace=False)
    found |= {str(bag) for bag in bags} or {"carryingNothing"}
    cloth = _cloth(rng, age, male=male, formal="upperBodyFormal" in found)
    return Person(attributes=frozenset(found), skin=_skin(rng), hair=_hair(rng, age), cloth=cloth)


def shaded(colour: Colour, factor: float) -> Colour:
    """Return the colour with its brightness multiplied by ``factor``."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def from_hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return the colour of a hue (taken modulo 1), saturation and value in 0..1."""
    red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))
    return red, green, blue


def _upper_body(rng: np.random.Generator) -> set[str]:
    formal = bool(rng.random() < 0.28)
    rates = (0.55, 0.0, 0.2, 0.25) if formal else (0.2, 0.32, 0.2, 0.28)
    garment = str(rng.choice(_GARMENTS, p=rates))
    found = {garment, "upperBodyFormal" if formal else "upperBodyCasual"}
    if not formal and rng.random() < _SHORT_SLEEVES.get(garment, 0.0):
        found.add("upperBodyShortSleeve")
    patterns = ("", "upperBodyPlaid", "upperBodyThinStripes", "upperBodyLogo")
    rates = (0.66, 0.12, 0.22, 0.0) if formal else (0.32, 0.2, 0.2, 0.28)
    pattern = str(rng.choice(patterns, p=rates))
    return found | ({pattern} if pattern else set())


def _lower_body(rng: np.random.Generator, *, male: bool) -> set[str]:
    kinds = ("lowerBodyTrousers", "lowerBodyJeans", "lowerBodyShorts", "lowerBodyShortSkirt")
    kind = str(rng.choice(kinds, p=(0.42, 0.3, 0.28, 0.0) if male else (0.32, 0.22, 0.12, 0.34)))
    formal = kind in ("lowerBodyTrousers", "lowerBodyShortSkirt") and rng.random() < 0.5
    return {kind, "lowerBodyFormal" if formal else "lowerBodyCasual"}


def _skin(rng: np.random.Generator) -> Colour:
    light, dark = np.array((240, 200, 172)), np.array((150, 102, 74))
    red, green, blue = (int(c) for c in light + rng.random() * (dark - light))
    return red, green, blue


def _hair(rng: np.random.Generator, age: str) -> Colour:
    return shaded(_HAIR_BY_AGE[age], rng.uniform(0.9, 1.08))


def _cloth(rng: np.random.Generator, age: str, *, male: bool, formal: bool) -> Colour:
    saturation, value = _CLOTHES_BY_AGE[age]
    hue = rng.uniform(0.53, 0.61) if male else rng.uniform(0.9, 1.0)
    brightness = rng.uniform(*value) * (0.55 if formal else 1.0)
    return from_hsv(hue, rng.uniform(*saturation), brightness)
