"""The chips that ATC compiles for, and how users spell them."""

import re

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError

SOC_VERSIONS: tuple[str, ...] = (
    "Ascend310",
    *(f"Ascend310P{n}" for n in (1, 3, 5, 7)),
    *(f"Ascend310P3Vir{n}" for n in ("01", "02", "04", "08")),
    *(f"Ascend310B{n}" for n in (1, 2, 3, 4)),
    *(f"Ascend910{n}" for n in ("A", "ProA", "PremiumA", "B", "ProB")),
    *(f"Ascend910B{n}" for n in ("1", "2", "2C", "3", "4", "4-1")),
    *(f"Ascend910_{n}" for n in (9362, 9363, 9372, 9381, 9382, 9391, 9392)),
    *(f"Ascend950PR_{n}" for n in ("950z", "9579", "957b", "957c", "957d", "9589", "958b", "9599")),
    *(f"Ascend950DT_{n}" for n in ("950x", "950y", "9571", "95A2")),
    *(f"Ascend{n}" for n in ("031", "035", "035A", "035B", "350_354f", "350_355e", "610", "615")),
)
"""Every value with a platform file in a published CANN release; the 950DT list has gaps (see below)."""

# Between 9571 and 95A2 more exist than are named anywhere public.
_LATER_950 = re.compile(r"950(PR|DT)_9[0-9A-Za-z]{3}", re.IGNORECASE)

_FP16_MATRIX_FAMILIES = ("310", "310P", "910")


def normalise_soc(text: str) -> str:
    """Return the ``--soc_version`` value that ``text`` means: ``310p3`` -> ``Ascend310P3``.

    Raises:
        UsageError: E10001: no such chip; a family name gets the list of its chips.
    """
    short = text.strip()
    if short[:6].lower() == "ascend":
        short = short[6:]
    short = short.strip()
    for version in SOC_VERSIONS:
        if version[6:].lower() == short.lower():
            return version
    if _LATER_950.fullmatch(short):
        return f"Ascend{short}"
    family = [v for v in SOC_VERSIONS if short and v[6:].lower().startswith(short.lower())]
    if family:
        raise UsageError(
            f"E10001: {text!r} is a family, not a chip; ATC wants one of {', '.join(family)}: it is "
            "the name that 'npu-smi info' shows on the device box, with Ascend before it"
        )
    near = did_you_mean(f"Ascend{short}", SOC_VERSIONS)
    raise UsageError(f"E10001: unknown chip {text!r} (--soc_version); {near}")


def family_of(soc: str) -> str:
    """Return the family of a normalised chip: 310, 310P, 310B, 910, 910B, 910_93, 950 or the chip itself.

    ``Ascend910B`` without a digit is of family 910.
    """
    short = soc.removeprefix("Ascend")
    if short.startswith(("310P", "310B")):
        return short[:4]
    if re.match(r"910B\d", short):
        return "910B"
    if short.startswith("910_"):
        return "910_93"
    for family in ("910", "950"):
        if short.startswith(family):
            return family
    return short


def has_fp32_matrix_unit(soc: str) -> bool:
    """Whether matrix operators can take float32 inputs on this chip."""
    return family_of(soc) not in _FP16_MATRIX_FAMILIES


def soc_note(soc: str) -> str | None:
    """Return the warning that belongs to a chip's name, or None."""
    if soc == "Ascend910B":
        return (
            "Ascend910B is the first 910 with 30 cores. The A2 chips of the family also called 910B are "
            "Ascend910B1, B2, B2C, B3, B4 and B4-1; an .om for one does not run on the other."
        )
    if soc == "Ascend310":
        return "Ascend310 is gone from the newest CANN releases; compile with CANN 8.x or older."
    return None
