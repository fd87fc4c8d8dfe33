"""Name how levels became values: which channel is which colour, and what was subtracted and divided by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from graphopt.validate.inputs.expected import ChannelMap, Order, Triple
from graphopt.validate.inputs.verdict import InputCause

T = TypeVar("T", int, float)
Points = NDArray[np.float64]
"""[n, 3]: sampled pixels; values of the input by channel, or levels of the image by R, G, B."""

ORDERS: tuple[Order, ...] = ((0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1))
_PLAIN = 0.5
"""Standard deviation in levels below which a channel cannot be told from a constant."""
_NO_BETTER = 1e-9
"""Share of the variance that a better order of colours must explain beyond rounding."""
_IMAGENET: tuple[Triple, Triple] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and deviation of R, G, B, as torchvision documents them, times 255."""
_CAFFE: Triple = (122.7717, 115.9465, 102.9801)
"""Mean of R, G, B of the Caffe networks that Detectron takes over."""
_VGG: Triple = (123.68, 116.779, 103.939)
"""Mean of R, G, B of the original VGG networks."""


@dataclass(frozen=True, kw_only=True)
class ValueMap:
    """One way from levels to values.

    Attributes:
        channels: the way.
        causes: what differs from the recipe's; empty for the recipe's own.
        cost: number of separate mistakes that it takes.
    """

    channels: ChannelMap
    causes: tuple[InputCause, ...]
    cost: float


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The straight lines from levels to values that fit best.

    Attributes:
        channels: order and lines.
        worst: largest distance from them, in levels.
        rms: its root mean square.
    """

    channels: ChannelMap
    worst: float
    rms: float


def fitted(values: Points, levels: Points, usual: Order) -> Fit | None:
    """Fit a line per channel, for the order of colours in which they fit best.

    Args:
        values: of the input.
        levels: of the image.
        usual: order that is taken where no other one fits better: grey images fit in any.

    Returns:
        None where values or levels are nearly constant, which fits anything.
    """
    v, p = values - values.mean(0), levels - levels.mean(0)
    spread_v, spread_p = (v**2).mean(0), (p**2).mean(0)
    if (spread_p < _PLAIN**2).any() or (spread_v <= 1e-12 * np.abs(values).max() ** 2).any():
        return None
    shared = v.T @ p / len(v)
    unexplained = 1 - shared**2 / np.outer(spread_v, spread_p)
    off_by = {order: float(unexplained[range(3), list(order)].sum()) for order in ORDERS}
    order = min(ORDERS, key=lambda each: off_by[each])
    if off_by[usual] <= 1.01 * off_by[order] + _NO_BETTER:
        order = usual
    slope = shared[range(3), list(order)] / spread_p[list(order)]
    if (np.abs(slope) < 1e-9).any():
        return None
    channels = ChannelMap(
        order, _triple(slope), _triple(values.mean(0) - slope * levels.mean(0)[list(order)])
    )
    off = distances(channels, values, levels)
    return Fit(channels=channels, worst=float(off.max()), rms=float(np.sqrt((off**2).mean())))


def distances(channels: ChannelMap, values: Points, levels: Points) -> Points:
    """Return how far values are from a map of the levels, in levels."""
    scale, offset = np.array(channels.scale), np.array(channels.offset)
    distance: Points = np.abs((values - offset) / scale - levels[:, list(channels.order)])
    return distance


def explanations(
    own: ChannelMap,
    values: Points,
    levels: Points,
    *,
    allowed: NDArray[np.floating],
    raw: bool,
    loose: float = 0.0,
) -> list[ValueMap]:
    """Return every known way that turns these levels into these values; only measured ones if none does.

    Args:
        own: the recipe's way.
        values: [n, 3], of the input.
        levels: [n, 3], of the image.
        allowed: [n, 3] or less, in the unit of the values: their rounding; a little is added in levels.
        loose: the levels themselves are that uncertain.
        raw: the values are whole levels, as AIPP takes them, and are not to be normalised.
    """
    found = [
        way
        for way in ways(own, raw=raw)
        if (np.abs(_values(way.channels, levels) - values) <= allowed + _slack(way.channels, loose)).all()
    ]
    fit = None if found else fitted(values, levels, own.order)
    if fit is not None:
        found = _measured(own if not raw else _raw(own), fit, allowed=float(np.max(allowed)), loose=loose)
    return _distinct(found)


def _distinct(ways: list[ValueMap]) -> list[ValueMap]:
    """Keep one of those that compute the same: the one with the fewest mistakes."""
    kept: list[ValueMap] = []
    for way in sorted(ways, key=lambda each: each.cost):
        if not any(_same(way.channels, other.channels) for other in kept):
            kept.append(way)
    return kept


def _same(one: ChannelMap, other: ChannelMap) -> bool:
    return one.order == other.order and bool(
        np.allclose(one.std, other.std, rtol=1e-5) and np.allclose(one.mean, other.mean, rtol=0, atol=1e-3)
    )


SLACK = 0.03
"""Levels by which libraries differ where both compute in float32."""


def _slack(channels: ChannelMap, loose: float) -> Points:
    slack: Points = (SLACK + loose) * np.abs(np.array(channels.scale))
    return slack


def _values(channels: ChannelMap, levels: Points) -> Points:
    values: Points = levels[:, list(channels.order)] * np.array(channels.scale) + np.array(channels.offset)
    return values


def _raw(own: ChannelMap) -> ChannelMap:
    return ChannelMap(own.order, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def ways(own: ChannelMap, *, raw: bool) -> Iterator[ValueMap]:
    """Yield the recipe's way and known mistakes, each in every order of the colours."""
    for order in ORDERS:
        moved = _moved(own.order, order, aipp=raw)
        if raw:
            yield ValueMap(
                channels=ChannelMap(order, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), causes=moved, cost=len(moved)
            )
            continue
        for mean, std, causes in _normalizations(own):
            cost = len(moved) + (1 if causes else 0)
            yield ValueMap(
                channels=ChannelMap.normalizing(order, mean, std), causes=(*moved, *causes), cost=cost
            )
            if order == _back(own.order):
                yield ValueMap(
                    channels=ChannelMap.normalizing(order, _back(mean), _back(std)),
                    causes=(_swapped_after(own), *causes),
                    cost=cost,
                )


