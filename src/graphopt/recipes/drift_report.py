"""What ``drift`` found, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphopt.runtime.disagreement import Disagreement
from graphopt.validate.bootstrap import DRAWS, FEW_IMAGES
from graphopt.validate.waterfall import Waterfall

DRIFT_REPORT_VERSION = 1
_POINTS = 100


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What the answers of a stage alone let suspect.

    Attributes:
        stage: whose answers.
        against: what they were compared with.
        text: ``consistent with ...``.
    """

    stage: str
    against: str
    text: str

    @property
    def sentence(self) -> str:
        """The suspicion with its place."""
        return f"{self.stage} against {self.against}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """Everything one call found.

    Attributes:
        recipe: name.
        title: of the recipe.
        folder: of the run.
        samples: how many images each stage ran.
        sample_kind: what they are.
        truth: what the metric takes for true: the labels, or a stage's answers.
        waterfall: the rows, and the sentence.
        inputs: what the files that were fed to the device are; empty when none were given.
        sides: the two stages whose answers ``disagreements`` compares; empty without two.
        disagreements: the images that differ, the largest difference first.
        causes: what the answers let suspect.
        notes: what a reader must know.
        failures: why answers could not be judged.
        max_drop: the gate, in points; None without one.
    """

    recipe: str
    title: str
    folder: str
    samples: int
    sample_kind: str
    truth: str
    waterfall: Waterfall
    inputs: Mapping[str, Any] = field(default_factory=dict)
    sides: tuple[str, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    causes: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    max_drop: float | None = None

    @property
    def differing(self) -> str:
        """The two stages in words."""
        return " and ".join(self.sides)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the verdict is bad, a sentence each; empty when it is good."""
        scored = [row for row in self.waterfall.rows if row.metric is not None]
        found = list(self.failures)
        for row in scored[1:] if self.max_drop is not None else ():
            if row.estimate:
                continue
            assert row.metric is not None
            assert scored[0].metric is not None
            assert self.max_drop is not None
            lost = (scored[0].metric - row.metric) * _POINTS
            if lost > self.max_drop:
                found.append(
                    f"{row.stage} loses {lost:.2f} points of {self.waterfall.metric} against "
                    f"{scored[0].stage}, more than {self.max_drop:g}"
                )
        return tuple(found)

    @property
    def ok(self) -> bool:
        """Whether the verdict is good."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and ``drift.json``."""
        return {
            "report_version": DRIFT_REPORT_VERSION,
            "ok": self.ok,
            "problems": list(self.problems),
            "recipe": self.recipe,
            "title": self.title,
            "folder": self.folder,
            "samples": self.samples,
            "sample_kind": self.sample_kind,
            "truth": self.truth,
            **self.waterfall.to_json(),
            "inputs": dict(self.inputs),
            "sides": list(self.sides),
            "disagreements": [item.to_json() for item in self.disagreements],
            "causes": [vars(item) for item in self.causes],
            "notes": list(self.notes),
            "max_drop": self.max_drop,
        }


def interval_note(samples: int) -> str:
    """Say what the intervals are."""
    few = (
        f"; {samples} images say little of others: take {FEW_IMAGES} or more" if samples < FEW_IMAGES else ""
    )
    return f"intervals: 95 %, {DRAWS} draws of the same images for all stages{few}"
