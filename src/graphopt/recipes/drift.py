"""Where were the points lost: every stage over the same images, in the task's own metric."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import CheckpointError, DatasetError, UsageError
from graphopt.recipes.drift_causes import causes_of
from graphopt.recipes.drift_inputs import inputs_row
from graphopt.recipes.drift_report import DriftReport, interval_note
from graphopt.recipes.drift_stages import DEVICE, HALF, HALF_NMS, INPUTS, DriftStages, Row
from graphopt.recipes.evaluation import Evaluation
from graphopt.recipes.progress import Progress, Silent
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.run_checkpoint import check_exported_from
from graphopt.recipes.run_sources import RunSources
from graphopt.runtime.disagreement import Disagreement
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.task import Dataset, Score, Task
from graphopt.validate.bootstrap import draw_images
from graphopt.validate.waterfall import Measured, Waterfall, waterfall

_LIKE = 0.5
"""A device answers like another stage when what it lacks to full agreement with that one is less than this
share of what it lacks to the rewritten model's answers."""


@dataclass(frozen=True, kw_only=True)
class DriftOptions:
    """What to compare.

    Attributes:
        run: folder of a pipeline's run.
        checkpoint: trained weights; None takes the run's.
        data: data set folder or a folder of images; None takes the run's.
        annotations: the labels' file, where it is not in the data set folder.
        limit: only the first images; None takes the run's.
        results: what the device tools or the original scripts wrote.
        inputs: the files that were fed to the device.
        against: a stage whose answers stand for the labels; empty takes the labels, or the first stage where
            there are none.
        max_drop: largest allowed loss against the first stage, in points; None judges nothing.
    """

    run: Path
    checkpoint: Path | None = None
    data: Path | None = None
    annotations: Path | None = None
    limit: int | None = None
    results: Path | None = None
    inputs: Path | None = None
    against: str = ""
    max_drop: float | None = None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The report, and what pictures are drawn from.

    Attributes:
        report: plain data.
        pictures: the last stage of the path as a prediction, the first as its reference; None without two.
    """

    report: DriftReport
    pictures: Evaluation | None


def measure_drift(recipe: Recipe, options: DriftOptions, *, progress: Progress | None = None) -> Drift:
    """Score every stage of a run on the same images and say where points were lost.

    Args:
        recipe: whose run it is.
        options: see ``DriftOptions``.
        progress: told what is being done.

    Raises:
        GraphoptError: nothing can be compared. A stage that cannot run here is a row that says why.
    """
    progress = progress or Silent()
    task = recipe.needed_task("drift")
    stages = _stages(recipe, options, progress)
    rows = list(stages.rows())
    verdict = None
    if options.inputs is not None:
        verdict, row = inputs_row(stages, options.inputs)
        rows.insert([item.stage for item in rows].index("rewritten") + 1, row)
    if options.results is not None:
        rows.append(_placed(stages.results(options.results), rows, task, stages.dataset))
    reference = _truth(options, rows, has_labels=stages.has_labels)
    progress.say("scoring, and drawing images anew")
    scored, measured, failures = _scored(rows, task, stages.dataset, reference)
    found = waterfall(measured, metric=task.headline, last=DEVICE if options.results else "")
    pair = _pair(found, scored)
    differing = task.disagreements(stages.dataset, *_answers(pair)) if pair else ()
    report = DriftReport(
        recipe=recipe.name,
        title=recipe.title,
        folder=str(options.run),
        samples=len(stages.dataset),
        sample_kind=stages.sample_kind,
        truth=f"answers of {reference.stage}" if reference else "labels",
        waterfall=found,
        inputs=verdict.to_json() if verdict else {},
        sides=(pair[0].stage, pair[1].stage) if pair else (),
        disagreements=differing,
        causes=causes_of(task, stages.dataset, found, {row.stage: row for row in scored}),
        notes=_notes(found, len(stages.dataset), options),
        failures=failures,
        max_drop=options.max_drop,
    )
    return Drift(report=report, pictures=_pictures(recipe, task, stages.dataset, pair, differing))


def _stages(recipe: Recipe, options: DriftOptions, progress: Progress) -> DriftStages:
    if options.checkpoint is not None and not options.checkpoint.is_file():
        raise CheckpointError(f"the checkpoint {options.checkpoint} does not exist, or is not a file")
    if options.checkpoint is not None:
        check_exported_from(options.run, options.checkpoint)
    stored = RunSources.load(options.run)
    stored.check_recipe(recipe, options.run)
    sources = replace(
        stored,
        checkpoint=options.checkpoint or stored.checkpoint,
        data=options.data or stored.data,
        annotations=options.annotations or (stored.annotations if options.data is None else None),
        limit=options.limit or (stored.limit if options.data is None else None),
    )
    return DriftStages(run=options.run, recipe=recipe, sources=sources, stored=stored, progress=progress)


def _placed(device: Row, rows: Sequence[Row], task: Task, dataset: Dataset) -> Row:
    """Say which stage the device's answers are most like: from there its own loss is counted."""
    assert device.predictions is not None
    apart: dict[str, float] = {}
    for row in rows:
        if row.stage in ("rewritten", HALF_NMS, HALF, INPUTS) and row.predictions is not None:
            try:
                found = task.agreement(dataset, row.predictions, device.predictions)
            except DatasetError:  # not a number, or nothing found: it is told where it is scored
                continue
            apart[row.stage] = 1 - found.headline
    nearest = min(apart, key=lambda name: apart[name], default="rewritten")
    if nearest == "rewritten" or apart[nearest] >= _LIKE * apart.get("rewritten", np.inf):
        return device
    return replace(device, against=nearest, note=f"{device.note}; answers most like {nearest}")


