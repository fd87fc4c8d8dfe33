"""How long work says where it is; whoever calls decides what is shown."""

from collections.abc import Callable
from typing import Protocol

Count = Callable[[int, int], None]
"""Told how many are done, and of how many."""


class Progress(Protocol):
    """Receives what is being done."""

    def say(self, text: str) -> None:
        """Take one line about the current work."""
        ...

    def count(self, label: str) -> Count:
        """Return a callback for (done, total) of the work called ``label``."""
        ...


class Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Drop the line."""

    def count(self, label: str) -> Count:  # noqa: ARG002  the protocol's signature
        """Return a callback that drops its figures."""
        return _drop


def _drop(done: int, total: int) -> None:
    pass