def _swapped_after(own: ChannelMap) -> InputCause:
    sentence = f"{_order_sentence(own.order, _back(own.order))}, swapped after normalising"
    return InputCause(name="channel_order", sentence=sentence)


def _reversed(own: ChannelMap) -> ChannelMap:
    """Return the recipe's way with its channels in the opposite order, each with its own numbers."""
    return ChannelMap(_back(own.order), _back(own.scale), _back(own.offset))


def _back(triple: tuple[T, T, T]) -> tuple[T, T, T]:
    return triple[2], triple[1], triple[0]


def _moved(own: Order, order: Order, *, aipp: bool = False) -> tuple[InputCause, ...]:
    if own == order:
        return ()
    swap = " (right where AIPP swaps them: rbuv_swap_switch)" if aipp and order == _back(own) else ""
    return (InputCause(name="channel_order", sentence=_order_sentence(own, order) + swap),)


def _order_sentence(own: Order, order: Order) -> str:
    return f"the channels are {colours(order)}, the recipe's {colours(own)}"


def colours(order: Order) -> str:
    """Return ``BGR`` for (2, 1, 0)."""
    return "".join("RGB"[channel] for channel in order)


def _normalizations(own: ChannelMap) -> Iterator[tuple[Triple, Triple, tuple[InputCause, ...]]]:
    """Yield mean and deviation in levels, by channel of the input, with what differs from the recipe's."""
    mean, std, yield_own = own.mean, own.std, ()
    yield mean, std, yield_own
    nothing, ones, all_levels = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (255.0, 255.0, 255.0)
    yield (
        _scaled(mean, 1 / 255),
        _scaled(std, 1 / 255),
        (InputCause(name="scale", sentence="pixels 0..255 were normalised as if they were 0..1"),),
    )
    yield (
        _scaled(mean, 255),
        _scaled(std, 255),
        (InputCause(name="scale", sentence="pixels were divided by 255 and then normalised as if 0..255"),),
    )
    for other, what in (
        (nothing, "no mean was subtracted"),
        (_back(mean), "the mean of another channel was subtracted: their order is reversed"),
    ):
        yield other, std, (InputCause(name="mean", sentence=f"{what}; the recipe's is {_numbers(mean)}"),)
    for other, what in (
        (ones, "nothing was divided by"),
        (all_levels, "only 255 divides"),
        (_back(std), "the deviation of another channel divides: their order is reversed"),
    ):
        sentence = f"{what}; the recipe's deviation is {_numbers(std)} levels"
        yield mean, other, (InputCause(name="std", sentence=sentence),)
    yield (
        _back(mean),
        _back(std),
        (
            InputCause(
                name="mean", sentence="mean and deviation stand in the opposite order of the channels"
            ),
            InputCause(name="std", sentence="as the mean: in the opposite order"),
        ),
    )
    for other, what in ((ones, "pixels 0..255"), (all_levels, "pixels 0..1")):
        yield (
            nothing,
            other,
            (InputCause(name="normalization", sentence=f"the input is not normalised: {what}"),),
        )
    twice = tuple(m + s * m for m, s in zip(mean, std, strict=True))
    squared = tuple(s * s for s in std)
    yield (
        _triple(np.array(twice)),
        _triple(np.array(squared)),
        (InputCause(name="normalization", sentence="the input was normalised twice"),),
    )
    yield from _borrowed(own)


