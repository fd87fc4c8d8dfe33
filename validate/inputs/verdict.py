"""What a comparison of inputs found."""

import enum
from dataclasses import dataclass
from typing import Any

from graphopt.core.words import counted


class InputOutcome(enum.Enum):
    """How the inputs relate to the recipe's own."""

    EXACT = "exact"
    ROUNDING = "rounding only"
    NAMED = "named"
    PARTLY = "partly named"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class InputCause:
    """One difference between two preprocessings.

    Attributes:
        name: one word of ``CAUSES``.
        sentence: what was done instead of what the recipe does, with numbers.
    """

    name: str
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"name": self.name, "sentence": self.sentence}


CAUSES = {
    "channel_order": "the colours stand in another order",
    "colour": "the colours were converted (grey, luminance)",
    "scale": "pixels 0..255 where 0..1 is wanted, or the other way round",
    "mean": "another mean was subtracted, or none",
    "std": "another deviation divides, or none",
    "normalization": "not normalised, or twice",
    "resize_kernel": "another interpolation",
    "resize_precision": "the resize rounds to whole levels where the recipe's does not, or the reverse",
    "half_pixel_shift": "the resize samples at other positions: no half pixel offset, or corners aligned",
    "size_rounding": "a side of the scaled image is a pixel longer or shorter",
    "size": "the image was scaled to another size",
    "aspect": "the aspect was kept where it is not, or the other way round",
    "padding_side": "the image lies at another place of the input",
    "padding_value": "the padding has another value",
    "shift": "the image is moved by whole pixels",
    "crop": "the image was cropped",
    "orientation": "the image is mirrored or turned (EXIF)",
    "layout": "the axes of the file are in another order",
    "dtype": "the file holds another number format",
    "image_order": "the files belong to other images",
}
"""Every name of a cause, and what it means."""


_IN_A_WORD = {
    InputOutcome.EXACT: "exact",
    InputOutcome.ROUNDING: "rounding",
    InputOutcome.UNKNOWN: "unknown",
}


@dataclass(frozen=True, kw_only=True)
class InputVerdict:
    """The inputs of a few images, against the recipe's own.

    Attributes:
        outcome: see ``InputOutcome``.
        causes: what was done otherwise; empty unless the outcome names something.
        alternatives: with AMBIGUOUS, sets of further causes, each of which would explain the rest.
        sentence: the verdict in words, with numbers.
        images: compared.
        equal: of these, those that equal the recipe's (up to rounding).
        dtype: of the files.
        max_error: largest difference from the recipe's input, in that input's unit; None where the
            sizes differ.
        correlation: of both, over all values; None likewise, or where one of them is constant.
        remaining: largest difference left once the causes are undone, in levels of 0..255; None where
            nothing is named.
    """

    outcome: InputOutcome
    sentence: str
    images: int
    equal: int
    dtype: str
    causes: tuple[InputCause, ...] = ()
    alternatives: tuple[tuple[InputCause, ...], ...] = ()
    max_error: float | None = None
    correlation: float | None = None
    remaining: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the model was fed what the recipe says."""
        return self.outcome in (InputOutcome.EXACT, InputOutcome.ROUNDING)

    @property
    def cause(self) -> str:
        """``exact``, ``rounding``, ``unknown``, or names: ``a + b``, ``a + unknown``, ``a + (b or c)``."""
        if self.outcome in _IN_A_WORD:
            return _IN_A_WORD[self.outcome]
        names = [cause.name for cause in self.causes]
        if self.outcome is InputOutcome.PARTLY:
            names.append("unknown")
        if self.alternatives:
            either = " or ".join(" + ".join(cause.name for cause in each) for each in self.alternatives)
            names.append(f"({either})" if names else either)
        return " + ".join(names)

    @property
    def title(self) -> str:
        """E.g. ``3 of 8 inputs equal the recipe's``."""
        if self.equal == self.images:
            return f"{counted(self.images, 'input')} equal to the recipe's"
        return f"{self.equal} of {counted(self.images, 'input')} equal to the recipe's"

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and reports."""
        return {
            "ok": self.ok,
            "outcome": self.outcome.name,
            "cause": self.cause,
            "causes": [cause.to_json() for cause in self.causes],
            "alternatives": [[cause.to_json() for cause in each] for each in self.alternatives],
            "sentence": self.sentence,
            "images": self.images,
            "equal": self.equal,
            "dtype": self.dtype,
            "max_error": self.max_error,
            "correlation": self.correlation,
            "remaining": self.remaining,
        }
