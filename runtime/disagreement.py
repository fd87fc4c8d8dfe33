"""In which images two models disagree, and on what, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.words import counted
from graphopt.runtime.decode.boxes import FoundObjects
from graphopt.runtime.metrics.box_matches import match_boxes, overlaps

_NAMED = 3
"""Classes or attributes that a sentence names."""
_MOVED = 0.05
"""Pixels of the image from which a box is said to have moved."""
_SCORED = 1e-3
"""From which a score is said to differ."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """One image of which two models say different things.

    Attributes:
        name: of the image.
        size: how much they differ; only the order matters.
        text: what differs, e.g. ``"3 boxes lost, 1 label changed"``.
    """

    name: str
    size: float
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"name": self.name, "size": self.size, "text": self.text}


def largest_first(found: Sequence[Disagreement]) -> tuple[Disagreement, ...]:
    """Return the images that differ at all, the largest difference first."""
    return tuple(sorted((item for item in found if item.size > 0), key=lambda item: (-item.size, item.name)))


def boxes_disagree(
    reference: FoundObjects,
    candidate: FoundObjects,
    *,
    names: Sequence[str],
    classes: Sequence[str],
    shown: float,
) -> tuple[Disagreement, ...]:
    """Compare detections image by image, whatever their order.

    A detection of one side from ``shown`` on is looked for among all of the other side: one that falls
    just below it is not lost.

    Args:
        reference: in pixels of the images.
        candidate: as ``reference``.
        names: of the images, by place.
        classes: names by label.
        shown: least score of a detection that may be lost or new.
    """
    same = match_boxes(reference, candidate)
    lonely = (same.found < 0) & (reference.scores >= shown), (same.truth < 0) & (candidate.scores >= shown)
    left, right = reference.at(lonely[0]), candidate.at(lonely[1])
    other = match_boxes(_unlabelled(left), _unlabelled(right))
    ours = np.flatnonzero(same.found >= 0)
    theirs = same.found[ours]
    sure = np.maximum(reference.scores[ours], candidate.scores[theirs]) >= shown
    one, two = reference.at(ours[sure]), candidate.at(theirs[sure])
    moved = np.abs(_corners(one) - _corners(two)).max(axis=1, initial=0.0)
    scored = np.abs(one.scores - two.scores)
    size = 1 - overlaps(one.boxes, two.boxes) + scored
    parts: list[Disagreement] = []
    for place, name in enumerate(names):
        lost, new = (
            side.at((partner < 0) & (side.image == place))
            for side, partner in ((left, other.found), (right, other.truth))
        )
        changed = np.flatnonzero((other.found >= 0) & (left.image == place))
        pairs = one.image == place
        texts = [
            f"{_boxes(len(lost))} lost{_classes(lost, classes)}" if len(lost) else "",
            f"{len(new)} new{_classes(new, classes)}" if len(new) else "",
            _changed(left.label[changed], right.label[other.found[changed]], classes),
            _up_to("boxes moved by", moved[pairs], _MOVED, "px"),
            _up_to("scores by", scored[pairs], _SCORED, ""),
        ]
        text = ", ".join(part for part in texts if part)
        total = len(lost) + len(new) + 2 * len(changed) + float(size[pairs].sum())
        parts.append(Disagreement(name=name, size=total if text else 0.0, text=text))
    return largest_first(parts)


def attributes_disagree(
    reference: NDArray[np.bool_],
    candidate: NDArray[np.bool_],
    *,
    names: Sequence[str],
    attributes: Sequence[str],
) -> tuple[Disagreement, ...]:
    """Compare decisions [N, K] image by image."""
    found = []
    for name, one, two in zip(names, reference, candidate, strict=True):
        places = np.flatnonzero(one != two)
        words = _some([f"{'+' if two[place] else '-'}{attributes[place]}" for place in places.tolist()])
        text = f"{counted(len(places), 'attribute')} changed ({words})"
        found.append(Disagreement(name=name, size=float(len(places)), text=text))
    return largest_first(found)


def masks_disagree(
    pixels: Mapping[str, NDArray[np.int64]], *, classes: Sequence[str]
) -> tuple[Disagreement, ...]:
    """Compare masks image by image.

    Args:
        pixels: by image, int64 [K, K]: how many pixels have the reference's class and the candidate's.
        classes: K names.
    """
    found = []
    for name, counts in pixels.items():
        wrong = counts - np.diag(np.diag(counts))
        share = float(wrong.sum() / max(1, counts.sum()))
        pairs = [divmod(int(place), len(classes)) for place in np.argsort(-wrong, axis=None, kind="stable")]
        words = _some([f"{classes[one]} -> {classes[two]}" for one, two in pairs if wrong[one, two]])
        found.append(Disagreement(name=name, size=share, text=f"{share:.2%} of the pixels ({words})"))
    return largest_first(found)


def _unlabelled(side: FoundObjects) -> FoundObjects:
    return replace(side, label=np.zeros_like(side.label))


def _corners(side: FoundObjects) -> NDArray[np.float64]:
    return np.concatenate([side.boxes[:, :2], side.boxes[:, :2] + side.boxes[:, 2:]], axis=1)


def _classes(side: FoundObjects, classes: Sequence[str]) -> str:
    labels, counts = np.unique(side.label, return_counts=True)
    order = np.argsort(-counts, kind="stable").tolist()
    return f" ({_some([f'{counts[i]} {classes[labels[i]]}' for i in order])})"


def _changed(before: NDArray[np.int64], after: NDArray[np.int64], classes: Sequence[str]) -> str:
    if not len(before):
        return ""
    words = _some(
        [
            f"{classes[one]} -> {classes[two]}"
            for one, two in zip(before.tolist(), after.tolist(), strict=True)
        ]
    )
    return f"{counted(len(before), 'label')} changed ({words})"


def _up_to(what: str, values: NDArray[np.float64], least: float, unit: str) -> str:
    largest = float(values.max(initial=0.0))
    return f"{what} up to {largest:.2g} {unit}".rstrip() if largest >= least else ""


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:_NAMED]) + (", ..." if len(words) > _NAMED else "")


def _boxes(number: int) -> str:
    return "1 box" if number == 1 else f"{number} boxes"
