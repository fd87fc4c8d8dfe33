"""A wrong class map: every object has another label, and always the same other one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_PAIRS = 8
"""Fewer say nothing."""
_CONSISTENT = 0.85
"""Share of pairs that a map explains."""
_WRONG = 0.5
"""Share of equal labels up to which there is a wrong map at all."""
_AHEAD = 0.1
"""Share of all pairs that a known map must explain beyond those of equal labels."""
_NAMED = 3

Labels = NDArray[np.int64]


def suspect_labels(
    reference: Labels,
    candidate: Labels,
    classes: Sequence[str],
    *,
    category_ids: Sequence[int] = (),
    weights: NDArray[np.int64] | None = None,
) -> str:
    """Say what maps the reference's labels of the same objects to the candidate's.

    Args:
        reference: int64 [n].
        candidate: int64 [n], of the same objects.
        classes: names by label.
        category_ids: of the labels in the data set's own numbering; empty when there is none.
        weights: int64 [n], how many objects (or pixels) each pair stands for; None is one each.

    Returns:
        A clause; empty when labels agree or differ without a system.
    """
    counts = np.ones(len(reference), np.int64) if weights is None else weights
    total = int(counts.sum())
    if len(reference) < LEAST_PAIRS and total < LEAST_PAIRS:
        return ""
    if not total:
        return ""
    own = int(counts[reference == candidate].sum())
    share = f"of {total} {'objects' if weights is None else 'pixels'})"
    for name, expected in _known_maps(classes, category_ids):
        right = int(counts[expected[reference] == candidate].sum())
        if right >= _CONSISTENT * total and own <= right - _AHEAD * total:
            return f"{name} ({right / total:.0%} {share}"
    if own > _WRONG * total:
        return ""
    found, right = _learned(reference, candidate, counts, classes)
    return f"{found} ({right / total:.0%} {share}" if found and right >= _CONSISTENT * total else ""


def _known_maps(classes: Sequence[str], category_ids: Sequence[int]) -> list[tuple[str, Labels]]:
    """Return what each known mistake makes of the labels 0, 1, ..."""
    labels = np.arange(len(classes))
    alphabetical = np.argsort(np.argsort(np.array([name.lower() for name in classes]), kind="stable"))
    maps = [
        ("labels one too high: a background class counted in front", labels + 1),
        ("labels one too low: a background class taken off that is not there", labels - 1),
        ("classes in alphabetical order", alphabetical),
        ("labels in the order of names, where the answers were alphabetical", np.argsort(alphabetical)),
        ("classes in reversed order", labels[::-1]),
    ]
    if len(category_ids) == len(classes):
        ids = np.array(category_ids, np.int64)
        maps[2:2] = [
            ("category ids of the data set in place of labels", ids),
            ("category ids of the data set, less one, in place of labels", ids - 1),
        ]
    return maps


def _learned(reference: Labels, candidate: Labels, counts: Labels, classes: Sequence[str]) -> tuple[str, int]:
    """Return the system that the pairs themselves show, and how many of them follow it."""
    single, pairs = _most(candidate, counts)
    if pairs >= _CONSISTENT * counts.sum() and _most(reference, counts)[1] <= _WRONG * pairs:
        return f"labels that are all {_name(single, classes)}: the output of labels is not read", pairs
    shift, pairs = _most(candidate - reference, counts)
    if pairs >= _CONSISTENT * counts.sum() and len(np.unique(reference)) > 1:
        return f"labels shifted by {shift:+d}", pairs
    size = int(max(reference.max(), candidate.max())) + 1
    table = np.zeros((size, size), np.int64)
    np.add.at(table, (reference, candidate), counts)
    seen = np.flatnonzero(table.sum(axis=1))
    chosen = table[seen].argmax(axis=1)
    right = table[seen, chosen]
    # A label that is seen once follows any map: it proves nothing.
    if (table[seen].sum(axis=1) > 1).sum() < min(2, len(seen)) or right.sum() - len(seen) < LEAST_PAIRS // 2:
        return "", 0
    order = [i for i in np.argsort(-right, kind="stable").tolist() if seen[i] != chosen[i]]
    words = [f"{_name(int(seen[i]), classes)} -> {_name(int(chosen[i]), classes)}" for i in order[:_NAMED]]
    more = ", ..." if len(order) > _NAMED else ""
    return f"another class map: {', '.join(words)}{more}", int(right.sum())


def _most(values: Labels, counts: Labels) -> tuple[int, int]:
    """Return the most frequent value and how often it is there."""
    found, place = np.unique(values, return_inverse=True)
    sums = np.bincount(place, weights=counts)
    best = int(sums.argmax())
    return int(found[best]), int(sums[best])


def _name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if 0 <= label < len(classes) else f"label {label}"
