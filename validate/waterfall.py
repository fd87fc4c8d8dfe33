"""Which stage lost how many points: rows that sum up, each with an interval, and one sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.validate.bootstrap import Interval, difference_interval

_POINTS = 100
_SHOWN = 0.005
"""Points that are written as 0.00."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One stage, scored or not.

    Attributes:
        stage: its label.
        metric: a fraction; None when it could not be scored.
        drawn: the metric on each draw of the images [B], the same draws for all stages.
        against: the stage it is made from: its loss is counted from there. Empty for the first.
        estimate: whether it only imitates a chip.
        note: why it was not scored, or what it is.
    """

    stage: str
    metric: float | None = None
    drawn: NDArray[np.float64] | None = None
    against: str = ""
    estimate: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is lost between two stages, in points.

    Attributes:
        points: positive is a loss.
        interval: 95 %, from drawing the images anew.
    """

    points: float
    interval: Interval

    @property
    def within_noise(self) -> bool:
        """Whether other images might as well have shown no loss."""
        return self.interval.has_zero

    @property
    def text(self) -> str:
        """The interval in words."""
        return f"{_number(self.interval.low)} to {_number(self.interval.high)}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        interval = {"low": self.interval.low, "high": self.interval.high}
        return {"points": self.points, **interval, "within_noise": self.within_noise}


@dataclass(frozen=True, kw_only=True)
class WaterfallRow:
    """One row of the table.

    Attributes:
        stage: its label.
        metric: a fraction; None when it could not be scored.
        against: the row that its loss is counted from; empty for the first and for those without metric.
        loss: its own; None without ``against``.
        on_path: whether the loss is part of the total.
        estimate: whether it only imitates a chip.
        note: why it was not scored, or what it is.
    """

    stage: str
    metric: float | None
    against: str
    loss: Loss | None
    on_path: bool
    estimate: bool
    note: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "loss": self.loss.to_json() if self.loss else None}


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """All rows, and the way from the first stage to the last along which the losses sum up.

    Attributes:
        rows: in the order of the stages.
        path: labels from the first stage to the last.
        total: from the first to the last; None when fewer than two stages were scored.
        metric: name of the figure.
    """

    rows: tuple[WaterfallRow, ...]
    path: tuple[str, ...]
    total: Loss | None
    metric: str

    @property
    def largest(self) -> WaterfallRow | None:
        """The row on the path that loses most; None when none loses anything."""
        losing = [row for row in self.rows if row.on_path and row.loss and row.loss.points > 0]
        return max(losing, key=lambda row: row.loss.points if row.loss else 0.0, default=None)

    @property
    def is_fine(self) -> bool:
        """Whether nothing beyond noise is lost in all."""
        return self.total is not None and (self.total.points <= _SHOWN or self.total.within_noise)

    @property
    def sentence(self) -> str:
        """Where the points were lost."""
        if self.total is None:
            return "fewer than two stages were scored: there is nothing to compare"
        first, last = self.path[0], self.path[-1]
        between = f"between {first} and {last} (95 %: {self.total.text})"
        points = f"{_number(self.total.points)} points of {self.metric}"
        top = self.largest
        if self.total.points < -_SHOWN and not self.total.within_noise:
            return f"nothing is lost: {last} scores {_number(-self.total.points)} points more than {first}"
        if abs(self.total.points) < _SHOWN and self.total.interval.low == self.total.interval.high:
            return f"nothing is lost {between.partition(' (')[0]}"
        if self.total.within_noise or top is None or top.loss is None:
            sentence = f"within noise: {points} {between}"
            if top is None or top.loss is None or top.loss.points < _SHOWN:
                return sentence
            sure = "" if top.loss.within_noise else ", which is more than noise"
            return f"{sentence}; {_number(top.loss.points)} enter at {_named(top)}{sure}"
        enter = f"{_number(top.loss.points)} of the {points} {between} enter at {_named(top)}"
        return enter + (", though that row alone is within noise" if top.loss.within_noise else "")

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "rows": [row.to_json() for row in self.rows],
            "path": list(self.path),
            "total": self.total.to_json() if self.total else None,
            "metric": self.metric,
            "sentence": self.sentence,
        }


def waterfall(measured: Sequence[Measured], *, metric: str, last: str = "") -> Waterfall:
    """Count what each stage loses.

    Args:
        measured: all stages, those that could not be scored too; each after the one it is made from.
        metric: name of the figure.
        last: where the path ends; empty takes the stage that scores least, the last of several.
    """
    scored = {item.stage: item for item in measured if item.metric is not None}
    parents = {item.stage: _parent(item, measured, scored) for item in measured}
    made = [name for name in reversed(scored) if parents[name]] or list(scored)
    end = last if last in scored else min(made, key=lambda name: _metric(scored[name]), default="")
    path = [end] if end else []
    while path and parents[path[0]]:
        path.insert(0, parents[path[0]])
    rows = []
    for item in measured:
        against = parents[item.stage] if item.metric is not None else ""
        rows.append(
            WaterfallRow(
                stage=item.stage,
                metric=item.metric,
                against=against,
                loss=loss_between(scored[against], item) if against else None,
                on_path=item.stage in path,
                estimate=item.estimate,
                note=item.note,
            )
        )
    total = loss_between(scored[path[0]], scored[path[-1]]) if len(path) > 1 else None
    return Waterfall(rows=tuple(rows), path=tuple(path), total=total, metric=metric)


def loss_between(first: Measured, second: Measured) -> Loss:
    """Return what ``second`` loses against ``first``; both are scored."""
    points = (_metric(first) - _metric(second)) * _POINTS
    if first.drawn is None or second.drawn is None:
        return Loss(points=points, interval=Interval(low=-np.inf, high=np.inf))
    interval = difference_interval(points, second.drawn * _POINTS, first.drawn * _POINTS)
    return Loss(points=points, interval=interval)


def _parent(item: Measured, measured: Sequence[Measured], scored: Mapping[str, Measured]) -> str:
    """Return the nearest stage that it is made from and that was scored."""
    by_stage = {other.stage: other for other in measured}
    name = item.against
    while name and name not in scored:
        name = by_stage[name].against if name in by_stage else ""
    return name


def _metric(item: Measured) -> float:
    assert item.metric is not None
    return item.metric


def _named(row: WaterfallRow) -> str:
    return f"{row.stage} (an estimate)" if row.estimate else row.stage


def _number(value: float) -> str:
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text
