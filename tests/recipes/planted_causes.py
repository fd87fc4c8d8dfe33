"""Plant causes of lost points in a finished run, and let ``drift`` say where they enter."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from graphopt.core.onnx_files import load_model, save_model
from graphopt.recipes.drift import DriftOptions, measure_drift
from graphopt.recipes.drift_report import DriftReport
from graphopt.recipes.drift_stages import open_images
from graphopt.recipes.input_probe import Probe
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.run_sources import RunSources
from graphopt.recipes.stages import parse_stage
from graphopt.validate.inputs.expected import ExpectedInput

Array = NDArray[Any]
Change = Callable[[ExpectedInput, Probe], Array]
"""The recipe's input of an image to what was fed instead, float32 [H, W, C]."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One planted cause and what drift said.

    Attributes:
        cause: what was done.
        enters: the row in which most of the loss enters, or the row that the device's answers are put beside.
        named: the cause that drift names; empty for none.
        lost: points of the metric between the first and the last row.
        rows: points lost by row.
        report: everything.
    """

    cause: str
    enters: str
    named: str
    lost: float
    rows: dict[str, float]
    report: DriftReport


def channels_reversed(image: ExpectedInput, probe: Probe) -> Array:
    """BGR for RGB."""
    return _placed(image, probe, _own_levels(image, probe)[..., ::-1])


def other_mean(image: ExpectedInput, probe: Probe) -> Array:
    """The mean of the channels in the opposite order; 20 levels less where they are all alike."""
    channels = probe.channels
    mean = np.array(channels.mean)
    moved = (mean - mean[::-1]) if np.ptp(mean) else mean - 20
    values = image.values.copy()
    values[image.placement.inside(image.canvas)] += (moved * np.array(channels.scale)).astype(np.float32)
    return values


def nearest(image: ExpectedInput, probe: Probe) -> Array:
    """OpenCV's nearest neighbour."""
    place = image.placement
    return _placed(
        image, probe, cv2.resize(image.pixels, (place.width, place.height), interpolation=cv2.INTER_NEAREST)
    )


def half_a_pixel(image: ExpectedInput, probe: Probe) -> Array:
    """A resize that takes the corner of a pixel for its middle."""
    place, (height, width) = image.placement, image.pixels.shape[:2]
    rows = np.arange(place.height, dtype=np.float32)[:, None] * np.float32(height / place.height)
    columns = np.arange(place.width, dtype=np.float32)[None] * np.float32(width / place.width)
    x, y = (np.ascontiguousarray(each) for each in np.broadcast_arrays(columns, rows))
    pixels = image.pixels.astype(np.float32)
    levels = cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _placed(image, probe, levels)


def other_side(image: ExpectedInput, probe: Probe) -> Array:
    """The image in the lower right corner, or in the upper left one where it is there already."""
    place, canvas = image.placement, image.canvas
    top, left = canvas[0] - place.height, canvas[1] - place.width
    if (top, left) == (place.top, place.left):
        top = left = 0
    moved = dataclasses.replace(image, placement=dataclasses.replace(place, top=top, left=left))
    return _placed(moved, probe, _own_levels(image, probe))


INPUTS: dict[str, Change] = {
    "BGR for RGB": channels_reversed,
    "wrong mean": other_mean,
    "nearest resize": nearest,
    "padding on the wrong side": other_side,
    "half-pixel shift": half_a_pixel,
}


def _own_levels(image: ExpectedInput, probe: Probe) -> Array:
    return probe.channels.levels_of(image.values[image.placement.inside(image.canvas)])


def _placed(image: ExpectedInput, probe: Probe, levels: Array) -> Array:
    size = image.pixels.shape[1], image.pixels.shape[0]
    around = probe.padding(*size) or (0.0, 0.0, 0.0)
    values = np.broadcast_to(np.array(around, np.float32), image.values.shape).copy()
    values[image.placement.inside(image.canvas)] = probe.channels.values_of(levels.astype(np.float32))
    return values


