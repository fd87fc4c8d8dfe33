"""Search the pipelines around a recipe's for those that explain a file: single changes first, then pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphopt.validate.inputs.expected import ChannelMap, Placement
from graphopt.validate.inputs.looks import Look, Recipe
from graphopt.validate.inputs.placements import Rule, other_rules
from graphopt.validate.inputs.resampling import Kernel, Levels, moved_by_halves
from graphopt.validate.inputs.value_maps import SLACK, ValueMap, distances, explanations, fitted
from graphopt.validate.inputs.verdict import InputCause

_CLOSER_LOOKS = 14
"""Placements that are tried with every kernel, best first."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One pipeline: how it scales, where it puts the image, how it makes values.

    Attributes:
        kernel: None is the recipe's own, whatever it is.
        rule: None is the recipe's own placement.
        place: of the image in the file that was searched.
        way: from levels to values.
        causes: what differs from the recipe.
        cost: number of separate mistakes.
        rms: distance of the sampled values, in levels.
        exact: it explains all sampled values up to rounding.
    """

    kernel: Kernel | None
    rule: Rule | None
    place: Placement
    way: ValueMap
    causes: tuple[InputCause, ...]
    cost: float
    rms: float
    exact: bool


@dataclass(kw_only=True)
class Found:
    """What a search saw.

    Attributes:
        exact: candidates that explain all sampled values, by cost.
        near: all others that were tried, for a word on what it looks like.
    """

    exact: list[Candidate] = field(default_factory=list)
    near: list[Candidate] = field(default_factory=list)

    def take(self, candidates: Sequence[Candidate]) -> None:
        """Sort candidates in."""
        for candidate in candidates:
            (self.exact if candidate.exact else self.near).append(candidate)
        self.exact.sort(key=lambda candidate: candidate.cost)


class Search:
    """Tries pipelines on one file, whose rules of placement are those of all the files.

    Args:
        recipe: what is known of it.
        kernels: to try.
        looks: all files; the first is searched, and rules that place every image of ``looks`` alike are one.
    """

    def __init__(self, recipe: Recipe, kernels: Sequence[Kernel], looks: Sequence[Look]) -> None:
        self._recipe = recipe
        self._kernels = [kernel for kernel in kernels if kernel.title != recipe.kernel.title]
        self._look = looks[0]
        scenes = [look.scene for look in looks]
        self.rules = [(rule, places[0]) for rule, places in other_rules(scenes)]
        for rule in boxes(self._look):
            if rule.place(scenes[0]) not in {scenes[0].own, *(place for _, place in self.rules)}:
                self.rules.append((rule, rule.place(scenes[0])))

    def levels(self) -> Iterator[Found]:
        """Yield what explains the first file: no change of scale and place, then also one, then also two."""
        found = Found()
        for level in (self._unchanged, self._one_change, self._two_changes):
            for candidates in level(found):
                found.take(candidates)
            yield found

    def _unchanged(self, _: Found) -> Iterator[list[Candidate]]:
        yield self._try(None, None, self._look.own)

    def _one_change(self, _: Found) -> Iterator[list[Candidate]]:
        place = self._look.own
        for kernel in (*self._kernels, *moved_by_halves(self._recipe.kernel)):
            yield self._try(kernel, None, place)
        for rule, placed in self.rules:
            yield self._try(None, rule, placed)

    def _two_changes(self, found: Found) -> Iterator[list[Candidate]]:
        by_rule: dict[int, float] = {}
        for near in found.near:
            if near.rule is not None:
                by_rule[id(near.rule)] = min(near.rms, by_rule.get(id(near.rule), np.inf))
        ranked = sorted(self.rules, key=lambda pair: by_rule.get(id(pair[0]), np.inf))
        kernels = (*self._kernels, *moved_by_halves(self._recipe.kernel))
        for rule, placed in ranked[:_CLOSER_LOOKS]:
            for kernel in kernels:
                yield self._try(kernel, rule, placed)
            if fitting := [each.kernel for each in found.exact if each.kernel is not None]:
                kernels = tuple(kernel for kernel in kernels if kernel in fitting)  # one is enough to go by

    def _try(self, kernel: Kernel | None, rule: Rule | None, place: Placement) -> list[Candidate]:
        look, recipe = self._look, self._recipe
        levels = levels_of(look, recipe, kernel, place)
        values, pixels = look.sample(levels, place)
        allowed = look.allowed(values)
        fit = fitted(values, pixels, recipe.channels.order)
        causes = _causes(kernel, rule, recipe)

        def candidate(way: ValueMap, *, exact: bool) -> Candidate:
            return Candidate(
                kernel=kernel,
                rule=rule,
                place=place,
                way=way,
                causes=(*causes, *way.causes),
                cost=len(causes) + _further(kernel, recipe.kernel) + way.cost,
                rms=_rms(way.channels, values, pixels),
                exact=exact,
            )

        loose = kernel.loose if kernel is not None else 0.0
        rounded = float((allowed.max(0) / np.abs(fit.channels.scale)).max()) if fit is not None else 0.0
        if fit is not None and fit.worst > SLACK + loose + rounded:
            # Nothing explains it: remember how near the best lines come.
            return [candidate(ValueMap(channels=fit.channels, causes=(), cost=0), exact=False)]
        found = explanations(recipe.channels, values, pixels, allowed=allowed, raw=look.raw, loose=loose)
        return [candidate(way, exact=True) for way in found]


def levels_of(look: Look, recipe: Recipe, kernel: Kernel | None, place: Placement) -> Levels:
    """Return the image as a candidate scales it."""
    if kernel is None and place == look.own:
        return look.own_levels(recipe)
    return look.scaled(kernel or recipe.kernel, place)


def boxes(look: Look) -> list[Rule]:
    """Return placements read off the file: where it differs from the colour of one of its corners."""
    rules = []
    values = look.values
    for corner in dict.fromkeys(tuple(values[row, column].tolist()) for row in (0, -1) for column in (0, -1)):
        differs = (values != np.array(corner, np.float32)).any(2)
        rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
        if not rows.size or (rows.size, columns.size) == look.canvas:
            continue
        box = Placement(
            int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1), int(rows[0]), int(columns[0])
        )
        rules.append(_box_rule(box, look.own))
    return rules


def _box_rule(box: Placement, own: Placement) -> Rule:
    if (box.height, box.width) == (own.height, own.width):
        cause, what = "padding_side", f"lies at row {box.top}, column {box.left}"
        recipes = f"the recipe's at row {own.top}, column {own.left}"
    else:
        cause, what = "size", f"is scaled to {box.width} x {box.height}"
        recipes = f"the recipe's to {own.width} x {own.height} (width x height)"
    return Rule(cause=cause, sentence=f"the image {what}, {recipes}", place=lambda _: box, read_off=True)


def _further(kernel: Kernel | None, own: Kernel) -> float:
    """Return a little for a kernel that differs in more than one respect: of two, the simpler is believed."""
    both = kernel is not None and kernel.library != own.library and kernel.precision != own.precision
    return 0.25 if both and kernel is not None and not kernel.positions else 0.0


def _causes(kernel: Kernel | None, rule: Rule | None, recipe: Recipe) -> tuple[InputCause, ...]:
    causes = []
    if rule is not None:
        causes.append(InputCause(name=rule.cause, sentence=rule.sentence))
    if kernel is not None:
        causes.append(kernel_cause(kernel, recipe.kernel))
    return tuple(causes)


def kernel_cause(kernel: Kernel, own: Kernel) -> InputCause:
    """Name how one way to scale differs from another."""
    if kernel.positions:
        name = "half_pixel_shift"
    elif (kernel.library, kernel.method) == (own.library, own.method):
        name = "resize_precision"
    else:
        name = "resize_kernel"
    return InputCause(name=name, sentence=f"scaled with {kernel.title}, the recipe with {own.title}")


def _rms(channels: ChannelMap, values: np.ndarray, levels: np.ndarray) -> float:
    return float(np.sqrt((distances(channels, values, levels) ** 2).mean()))
