"""The pictures of a report: the worst images first, the reference and the last stage side by side."""

import base64
from collections.abc import Sequence
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from graphopt.recipes.scoring import Scored, Scorer
from graphopt.recipes.stage_panels import outputs_of, stage_panels
from graphopt.runtime.pictures import percent
from graphopt.runtime.task import Panel, Reading, Sample

if TYPE_CHECKING:
    from PIL import Image

_CARDS = 12
_WORST = 6
_SIZES = ((560, 85), (440, 82), (340, 78), (240, 70), (160, 60))
"""Longest side in pixels and quality of JPEG; the first with which a page stays small enough."""
_MOST_BYTES = 3_400_000
"""Of all pictures: a third more as text, so that the page stays below 5 MB."""
_CHIPS = 24
_KINDS = ("", "plain", "wrong", "missed")
"""In the order in which they are shown; the first is right."""


def shown_stages(scorer: Scorer) -> tuple[Scored, ...]:
    """Return the reference and the last stage that ran; only one where they are the same.

    An estimate is of no stage that anybody will run.
    """
    ran = [item for item in scorer.by_label.values() if item.score is not None and not item.is_estimate]
    return tuple(ran[:1] + ran[1:][-1:])


def gallery(scorer: Scorer, stages: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return cards of the worst images, then of some from all others.

    Args:
        scorer: of the run.
        stages: from ``shown_stages``; errors and words are those of the last.
    """
    if not stages or scorer.dataset is None:
        return []
    score, task = stages[-1].score, scorer.recipe.needed_task("reading outputs")
    named = [(item.label, item.predictions) for item in stages if item.predictions is not None]
    errors = score.errors if score is not None else {}
    samples = _chosen(sorted(scorer.dataset, key=lambda sample: (-errors.get(sample.name, 0.0), sample.name)))
    panels = [stage_panels(task, sample, named) for sample in samples]
    pictures = _small_enough(panels)
    cards = []
    for sample, drawn, texts in zip(samples, panels, pictures, strict=True):
        chips, more = _chips(task.read(outputs_of(named[-1][1], sample), sample))
        cards.append(
            {
                "name": sample.name,
                "panels": [
                    {"caption": panel.caption, "image": text}
                    for panel, text in zip(drawn, texts, strict=True)
                ],
                "chips": chips,
                "more": more,
            }
        )
    return cards


def _chosen(ordered: Sequence[Sample]) -> list[Sample]:
    rest = ordered[_WORST:]
    step = max(1, len(rest) // (_CARDS - _WORST))
    return [*ordered[:_WORST], *islice(rest[::step], _CARDS - _WORST)]


def _small_enough(panels: Sequence[Sequence[Panel]]) -> list[list[str]]:
    """Return all pictures as data for a page, as large as they may be together."""
    for side, quality in _SIZES:
        encoded = [[_jpeg(panel.picture, side, quality) for panel in row] for row in panels]
        if sum(len(content) for row in encoded for content in row) <= _MOST_BYTES:
            break
    return [
        [f"data:image/jpeg;base64,{base64.b64encode(content).decode()}" for content in row] for row in encoded
    ]


def _jpeg(picture: "Image.Image", side: int, quality: int) -> bytes:
    image = picture.copy()
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def _chips(readings: Sequence[Reading]) -> tuple[list[dict[str, Any]], int]:
    """Return what is predicted or labelled, and how much is left out; mistakes stay."""
    chips = [_chip(item) for item in readings if item.positive or item.truth]
    kept = sorted(chips, key=lambda chip: chip["kind"] not in ("wrong", "missed"))[:_CHIPS]
    return sorted(kept, key=lambda chip: _KINDS.index(chip["kind"])), len(chips) - len(kept)


def _chip(item: Reading) -> dict[str, Any]:
    kind = "plain" if item.truth is None else "" if item.positive == item.truth else "missed"
    if item.positive and item.truth is False:
        kind = "wrong"
    colour = "#{:02x}{:02x}{:02x}".format(*item.colour) if item.colour is not None else ""
    # A missed object has no score at all.
    value = percent(item.value) if item.value or item.box is None else ""
    return {"label": item.label, "value": value, "kind": kind, "colour": colour}
