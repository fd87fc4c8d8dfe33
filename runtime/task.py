"""What a task is: its data set, its metric, and how a person reads its outputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError
from graphopt.core.tensors import Array
from graphopt.runtime.disagreement import Disagreement
from graphopt.runtime.predictions import Predictions

if TYPE_CHECKING:
    from PIL import Image

Weighted: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""The headline figure [B] where each image of the data set, in its order, counts as often as weights
int64 [B, images] say; nan where nothing is left to judge. Ones give the figure itself."""


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
        details: plain data for reports; ``rows`` is one per class or attribute: ``name``, counts, and
            fractions, the last of which is what the row is judged by.
        errors: how wrong each image is, by name; only the order matters. Reports show the worst.
        weighted: the headline over other draws of the images, for intervals; None when nobody can tell.
    """

    headline: float
    figures: Mapping[str, float]
    samples: int
    details: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    weighted: Weighted | None = field(default=None, compare=False, repr=False)

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
        value: a fraction 0..1.
        positive: whether it is predicted to be there.
        truth: what the labels say; None where there are none.
        measure: what ``value`` is, in one word.
        colour: RGB of the label in pictures; None where it has none.
        box: x, y of the upper left corner, width, height in pixels of the image; None for the whole image.
    """

    label: str
    value: float
    positive: bool
    truth: bool | None = None
    measure: str = "probability"
    colour: tuple[int, int, int] | None = None
    box: tuple[float, float, float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the value is named by what it is."""
        return {
            "label": self.label,
            self.measure: self.value,
            "positive": self.positive,
            "truth": self.truth,
            **({"box": list(self.box)} if self.box is not None else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A picture of an image, its labels, or what a model says about it.

    Attributes:
        caption: e.g. ``"prediction"``.
        picture: RGB, of the image's size.
    """

    caption: str
    picture: "Image.Image"


def check_names(dataset: Dataset, predictions: Predictions) -> tuple[str, ...]:
    """Refuse predictions that are not exactly those of a data set.

    Returns:
        The names, in the data set's order.

    Raises:
        DatasetError: names differ.
    """
    # Most data sets have the column at hand: thousands of samples need not be made to look into them.
    known: Sequence[str] | None = getattr(dataset, "names", None)
    names = tuple(known if known is not None else (sample.name for sample in dataset))
    if names == predictions.names:
        return names
    missing = sorted(set(names) - set(predictions.names))
    extra = sorted(set(predictions.names) - set(names))
    if missing or extra:
        raise DatasetError(
            f"predictions and data set differ: {len(missing)} images without prediction {missing[:5]}, "
            f"{len(extra)} predictions without image {extra[:5]}"
        )
    return names


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

    @property
    def allowed_flips(self) -> float:
        """Share of decisions that may differ where two models agree up to float noise."""
        ...

    def open_data(
        self,
        root: Path,
        *,
        limit: int | None = None,
        labels_only: bool = False,
        annotations: Path | None = None,
    ) -> Dataset:
        """Open a data set folder.

        Args:
            root: the folder.
            limit: keep only the first samples.
            labels_only: the images need not be here.
            annotations: the file of the labels, for formats in which it may lie elsewhere.

        Raises:
            DatasetError: it is not in the task's format.
            UsageError: the format has no such file.
        """
        ...

    def score(self, dataset: Dataset, predictions: Predictions) -> Score:
        """Score predictions of exactly the data set's samples.

        Raises:
            DatasetError: names differ.
        """
        ...

    def agreement(self, dataset: Dataset, reference: Predictions, candidate: Predictions) -> Score:
        """Score predictions with those of a reference model in place of labels.

        Args:
            dataset: the images; need not have labels.
            reference: what stands for the truth.
            candidate: what is scored.

        Raises:
            DatasetError: names differ, or the reference finds nothing.
        """
        ...

    def read_original(self, dataset: Dataset, path: Path) -> Predictions | None:
        """Read results that the original recipe's scripts made of a device's outputs.

        Args:
            dataset: the images, at least with their sizes.
            path: file or folder.

        Returns:
            Predictions that ``score`` takes; None when these are no such results.

        Raises:
            DatasetError: they are, but damaged, or of other images.
        """
        ...

    def flips(self, reference: Predictions, candidate: Predictions) -> tuple[int, int]:
        """Return how many decisions differ, and of how many."""
        ...

    def disagreements(
        self, dataset: Dataset, reference: Predictions, candidate: Predictions
    ) -> tuple[Disagreement, ...]:
        """Return the images of which two models say different things, the largest difference first.

        Raises:
            DatasetError: names differ.
        """
        ...

    def read(self, outputs: Mapping[str, Array], sample: Sample) -> tuple[Reading, ...]:
        """Say in words what one sample's outputs (without batch axis) mean.

        Args:
            outputs: by name, without batch axis.
            sample: one of the task's data set brings its labels; any other is an image only.
        """
        ...

    def panels(self, outputs: Mapping[str, Array], sample: Sample) -> tuple[Panel, ...]:
        """Draw one sample, in panels that stand side by side; the image comes first.

        What words say (``read``) is written beside them, so a task without pictures of its own
        shows the image only. Arguments are those of ``read``.
        """
        ...

    def write_original(self, dataset: Dataset, predictions: Predictions, path: Path) -> None:
        """Score once more and write the result in the form of the original recipe's scripts."""
        ...
