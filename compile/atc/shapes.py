"""``--input_shape`` and the profile options as data, parsed and written."""

import re
from dataclasses import dataclass
from typing import TypeAlias

from graphopt.core.errors import UsageError

Size: TypeAlias = int | tuple[int, int]
"""A size, -1 for one that profiles fill in, or the two ends of a range."""


@dataclass(frozen=True)
class InputShape:
    """The shape of one input.

    Attributes:
        name: as in the graph; may contain ``:``.
        dims: empty for a scalar.
    """

    name: str
    dims: tuple[Size, ...]

    def __str__(self) -> str:
        """Return ``x:1,3,-1,1~8``."""
        sizes = ",".join(str(d) if isinstance(d, int) else f"{d[0]}~{d[1]}" for d in self.dims)
        return f"{self.name}:{sizes}"

    @property
    def unknowns(self) -> int:
        """How many sizes are -1."""
        return sum(dim == -1 for dim in self.dims)


def parse_input_shape(text: str) -> tuple[InputShape, ...]:
    """Parse ``name:1,3,224,224;other:1~8,-1``; the last colon splits a name from its sizes.

    Raises:
        UsageError: E10002.
    """
    shapes = []
    for part in filter(None, (item.strip() for item in text.split(";"))):
        name, colon, sizes = part.rpartition(":")
        if not colon or not name:
            raise UsageError(
                f"E10002: input_shape {part!r} is not NAME:SIZE,SIZE,...; e.g. image:1,3,224,224"
            )
        items = sizes.split(",") if sizes.strip() else []
        shapes.append(InputShape(name.strip(), tuple(_size(item.strip(), part) for item in items)))
    return tuple(shapes)


def parse_profiles(text: str, *, option: str) -> tuple[tuple[int, ...], ...]:
    """Parse ``224,224;448,448`` into tuples of ints.

    Raises:
        UsageError: E10020 for dynamic_image_size, else E10001.
    """
    code = "E10020" if option == "dynamic_image_size" else "E10001"
    profiles = []
    for part in text.split(";"):
        items = [item.strip() for item in part.split(",")]
        if not all(re.fullmatch(r"-?\d+", item) for item in items):
            raise UsageError(f"{code}: {option} {part!r} is not a list of whole numbers: 'a,b;c,d'")
        profiles.append(tuple(int(item) for item in items))
    return tuple(profiles)


def write_profiles(profiles: tuple[tuple[int, ...], ...]) -> str:
    """Write what ``parse_profiles`` reads."""
    return ";".join(",".join(str(value) for value in profile) for profile in profiles)


def _size(text: str, part: str) -> Size:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    ends = re.fullmatch(r"(\d+)~(-1|\d+)", text)
    if ends:
        return int(ends[1]), int(ends[2])
    raise UsageError(
        f"E10002: {text!r} in input_shape {part!r} is no size; a whole number, -1, or a range such as 1~8"
    )
