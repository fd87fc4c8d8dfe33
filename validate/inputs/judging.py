"""Give the verdict on inputs: equal, or what explains every pixel of them, or that nothing does."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from graphopt.core.words import counted
from graphopt.validate.inputs.coarse import correlation
from graphopt.validate.inputs.confirming import Explanation, better, confirmed
from graphopt.validate.inputs.expected import ChannelMap, ExpectedInput, Triple
from graphopt.validate.inputs.layouts import arranged
from graphopt.validate.inputs.looks import Look, Recipe, rounding
from graphopt.validate.inputs.near import holding_causes, nearest
from graphopt.validate.inputs.resampling import Kernel, kernels
from graphopt.validate.inputs.search import Candidate, Found, Search
from graphopt.validate.inputs.value_maps import SLACK
from graphopt.validate.inputs.verdict import InputCause, InputOutcome, InputVerdict
from graphopt.validate.inputs.views import Fed, View, views

_AGAIN = 2
"""Further files that are searched when what explains the first does not explain them."""


def judge(
    fed: Sequence[Fed],
    channels: ChannelMap,
    padding: Triple | None,
    *,
    others: Callable[[], Sequence[ExpectedInput]] = tuple,
) -> InputVerdict:
    """Compare files with what a recipe makes of their images.

    Args:
        fed: files of one dtype, at least one.
        channels: how the recipe's levels become values.
        padding: the recipe's, per channel; None where it pads none of the images.
        others: more images, asked for where a file does not hold its own.
    """
    measures = [_Measure(item, channels) for item in fed]
    different = [item for item, measure in zip(fed, measures, strict=True) if not measure.equal]
    verdict = InputVerdict(
        outcome=InputOutcome.EXACT,
        sentence="",
        images=len(fed),
        equal=len(fed) - len(different),
        dtype=str(fed[0].flat.dtype),
        max_error=max(measure.error for measure in measures),
        correlation=min(measure.correlation for measure in measures),
    )
    if not different:
        return _equal(verdict, measures)
    broken = next((reason for item in different if (reason := _broken(item))), "")
    if not broken and all(_is_plain(item.image) for item in different):
        broken = (
            f"the images are of one colour each, which tells nothing; largest error {verdict.max_error:.3g}"
        )
    if broken:
        return replace(verdict, outcome=InputOutcome.UNKNOWN, sentence=f"{verdict.title}: {broken}")
    return _explained(verdict, different, channels, padding, others)


class _Measure:
    """How far one file is from the recipe's input, with its axes as the model wants them."""

    def __init__(self, fed: Fed, channels: ChannelMap) -> None:
        raw = fed.flat.dtype == np.uint8
        own = ChannelMap(channels.order, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)) if raw else channels
        wanted = fed.image.values
        expected = own.values_of(channels.levels_of(wanted)) if raw else wanted
        layouts = ("NHWC", "NCHW") if raw else ("NCHW",)
        offs = {
            layout: np.abs(arranged(fed.flat, layout, fed.image.canvas).astype(np.float32) - expected)
            for layout in layouts
        }
        self.layout = min(offs, key=lambda layout: float(offs[layout].max()))
        off, values = offs[self.layout], arranged(fed.flat, self.layout, fed.image.canvas)
        self.error = float(off.max())
        self.exact = not raw and bool(np.array_equal(values, wanted))
        slack = SLACK * np.abs(np.array(own.scale, np.float32))
        self.equal = bool((off <= rounding(fed.flat.dtype, expected) + slack).all())
        self.correlation = correlation(values, expected)


def _equal(verdict: InputVerdict, measures: Sequence[_Measure]) -> InputVerdict:
    count = counted(verdict.images, "input")
    if verdict.dtype == "float64":
        cause = InputCause(name="dtype", sentence="the files hold float64, the model takes float32")
        return replace(
            verdict,
            outcome=InputOutcome.NAMED,
            causes=(cause,),
            remaining=0.0,
            sentence=f"{count}: {cause.sentence}; the values are the recipe's",
        )
    if all(measure.exact for measure in measures):
        return replace(verdict, sentence=f"{count} equal to the recipe's, bit by bit")
    what = {
        "uint8": f"whole levels before normalising ({measures[0].layout}), as a model with AIPP takes them",
        "float16": "the recipe's, rounded to float16",
    }.get(verdict.dtype, "the recipe's but for the last bits")
    sentence = f"{count}: {what}; largest difference {verdict.max_error:.3g}"
    return replace(verdict, outcome=InputOutcome.ROUNDING, sentence=sentence)


def _is_plain(image: ExpectedInput) -> bool:
    """Whether an image is of one colour: what was done to it cannot be seen."""
    return float(image.pixels.std((0, 1)).max()) < 1


def _broken(item: Fed) -> str:
    values = item.flat
    if not np.isfinite(values).all():
        return f"{item.file} holds NaN or infinities"
    if values.min() == values.max():
        return f"every value of {item.file} is {values[0]:g}"
    return ""


