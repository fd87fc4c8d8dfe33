"""Answers that belong to other images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LEAST = 4
_OWN = 0.3
"""Share of images up to which own answers may be the nearest."""
_OTHERS = 0.8
_MOST = 2000
"""Images that are looked at: the table of distances has their square."""


def suspect_order(
    reference: NDArray[np.float64], candidate: NDArray[np.float64], names: Sequence[str]
) -> str:
    """Say whether each image has the answers of another.

    Args:
        reference: float64 [images, features], what a model answers, in any numbers.
        candidate: as ``reference``.
        names: of the images.

    Returns:
        A clause; empty when they have their own, or nothing can be told.
    """
    first, second = reference[:_MOST], candidate[:_MOST]
    count = len(first)
    if count < _LEAST or len(np.unique(first, axis=0)) < _OTHERS * count:
        return ""
    apart = _distances(second, first)
    nearest = apart.argmin(axis=1)
    places = np.arange(count)
    own = float((nearest == places).mean())
    # Of other images, yet each of one only, and far nearer to it than to what it should be.
    clear = apart[places, nearest] <= 0.5 * apart[places, places]
    moved = clear & (nearest != places)
    if own > _OWN or moved.mean() < _OTHERS or len(set(nearest[moved].tolist())) < _OTHERS * moved.sum():
        return ""
    shifts, votes = np.unique((nearest - places)[moved] % count, return_counts=True)
    best = int(votes.argmax())
    share = f"({moved.mean():.0%} of {count} images)"
    if votes[best] >= _OTHERS * moved.sum():
        shift = int(shifts[best])
        shift -= count if shift > count // 2 else 0
        other = names[(0 + shift) % count]
        return f"answers of other images, {shift:+d} places on: {names[0]} has those of {other} {share}"
    if (nearest[moved] == (count - 1 - places)[moved]).mean() >= _OTHERS:
        return f"answers of other images, in reversed order {share}"
    example = int(np.flatnonzero(moved)[0])
    return (
        f"answers of other images, in another order: {names[example]} has those of "
        f"{names[int(nearest[example])]} {share}"
    )


def _distances(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = (one**2).sum(axis=1)[:, np.newaxis] + (two**2).sum(axis=1)[np.newaxis] - 2 * one @ two.T
    distances: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
    return distances
