"""Steps of a rewrite as users type them: ``remove_pad:expect=1,set_batch:size=4``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphopt.core.errors import UsageError

EXPECT = "expect"
"""Reserved: an option of every step, never of a pass."""


@dataclass(frozen=True)
class Expect:
    """A number of sites, promised for graphs of one producer.

    Attributes:
        count: of places where the pass applies.
        producer: start of ``"producer_name producer_version"`` of the graphs it holds for, such as
            ``"pytorch 1.6"`` or ``"pytorch 2."``.
    """

    count: int
    producer: str


@dataclass(frozen=True)
class PassStep:
    """One pass to run, by name.

    Attributes:
        name: of the pass.
        options: typed values, or the texts a user typed.
        expect: how many sites there must be; None promises nothing, and so does a tuple without
            an entry for the graph's producer.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    expect: int | tuple[Expect, ...] | None = None

    def __str__(self) -> str:
        """Return the step as typed, without what it expects."""
        return ":".join([self.name, *(f"{key}={_typed(value)}" for key, value in self.options.items())])

    def expected_count(self, producer: str) -> int | None:
        """Return how many sites a graph of ``producer`` must have; None when nothing is promised."""
        if isinstance(self.expect, tuple):
            return next((item.count for item in self.expect if producer.startswith(item.producer)), None)
        return self.expect


def parse_steps(text: str) -> tuple[PassStep, ...]:
    """Read a list of passes as typed on a command line.

    Passes are separated by commas, options by colons, the items of a list by plus signs. A colon
    may stand in a value: what follows it is a new option only when it holds ``=``.

    Raises:
        UsageError: an unknown pass or option, or a value of the wrong type.
    """
    from graphopt.surgery.catalogue import make_pass

    steps = tuple(_parse_step(item.strip()) for item in text.split(",") if item.strip())
    if not steps:
        raise UsageError("no pass was given; 'graphopt passes' lists them")
    for place, step in enumerate(steps):
        if "=" in step.name and place:
            before = steps[place - 1].name
            raise UsageError(
                f"{step.name!r} is no pass; an option follows its pass after a colon, not a comma: "
                f"{before}:{step.name}"
            )
        make_pass(step)
    return steps


def _parse_step(text: str) -> PassStep:
    name, *pieces = text.split(":")
    options: dict[str, str] = {}
    last = ""
    for piece in pieces:
        key, equals, value = piece.partition("=")
        if equals:
            if key in options:
                raise UsageError(f"{name}: option {key!r} is given twice")
            options[key] = value
            last = key
        elif last:
            options[last] += ":" + piece
        else:
            raise UsageError(f"{name}: {piece!r} is no option; write {name}:{piece or 'option'}=VALUE")
    expect = options.pop(EXPECT, None)
    return PassStep(name, options, None if expect is None else _count(name, expect))


def _typed(value: object) -> str:
    if isinstance(value, tuple | list):
        return "+".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _count(name: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{name}: {EXPECT} must be a number of sites such as 1, not {text!r}")
    return int(text)