def _explained(
    verdict: InputVerdict,
    different: Sequence[Fed],
    channels: ChannelMap,
    padding: Triple | None,
    others: Callable[[], Sequence[ExpectedInput]],
) -> InputVerdict:
    known = kernels()
    own = _own_kernel([item.image for item in different], channels, known)
    recipe = Recipe(channels=channels, padding=padding, kernel=own)
    best: tuple[Candidate, tuple[InputCause, ...]] | None = None
    for view in views(different, others):
        explanations, found = _of_most(view.looks, recipe, known)
        if explanations:
            return _named(verdict, view, explanations)
        candidate = nearest(found)
        if candidate is not None and (best is None or candidate.rms < best[0].rms):
            held = holding_causes(found, candidate, view.looks[0], recipe)
            best = candidate, (*(view.causes if view.sure else ()), *held)
    return _unknown(verdict, best)


def _of_most(
    looks: Sequence[Look], recipe: Recipe, known: Sequence[Kernel]
) -> tuple[Sequence[Explanation], Found]:
    """Return the explanations of as many files as possible; where one leaves some, these are searched too."""
    best, found = _of_first(looks, recipe, known)
    for _ in range(_AGAIN):
        left = [n for n in range(len(looks)) if best and n not in best[0].files]
        if not left:
            break
        looks = (looks[left[0]], *(look for n, look in enumerate(looks) if n != left[0]))
        again, _ = _of_first(looks, recipe, known)
        if better(best, again) is best:
            break
        best = again
    return best, found


def _of_first(
    looks: Sequence[Look], recipe: Recipe, known: Sequence[Kernel]
) -> tuple[Sequence[Explanation], Found]:
    """Search the first file until an explanation holds for all files and what stands around the images."""
    best: Sequence[Explanation] = ()
    found = Found()
    for found in Search(recipe, known, looks).levels():
        best = better(best, confirmed(found, looks, recipe))
        if best and best[0].around and len(best[0].files) == len(looks):
            break
    return best, found


def _own_kernel(images: Sequence[ExpectedInput], channels: ChannelMap, known: Sequence[Kernel]) -> Kernel:
    """Return the kernel that makes the recipe's inputs, else the one that comes nearest."""

    def off(kernel: Kernel, image: ExpectedInput) -> float:
        place = image.placement
        levels = channels.levels_of(image.values[place.inside(image.canvas)])
        scaled = kernel.scale(image.pixels, place.height, place.width)[place.own(image.canvas)]
        return float(np.abs(scaled - levels).max())

    offs: list[tuple[float, Kernel]] = []
    for kernel in known:
        worst = off(kernel, images[0])
        if worst <= SLACK:
            worst = max(off(kernel, image) for image in images[:3])
        if worst <= SLACK:
            return kernel
        offs.append((worst, kernel))
    return min(offs, key=lambda pair: pair[0])[1]


def _named(verdict: InputVerdict, view: View, explanations: Sequence[Explanation]) -> InputVerdict:
    first = explanations[0]
    of_dtype = (
        (InputCause(name="dtype", sentence="the files hold float64, the model takes float32"),)
        if verdict.dtype == "float64"
        else ()
    )
    different = verdict.images - verdict.equal
    rest = different - len(first.files)
    part = f"; that explains {len(first.files)} of the {different} that differ" if rest else ""
    part += "" if first.around else "; what stands around the image is not explained"
    left = f"; undone, {first.remaining:.2g} of 255 levels remain"
    common = frozenset.intersection(*(each.names for each in explanations))
    sets = {each.names: each for each in reversed(explanations)}
    if len(sets) > 1:
        causes = (*of_dtype, *view.causes, *(cause for cause in first.causes if cause.name in common))
        alternatives = tuple(
            tuple(cause for cause in each.causes if cause.name not in common) for each in sets.values()
        )
        either = ", or ".join(" and ".join(cause.sentence for cause in each) for each in alternatives)
        known = "".join(f"{cause.sentence}; " for cause in causes)
        return replace(
            verdict,
            outcome=InputOutcome.AMBIGUOUS,
            causes=causes,
            alternatives=alternatives,
            remaining=first.remaining,
            sentence=f"{verdict.title}: {known}these images cannot tell apart: {either}{part}",
        )
    causes = (*of_dtype, *view.causes, *first.causes)
    sentence = f"{verdict.title}: {'; '.join(cause.sentence for cause in causes)}{part}{left}"
    return replace(
        verdict,
        outcome=InputOutcome.PARTLY if rest or not first.around else InputOutcome.NAMED,
        causes=causes,
        remaining=first.remaining,
        sentence=sentence,
    )


def _unknown(verdict: InputVerdict, best: tuple[Candidate, tuple[InputCause, ...]] | None) -> InputVerdict:
    numbers = f"largest error {verdict.max_error:.3g}, correlation {verdict.correlation:.3f}"
    if best is None:
        return replace(
            verdict,
            outcome=InputOutcome.UNKNOWN,
            sentence=f"{verdict.title}: the difference is unknown; {numbers}",
        )
    candidate, causes = best
    looks = "; ".join(cause.sentence for cause in candidate.causes) or "the recipe's steps"
    like = f"nearest comes: {looks}, {candidate.rms:.2g} levels off (root mean square)"
    if causes:
        known = "; ".join(cause.sentence for cause in causes)
        return replace(
            verdict,
            outcome=InputOutcome.PARTLY,
            causes=causes,
            remaining=candidate.rms,
            sentence=f"{verdict.title}: {known}; the rest is unknown: {numbers}, {like}",
        )
    return replace(
        verdict,
        outcome=InputOutcome.UNKNOWN,
        sentence=f"{verdict.title}: the difference is unknown; {numbers}, {like}",
    )
