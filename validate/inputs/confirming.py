"""Keep of the candidates what explains every pixel of the files, paddings included."""

from collections.abc import Sequence
from dataclasses import dataclass

from graphopt.validate.inputs.expected import Placement
from graphopt.validate.inputs.looks import Look, Recipe
from graphopt.validate.inputs.padding import Padding
from graphopt.validate.inputs.search import Candidate, Found, boxes, levels_of
from graphopt.validate.inputs.value_maps import SLACK
from graphopt.validate.inputs.verdict import InputCause

_MOST = 24
"""Candidates that are tried on all pixels, cheapest first; plain images can have more."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A candidate that explains every pixel of some files.

    Attributes:
        candidate: what was done.
        causes: all that differs from the recipe, the padding included.
        cost: number of separate mistakes.
        files: numbers of those that it explains.
        around: what stands around the images is explained too.
        remaining: largest difference left beyond rounding, in levels.
    """

    candidate: Candidate
    causes: tuple[InputCause, ...]
    cost: float
    files: frozenset[int]
    around: bool
    remaining: float

    @property
    def names(self) -> frozenset[str]:
        """Of the causes."""
        return frozenset(cause.name for cause in self.causes)


def confirmed(found: Found, looks: Sequence[Look], recipe: Recipe) -> list[Explanation]:
    """Return the explanations of most files with the fewest mistakes; several where none is better.

    Args:
        found: candidates, from the first file.
        looks: all files.
        recipe: what is known of it.
    """
    kept = [each for candidate in found.exact[:_MOST] if (each := _try(candidate, looks, recipe)) is not None]
    if not kept:
        return []
    best = max(_rank(each) for each in kept)
    good = [each for each in kept if _rank(each) == best]
    # Of two that differ in one more cause, the one without it is simpler.
    return [each for each in good if not any(other.names < each.names for other in good)]


def _rank(explanation: Explanation) -> tuple[int, bool, float]:
    return len(explanation.files), explanation.around, -explanation.cost


def better(one: Sequence[Explanation], other: Sequence[Explanation]) -> Sequence[Explanation]:
    """Return those of two results that explain more; the first where that is the same."""
    return other if other and (not one or _rank(other[0]) > _rank(one[0])) else one


def _try(candidate: Candidate, looks: Sequence[Look], recipe: Recipe) -> Explanation | None:
    remaining, around = 0.0, True
    files: set[int] = set()
    causes: dict[str, InputCause] = {cause.name: cause for cause in candidate.causes}
    paddings = 0
    for number, look in enumerate(looks):
        tried = (
            _holds(candidate, look, recipe, place) for place in _places(candidate, look, first=number == 0)
        )
        held = next((one for one in tried if one is not None), None)
        if held is None:
            if number == 0:
                return None
            continue
        files.add(number)
        remaining = max(remaining, held[0])
        around = around and held[1] is not None
        for cause in held[1].causes if held[1] is not None else ():
            paddings = 1
            causes.setdefault(cause.name, cause)
    return Explanation(
        candidate=candidate,
        causes=tuple(causes.values()),
        cost=candidate.cost + paddings,
        files=frozenset(files),
        around=around,
        remaining=remaining,
    )


def _places(candidate: Candidate, look: Look, *, first: bool) -> list[Placement]:
    if first:
        return [candidate.place]
    if candidate.rule is None:
        return [look.own]
    if candidate.rule.read_off:
        return [rule.place(look.scene) for rule in boxes(look)]
    return [candidate.rule.place(look.scene)]


def _holds(
    candidate: Candidate, look: Look, recipe: Recipe, place: Placement
) -> tuple[float, Padding | None] | None:
    """Return what is left and what stands around when every pixel of the image is explained, else None."""
    levels = levels_of(look, recipe, candidate.kernel, place)
    remaining = float(look.remaining(levels, place, candidate.way).max())
    loose = candidate.kernel.loose if candidate.kernel is not None else 0.0
    if remaining > SLACK + loose:
        return None
    moved = candidate.rule is not None and candidate.rule.cause == "shift"
    padding = look.padding(recipe, candidate.way, place, moved=moved)
    return max(0.0, remaining), padding