class Bench:
    """A finished run into which causes are planted.

    Args:
        recipe: of the run.
        run: its folder; it is left as it is but for what ``drift`` keeps there.
        work: for files; emptied.
        limit: images.
        against: row whose answers stand for the labels; empty for the labels.
    """

    def __init__(
        self, recipe: Recipe, run: Path, work: Path, *, limit: int | None = None, against: str = ""
    ) -> None:
        self._recipe, self._run, self._work = recipe, run, work
        self._limit, self._against = limit, against
        sources = RunSources.load(run)
        self._dataset = list(open_images(recipe, dataclasses.replace(sources, limit=limit or sources.limit)))
        self._probe = Probe(recipe.preprocessing, recipe.name)

    @property
    def rewritten(self) -> Path:
        """The model that the device runs."""
        return self._run / "rewritten" / "model.onnx"

    def fed(self, cause: str) -> Planted:
        """Feed a device with inputs made wrongly, and tell drift both inputs and answers."""
        folder = self._fresh("fed")
        for sample in self._dataset:
            values = INPUTS[cause](self._probe.expected(sample.name, sample.path), self._probe)
            np.ascontiguousarray(values.transpose(2, 0, 1)).tofile(folder / f"{Path(sample.name).stem}.bin")
        answers = self._answers(str(self.rewritten), folder)
        return self._measured(cause, inputs=folder, results=answers)

    def answered(self, cause: str, change: Callable[[list[Array]], list[Array]]) -> Planted:
        """Change what a device answers, output by output in the model's order."""
        return self._measured(cause, results=self._answers(str(self.rewritten), None, change))

    def ran_as(self, cause: str, stage: str) -> Planted:
        """Let the device be another stage of the rewritten model, e.g. ``fp16-nms``."""
        return self._measured(cause, results=self._answers(f"{stage}:{self.rewritten}", None))

    def rewrote(self, cause: str, change: Callable[[Any], bool]) -> Planted:
        """Make a mistake in the rewritten model itself, in a copy of the run."""
        run = self._fresh("run")
        shutil.copytree(self._run, run, dirs_exist_ok=True)
        path = run / "rewritten" / "model.onnx"
        model = load_model(path)
        assert change(model), f"{cause}: the model has no place for it"
        save_model(model, path, force=True)
        return self._measured(cause, run=run)

    def _fresh(self, name: str) -> Path:
        folder = self._work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _answers(
        self,
        stage: str,
        fed: Path | None,
        change: Callable[[list[Array]], list[Array]] = lambda outputs: outputs,
    ) -> Path:
        folder = self._fresh("answers")
        with parse_stage(stage, recipe_name=self._recipe.name).open() as session:
            batched = any(spec.shape[:1] == session.inputs[0].shape[:1] for spec in session.outputs)
            for name, values in self._inputs(fed):
                answer = session.run({session.inputs[0].name: values[np.newaxis]})
                outputs = [answer[spec.name][0 if batched else ...] for spec in session.outputs]
                for number, output in enumerate(change(outputs)):
                    np.ascontiguousarray(output).tofile(folder / f"{Path(name).stem}_{number}.bin")
        return folder

    def _inputs(self, fed: Path | None) -> Iterator[tuple[str, Array]]:
        for sample in self._dataset:
            own = self._probe.expected(sample.name, sample.path).values.transpose(2, 0, 1)
            if fed is None:
                yield sample.name, np.ascontiguousarray(own)
            else:
                path = fed / f"{Path(sample.name).stem}.bin"
                yield sample.name, np.fromfile(path, np.float32).reshape(own.shape)

    def _measured(self, cause: str, *, run: Path | None = None, **options: Any) -> Planted:
        report = measure_drift(
            self._recipe,
            DriftOptions(run=run or self._run, limit=self._limit, against=self._against, **options),
        ).report
        found = {row.stage: row for row in report.waterfall.rows}
        lost = {stage: row.loss.points for stage, row in found.items() if row.loss is not None}
        path = [stage for stage in report.waterfall.path if stage in lost]
        worst = max(path, key=lambda stage: lost[stage])
        total = report.waterfall.total
        named = str(report.inputs.get("cause", "")) if report.inputs else ""
        if not named:
            named = "; ".join(item.text.removeprefix("consistent with ") for item in report.causes)
        return Planted(
            cause=cause,
            enters=worst,
            named=named,
            lost=total.points if total is not None else 0.0,
            rows=lost,
            report=report,
        )
