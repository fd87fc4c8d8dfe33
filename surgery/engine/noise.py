"""Tell a wrong rewrite from a source that answers otherwise to nearly the same inputs.

Detectors with untrained weights, say, decide between thousands of nearly equal candidates, and one
decision leads to the next: then a single rounding moves the outputs further than any tolerance, and that
a rewrite moves them as far says nothing about it. This is looked at only where something differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir

from graphopt.core.comparison import Outcome
from graphopt.core.detections import DetectionComparison
from graphopt.core.tensors import Array
from graphopt.core.words import counted
from graphopt.surgery.engine.detection_verdicts import judge_sets
from graphopt.surgery.engine.feeds import Feeds
from graphopt.surgery.engine.model_runs import Run
from graphopt.surgery.engine.trials import Answers, Trial, TrialRunner
from graphopt.surgery.engine.verdicts import Verdict

SEED = 5
RUNS = 2
"""One disturbance may happen to turn fewer decisions than another."""
SHARE = 0.5
"""The source explains a difference when it moves by at least this share of it itself."""


@dataclass
class SourceNoise:
    """What a source answers to inputs that differ by one rounding; run when first asked for.

    Args:
        source: not changed.
        trials: of one group; what they compare is what the source answers with.
        feeds: the inputs.
        scratch: an existing folder for temporary files.
    """

    source: ir.Model
    trials: Sequence[Trial]
    feeds: Sequence[Feeds]
    scratch: Path

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Answers by tensor of the source, one run per disturbance; none where no input can be disturbed."""
        feeds = tuple(nudged(feed, SEED + place) for place in range(RUNS) for feed in self.feeds)
        if all(_alike(old, new) for old, new in zip([*self.feeds] * RUNS, feeds, strict=True)):
            return ()
        run = TrialRunner(self.scratch).run_source(self.source, list(self.trials), feeds)
        size = len(self.feeds)
        parts = [run.outputs[place * size : (place + 1) * size] for place in range(RUNS)]
        return () if run.error else tuple(Run(outputs=part) for part in parts)

    def explains(self, found: Answers, failed: Verdict) -> str:
        """Say by how much the source itself moves, when that is about as much as a rewrite differs.

        Args:
            found: of source and rewrite.
            failed: the verdict on it.

        Returns:
            A clause; empty when some difference is of another kind than the source's own, or far larger.
        """
        expected, tolerance = found.expected[: len(self.feeds)], found.trial.candidate.tolerance
        for run in self.runs:
            noisy = found.of_source(run)
            moved = judge_sets(expected, noisy, tolerance, found.sets)
            sets = {item.name: item for item in moved.detections}
            clauses = []
            for item in (item for item in failed.comparisons if not item.passed):
                if item.name in sets:
                    mine = next(one for one in failed.detections if one.name == item.name)
                    clauses.append(_moved_rows(mine, sets[item.name]))
                elif item.outcome in (Outcome.VALUES, Outcome.SHAPE):
                    sides = [[sample[item.name] for sample in side] for side in (expected, found.got, noisy)]
                    clauses.append(_moved_numbers(item.name, *sides))
                else:
                    return ""
            if clauses and all(clauses):
                return clauses[0]
        return ""


def not_told(moves: str) -> str:
    """Say what follows from a clause of ``SourceNoise.explains``."""
    return (
        f"the source itself moves by {moves} when its inputs change by one rounding, so a rewrite cannot be "
        "told from noise at this size: give real samples with --data, or trained weights"
    )


def nudged(feed: Feeds, seed: int) -> dict[str, Array]:
    """Return a feed whose floats are the next larger or smaller ones.

    Inputs of whole numbers stay as they are: they may be codes or masks, which a network looks up.
    """
    rng = np.random.default_rng(seed)
    return {name: _nudged(array, rng) for name, array in feed.items()}


def _nudged(array: Array, rng: np.random.Generator) -> Array:
    if array.dtype.kind != "f" or np.array_equal(array, np.round(array), equal_nan=True):
        return array
    ends = np.array([-np.inf, np.inf], array.dtype)[rng.integers(0, 2, array.shape)]
    moved: Array = np.asarray(np.nextafter(array, ends))
    fixed = (array == 0) | ~np.isfinite(array) | ~np.isfinite(moved)
    moved[fixed] = array[fixed]
    return moved


def _alike(one: Feeds, two: Feeds) -> bool:
    return all(one[name] is two[name] for name in one)


def _moved_rows(found: DetectionComparison, own: DetectionComparison) -> str:
    if found.broken or own.broken or len(own.unpaired) < max(1, SHARE * len(found.unpaired)):
        return ""
    return f"{counted(len(own.unpaired), 'row')} of {found.name} (the result: by {len(found.unpaired)})"


def _moved_numbers(name: str, expected: list[Array], got: list[Array], noisy: list[Array]) -> str:
    found, own = (_Distance.of(expected, side) for side in (got, noisy))
    if not found.axes <= own.axes:
        return ""
    if own.axes:
        return f"the number of rows of output {name}"
    if own.largest < SHARE * found.largest or own.mean < SHARE * found.mean:
        return ""
    return f"{own.largest:.3g} in output {name} (the result: by {found.largest:.3g})"


@dataclass(frozen=True, kw_only=True)
class _Distance:
    """How far answers lie apart.

    Attributes:
        axes: along which the sizes differ; -1 when the ranks do.
        largest: difference of an element.
        mean: root of the mean square of the differences; of whole numbers the share that differs, as
            their size says nothing.
    """

    axes: frozenset[int]
    largest: float
    mean: float

    @classmethod
    def of(cls, expected: Sequence[Array], answers: Sequence[Array]) -> "_Distance":
        axes: set[int] = set()
        errors = []
        for one, two in zip(expected, answers, strict=True):
            if one.ndim != two.ndim:
                axes.add(-1)
            elif one.shape != two.shape:
                axes.update(axis for axis in range(one.ndim) if one.shape[axis] != two.shape[axis])
            elif one.dtype.kind == "f":
                errors.append(np.abs(one.astype(np.float64) - two.astype(np.float64)).ravel())
            else:
                errors.append((one != two).astype(np.float64).ravel())
        whole = np.nan_to_num(np.concatenate(errors)) if errors else np.zeros(0)
        largest, square = float(whole.max(initial=0)), float(np.square(whole).sum())
        return cls(axes=frozenset(axes), largest=largest, mean=(square / max(1, whole.size)) ** 0.5)
