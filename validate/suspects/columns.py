"""Numbers of several attributes: in another order, of another sign, or turned to probabilities already."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LEAST_ROWS = 8
_ALIKE = 0.9
"""Correlation from which two columns are the same attribute."""
_CONSISTENT = 0.85
_NEAR = 0.02
"""Share of the spread that a relation may leave."""

Floats = NDArray[np.float64]


def suspect_columns(reference: Floats, candidate: Floats, names: Sequence[str]) -> str:
    """Say what was done to the candidate's numbers.

    Args:
        reference: float64 [images, attributes], logits.
        candidate: as ``reference``, in question.
        names: of the attributes.

    Returns:
        A clause; empty when there is no system.
    """
    if _is(candidate, 1 / (1 + np.exp(-np.clip(reference, -500, 500)))) and (reference < 0).any():
        return "probabilities where logits are expected: every one of them counts as there"
    if _is(candidate, -reference):
        return "logits of the opposite sign"
    varied = np.flatnonzero((reference.std(axis=0) > 0) & (candidate.std(axis=0) > 0))
    if len(reference) < _LEAST_ROWS or len(varied) < 2:
        return ""
    count = len(varied)
    alike = np.corrcoef(candidate[:, varied].T, reference[:, varied].T)[:count, count:]
    source = alike.argmax(axis=1)
    places = np.arange(count)
    moved = (source != places) & (alike[places, source] >= _ALIKE) & (alike[places, places] < _ALIKE)
    if moved.mean() < _CONSISTENT or len(set(source[moved].tolist())) < _CONSISTENT * moved.sum():
        return ""
    share = f"({moved.mean():.0%} of {count} attributes)"
    shifts, votes = np.unique((varied - varied[source])[moved] % len(names), return_counts=True)
    if votes.max() >= _CONSISTENT * moved.sum():
        shift = int(shifts[votes.argmax()])
        shift -= len(names) if shift > len(names) // 2 else 0
        return f"attributes shifted by {shift:+d} {share}"
    first = int(np.flatnonzero(moved)[0])
    what, holds = names[int(varied[first])], names[int(varied[source[first]])]
    return f"attributes in another order: {what} holds {holds} {share}"


def _is(candidate: Floats, expected: Floats) -> bool:
    spread = float(expected.std())
    return spread > 0 and float(np.abs(candidate - expected).mean()) <= _NEAR * spread