def _borrowed(own: ChannelMap) -> Iterator[tuple[Triple, Triple, tuple[InputCause, ...]]]:
    """Yield what other networks are normalised with."""
    middle, ones = (127.5, 127.5, 127.5), (1.0, 1.0, 1.0)
    known = (
        (*_IMAGENET, "ImageNet's mean and deviation"),
        (middle, middle, "mean and deviation 127.5 (values -1..1)"),
        (_CAFFE, ones, "Caffe's mean, no deviation"),
        (_VGG, ones, "VGG's mean, no deviation"),
    )
    for mean, std, what in known:
        for order in dict.fromkeys((own.order, (0, 1, 2), (2, 1, 0))):
            by_channel = _triple(np.array(mean)[list(order)]), _triple(np.array(std)[list(order)])
            causes = _differing(own, *by_channel, f"{what}, in the order {colours(order)}")
            if causes:
                yield *by_channel, causes


def _differing(own: ChannelMap, mean: Triple, std: Triple, what: str) -> tuple[InputCause, ...]:
    causes = []
    if not np.allclose(mean, own.mean, rtol=0, atol=1e-3):
        causes.append(
            InputCause(
                name="mean", sentence=f"{what}: mean {_numbers(mean)}, the recipe's {_numbers(own.mean)}"
            )
        )
    if not np.allclose(std, own.std, rtol=1e-4):
        causes.append(
            InputCause(
                name="std", sentence=f"{what}: deviation {_numbers(std)}, the recipe's {_numbers(own.std)}"
            )
        )
    return tuple(causes)


def _measured(own: ChannelMap, fit: Fit, *, allowed: float, loose: float) -> list[ValueMap]:
    """Describe lines that no known mistake explains by their numbers."""
    channels = fit.channels
    mean, std = np.array(channels.mean), np.array(channels.std)
    if fit.worst > SLACK + loose + float(np.max(allowed * np.abs(std))):
        return []
    if (std <= 0).any():
        causes: tuple[InputCause, ...] = (
            InputCause(
                name="scale", sentence=f"values fall where levels rise: {_numbers(channels.scale)} a level"
            ),
        )
    else:
        slack = 2 * SLACK + loose + float(np.max(allowed * std))
        causes = _measured_causes(own, mean, std, slack=slack)
        if channels.order == _back(own.order):
            swapped = _measured_causes(_reversed(own), mean, std, slack=slack)
            if len(swapped) < len(causes):
                return [ValueMap(channels=channels, causes=(_swapped_after(own), *swapped), cost=2.5)]
    moved = _moved(own.order, channels.order)
    return [ValueMap(channels=channels, causes=(*moved, *causes), cost=len(moved) + 1.5)]


def _measured_causes(
    own: ChannelMap, mean: NDArray[np.float64], std: NDArray[np.float64], *, slack: float
) -> tuple[InputCause, ...]:
    causes = []
    # A deviation that is off by its share of 255 levels moves values as much as the slack does.
    if (np.abs(std / np.array(own.std) - 1) * 255 > slack).any():
        sentence = f"{_numbers(_triple(std))} levels divide, the recipe's deviation is {_numbers(own.std)}"
        causes.append(InputCause(name="std", sentence=sentence))
    if (np.abs(mean - np.array(own.mean)) > slack).any():
        sentence = (
            f"{_numbers(_triple(mean))} levels were subtracted, the recipe's mean is {_numbers(own.mean)}"
        )
        causes.append(InputCause(name="mean", sentence=sentence))
    return tuple(causes)


def _scaled(triple: Triple, factor: float) -> Triple:
    return _triple(np.array(triple) * factor)


def _numbers(triple: Triple) -> str:
    return ", ".join(f"{number:.6g}" for number in triple)


def _triple(numbers: NDArray[np.float64]) -> Triple:
    first, second, third = (float(number) for number in numbers)
    return first, second, third