def _truth(options: DriftOptions, rows: Sequence[Row], *, has_labels: bool) -> Row | None:
    """Return the stage whose answers stand for the labels; None when the labels do."""
    if not options.against and has_labels:
        return None
    there = {row.stage: row for row in rows if row.predictions is not None}
    name = options.against or next(iter(there), "")
    if name in there:
        return there[name]
    why = next((f" ({row.note})" for row in rows if row.stage == name), "")
    raise UsageError(f"--against: no answers of {name!r}{why}; {did_you_mean(name, list(there))}")


def _scored(
    rows: Sequence[Row], task: Task, dataset: Dataset, reference: Row | None
) -> tuple[list[Row], list[Measured], tuple[str, ...]]:
    """Return the rows that have figures, all as measured, and why others that answered have none."""
    weights = draw_images(len(dataset))
    truth = reference.predictions if reference else None
    scored, measured, failures = [], [], []
    for row in rows:
        figures: tuple[float, NDArray[np.float64] | None] | None = None
        note = row.note
        if row.predictions is not None:
            try:
                figures = _figures(_score(task, dataset, row.predictions, truth), weights)
                scored.append(row)
            except DatasetError as error:
                if row is reference or (truth is None and row is rows[0]):
                    raise
                note = f"not scored: {error}"
                if not row.estimate:
                    failures.append(f"{row.stage} could not be scored: {error}")
        measured.append(
            Measured(
                stage=row.stage,
                metric=figures[0] if figures else None,
                drawn=figures[1] if figures else None,
                against=row.against,
                estimate=row.estimate,
                note=note,
            )
        )
    return scored, measured, tuple(failures)


def _score(task: Task, dataset: Dataset, predictions: Predictions, truth: Predictions | None) -> Score:
    if truth is None:
        return task.score(dataset, predictions)
    return task.agreement(dataset, truth, predictions)


def _figures(score: Score, weights: NDArray[np.int64]) -> tuple[float, NDArray[np.float64] | None]:
    return score.headline, score.weighted(weights) if score.weighted is not None else None


def _pair(found: Waterfall, scored: Sequence[Row]) -> tuple[Row, Row] | None:
    by_stage = {row.stage: row for row in scored}
    return (by_stage[found.path[0]], by_stage[found.path[-1]]) if len(found.path) > 1 else None


def _answers(pair: tuple[Row, Row]) -> tuple[Predictions, Predictions]:
    first, last = pair[0].predictions, pair[1].predictions
    assert first is not None
    assert last is not None
    return first, last


def _notes(found: Waterfall, samples: int, options: DriftOptions) -> tuple[str, ...]:
    notes = [interval_note(samples)]
    if any(row.estimate and row.metric is not None for row in found.rows):
        notes.append(
            "half precision is estimated on the CPU, each estimate counted from the rewritten model; a chip "
            "rounds elsewhere too"
        )
    if options.results is None:
        notes.append("no device results: give the folder that the device wrote with --results DIR")
    return tuple(notes)


def _pictures(
    recipe: Recipe,
    task: Task,
    dataset: Dataset,
    pair: tuple[Row, Row] | None,
    differing: Sequence[Disagreement],
) -> Evaluation | None:
    if pair is None:
        return None
    first, last = _answers(pair)
    errors = {item.name: item.size for item in differing}
    score = Score(headline=0.0, figures={}, samples=len(dataset), errors=errors)
    return Evaluation(
        recipe=recipe, task=task, dataset=dataset, predictions=last, score=score, reference=first
    )
