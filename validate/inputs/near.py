"""Where nothing explains every value: name what holds all the same, and say what it looks like."""

import numpy as np

from graphopt.validate.inputs.expected import ChannelMap
from graphopt.validate.inputs.looks import Look, Recipe
from graphopt.validate.inputs.search import Candidate, Found, levels_of
from graphopt.validate.inputs.value_maps import ValueMap, distances, ways
from graphopt.validate.inputs.verdict import InputCause

_NEAR = 6.0
"""Root mean square in levels above which lines through the values mean nothing."""
_SAME_IMAGE = 1.0
"""Likewise for where and how the image was scaled: half a pixel of a textured image moves more."""
_CLEARLY = 3.0
"""How many times farther off everything without a cause must be for the cause to be named."""


def nearest(found: Found) -> Candidate | None:
    """Return the candidate that comes nearest; of about equal ones, that with the fewest changes."""
    if not found.near:
        return None
    least = min(candidate.rms for candidate in found.near)
    good = [candidate for candidate in found.near if candidate.rms <= 1.05 * least + 1e-3]
    return min(good, key=lambda candidate: (candidate.cost, candidate.rms))


def holding_causes(found: Found, best: Candidate, look: Look, recipe: Recipe) -> tuple[InputCause, ...]:
    """Return the causes without which everything that was tried is far worse."""
    if best.rms > _NEAR:
        return ()
    return (*_geometry(found, best), *_values(best, look, recipe))


def _geometry(found: Found, best: Candidate) -> tuple[InputCause, ...]:
    if best.rms > _SAME_IMAGE:
        return ()
    holding = []
    for cause in best.causes:
        without = [near.rms for near in found.near if cause.name not in {each.name for each in near.causes}]
        if without and min(without) >= _CLEARLY * max(best.rms, 0.3):
            holding.append(cause)
    return tuple(holding)


def _values(best: Candidate, look: Look, recipe: Recipe) -> tuple[InputCause, ...]:
    """Name what all known ways have in common that fit about as well as free lines."""
    place = best.place
    values, levels = look.sample(levels_of(look, recipe, best.kernel, place), place)

    def off(channels: ChannelMap) -> float:
        return float(np.sqrt((distances(channels, values, levels) ** 2).mean()))

    tried = [(off(way.channels), way) for way in ways(recipe.channels, raw=look.raw)]
    limit = 1.3 * best.rms + 0.2
    fitting: list[ValueMap] = [way for rms, way in tried if rms <= limit]
    if not fitting or tried[0][0] < _CLEARLY * limit:
        return ()
    names = frozenset.intersection(*(frozenset(cause.name for cause in way.causes) for way in fitting))
    simplest = min(fitting, key=lambda way: way.cost)
    return tuple(cause for cause in simplest.causes if cause.name in names)
