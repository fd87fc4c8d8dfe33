"""What a task is: its data set, its metric, and how a person reads its outputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from graphopt.core.tensors import Array
from graphopt.runtime.predictions import Predictions


class Sample(Protocol):
    """One element of a data set."""

    @property
    def name(self) -> str:
        """Unique within the data set; results are matched by it."""
        ...

    @property
    def path(self) -> Path:
        """The image file."""
        ...


class Dataset(Protocol):
    """A real data set format, streamed."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...

    @property
    def digest(self) -> str:
        """Hex sha256 over names and labels: two equal digests mean the same evaluation."""
        ...


@dataclass(frozen=True, kw_only=True)
class Score:
    """The metric of one stage on one data set.

    Attributes:
        headline: the figure the gate looks at, a fraction 0..1.
        figures: every figure by name, fractions 0..1.
        samples: how many images were scored.
        details: plain data for reports (per class or attribute rows).
    """

    headline: float
    figures: Mapping[str, float]
    samples: int
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "headline": self.headline,
            "figures": dict(self.figures),
            "samples": self.samples,
            "details": dict(self.details),
        }


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One thing a model says about one image.

    Attributes:
        label: e.g. ``"accessoryHat"``.
        probability: 0..1.
        positive: whether it is predicted to be there.
        truth: what the labels say; None where there are none.
    """

    label: str
    probability: float
    positive: bool
    truth: bool | None = None


class Task(Protocol):
    """Data set, metric and decoding of one kind of model."""

    @property
    def headline(self) -> str:
        """Name of the gate's figure, e.g. ``"instance accuracy"``."""
        ...

    @property
    def detail_kind(self) -> str:
        """What a row of ``Score.details["rows"]`` is about, e.g. ``"attribute"``."""
        ...

    def open_data(self, root: Path, *, limit: int | None = None, labels_only: bool = False) -> Dataset:
        """Open a data set folder; with ``labels_only`` the images need not be here.

        Raises:
            DatasetError: it is not in the task's format.
        """
        ...

    def score(self, dataset: Dataset, predictions: Predictions) -> Score:
        """Score predictions of exactly the data set's samples.

        Raises:
            DatasetError: names differ.
        """
        ...

    def flips(self, reference: Predictions, candidate: Predictions) -> tuple[int, int]:
        """Return how many decisions differ, and of how many."""
        ...

    def read(self, outputs: Mapping[str, Array], truth: Sample | None = None) -> tuple[Reading, ...]:
        """Say in words what one sample's outputs (without batch axis) mean."""
        ...

    def write_original(self, dataset: Dataset, predictions: Predictions, path: Path) -> None:
        """Score once more and write the result in the form of the original recipe's scripts."""
        ...
