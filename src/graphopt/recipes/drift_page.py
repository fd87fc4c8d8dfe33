"""Where the points were lost, as one self-contained page."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.core.errors import DatasetError
from graphopt.core.files import check_output, write_text
from graphopt.core.optional import require
from graphopt.recipes.drift import Drift
from graphopt.recipes.drift_report import DriftReport
from graphopt.runtime.datasets.image_folder import ImageSample
from graphopt.runtime.pictures import embedded
from graphopt.runtime.task import Sample
from graphopt.validate.waterfall import Loss

_CARDS = 8
_SIDE = 420


def check_drift_page(path: Path, *, force: bool) -> None:
    """Refuse early what ``write_drift_page`` could not write.

    Raises:
        MissingBackendError: jinja2 is not installed.
        OutputError: the page exists without ``force``, or cannot be written.
    """
    require("jinja2", extra="report", purpose=f"writing {path}")
    check_output(path, force=force)


def write_drift_page(drift: Drift, path: Path, *, force: bool) -> None:
    """Write rows with their intervals as bars, causes, and the images that disagree most side by side.

    Args:
        drift: what was found.
        path: of the page; it needs no other file and no network.
        force: replace an existing one.

    Raises:
        MissingBackendError: jinja2 is not installed.
        OutputError: it cannot be written.
    """
    jinja2 = require("jinja2", extra="report", purpose=f"writing {path}")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("graphopt.recipes").joinpath("drift.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(source).render(
        report=drift.report,
        rows=_rows(drift.report),
        cards=_cards(drift),
        rest=drift.report.disagreements[_CARDS:],
    )
    write_text(path, page, force=force)


def _rows(report: DriftReport) -> list[dict[str, Any]]:
    losses = [row.loss for row in report.waterfall.rows if row.loss]
    left, span = _axis(losses)
    rows = []
    for row in report.waterfall.rows:
        bar = None
        if row.loss is not None and span:
            ends = sorted((0.0, row.loss.points))
            low, high = (_share(end, left, span) for end in (row.loss.interval.low, row.loss.interval.high))
            bar = {
                "zero": _share(0.0, left, span),
                "start": _share(ends[0], left, span),
                "width": 100 * (ends[1] - ends[0]) / span,
                "low": low,
                "reach": high - low,
            }
        lost = row.loss is not None and not row.loss.within_noise and row.loss.points > 0
        rows.append({"row": row, "bar": bar, "lost": lost})
    return rows


def _axis(losses: Sequence[Loss]) -> tuple[float, float]:
    """Return where the axis of the bars begins, and how long it is; 0 long when nothing differs."""
    values = [0.0]
    for loss in losses:
        values += [loss.points, loss.interval.low, loss.interval.high]
    known = np.array([value for value in values if np.isfinite(value)])
    return float(known.min()), float(known.max() - known.min())


def _share(value: float, left: float, span: float) -> float:
    return float(np.clip(100 * (value - left) / span, 0, 100))


def _cards(drift: Drift) -> list[dict[str, Any]]:
    """Return the images that disagree most, the first stage of the path beside the last."""
    found = drift.pictures
    if found is None or found.reference is None:
        return []
    samples = {sample.name: sample for sample in found.dataset}
    cards = []
    for item in drift.report.disagreements[:_CARDS]:
        sample: Sample = ImageSample(name=item.name, path=samples[item.name].path)
        panels = []
        for side, label in zip((found.reference, found.predictions), drift.report.sides, strict=True):
            row = side.names.index(item.name)
            outputs = {name: rows[row] for name, rows in side.outputs.items()}
            try:
                *image, panel = found.task.panels(outputs, sample)
            except DatasetError:  # an image that only its labels were needed of
                continue
            if not image:  # the answers have no place in it
                panels = [panel]
                break
            panels.append(replace(panel, caption=label))
        shown = [{"caption": each.caption, "image": embedded(each.picture, side=_SIDE)} for each in panels]
        cards.append({"item": item, "panels": shown})
    return cards
