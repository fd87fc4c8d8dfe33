"""Releases of CANN: their order, which of them the tables cover, and the opsets that documents name."""

import functools
import re
from dataclasses import dataclass

from graphopt.core.errors import UsageError

_FORM = re.compile(r"(?:cann[ _-]*)?v?(\d{1,2})\.(\d{1,2})(?:\.(RC)?(\d{1,2}))?(?:\.[\w.]+)?", re.IGNORECASE)


@functools.total_ordering
@dataclass(frozen=True)
class Release:
    """One release, e.g. ``6.0.1`` or ``8.0.RC2``.

    Attributes:
        major: first number.
        minor: second number; what comes behind it does not change the tables.
        text: as users write it.
    """

    major: int
    minor: int
    text: str = ""

    def __eq__(self, other: object) -> bool:
        """Whether both have the same tables."""
        return isinstance(other, Release) and self._key == other._key

    def __lt__(self, other: "Release") -> bool:
        """Whether this one came earlier."""
        return self._key < other._key

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(self._key)

    @property
    def _key(self) -> tuple[int, int]:
        return self.major, self.minor

    def __str__(self) -> str:
        """Return the text that a user types."""
        return self.text or f"{self.major}.{self.minor}"


FIRST_2022 = Release(5, 1)
LAST_2022 = Release(6, 0)
"""The sources of mid-2022 stand between these two."""
DEVELOPMENT_2026 = Release(9, 2)
"""What the sources of August 2026 become."""


def parse_release(text: str) -> Release:
    """Read a release as users write it: ``6.0.1``, ``8.0.RC2``, ``CANN 7.0``.

    Raises:
        UsageError: it is none.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"--cann takes a release such as 6.0.1, 7.0 or 8.0.RC2, not {text!r}; on the device box it is in "
            "/usr/local/Ascend/ascend-toolkit/latest/version.cfg"
        )
    third = match.group(4)
    suffix = f".{'RC' if match.group(3) else ''}{third}" if third else ""
    major, minor = int(match.group(1)), int(match.group(2))
    return Release(major, minor, f"{major}.{minor}{suffix}")


@dataclass(frozen=True, kw_only=True)
class NamedOpsets:
    """What documents say of one range of releases.

    Attributes:
        first: release from which it holds.
        last: release up to which it holds.
        low: lowest opset of the standard operators.
        high: highest.
        source: key of ``SOURCES``.
    """

    first: Release
    last: Release
    low: int
    high: int
    source: str


NAMED_OPSETS: tuple[NamedOpsets, ...] = (
    NamedOpsets(first=Release(5, 0), last=Release(5, 0), low=9, high=13, source="DOC5"),
    NamedOpsets(first=Release(7, 0), last=Release(7, 99), low=9, high=18, source="DOC7"),
    NamedOpsets(first=Release(8, 0), last=Release(9, 1), low=9, high=18, source="DOC"),
    NamedOpsets(first=Release(9, 2), last=Release(9, 2), low=11, high=18, source="GE"),
)
"""From 8.0 on each operator has its own range, to 18 at most; the documents of 6.0 lag behind its sources."""


def named_opsets(release: Release) -> NamedOpsets | None:
    """Return what documents say of a release; None when they say nothing."""
    return next((item for item in NAMED_OPSETS if item.first <= release <= item.last), None)
