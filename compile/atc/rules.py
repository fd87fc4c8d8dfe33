"""A rule of ATC, broken: found before anything runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.graph_facts import GraphFacts


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Why ATC would refuse a call or make something useless of it.

    Attributes:
        code: of the error that ATC would show; empty where it has none of its own.
        what: the fact, a clause.
        remedy: what to do, an imperative clause.
    """

    code: str = ""
    what: str
    remedy: str

    def __str__(self) -> str:
        """Return ``E10016: ...; do ...``."""
        return f"{self.code + ': ' if self.code else ''}{self.what}; {self.remedy}"


Rule: TypeAlias = Callable[[AtcInvocation, GraphFacts], Iterator[Violation]]
