"""One image as several stages see it, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphopt.core.tensors import Array
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.task import Panel, Sample, Task


def stage_panels(task: Task, sample: Sample, stages: Sequence[tuple[str, Predictions]]) -> tuple[Panel, ...]:
    """Draw an image, its labels where there are any, and what each stage says of it.

    A task without pictures of its own shows the image only.

    Args:
        task: draws.
        sample: the image, among those of the predictions.
        stages: caption and predictions, at least one.
    """
    drawn = [(caption, task.panels(outputs_of(found, sample), sample)) for caption, found in stages]
    common = drawn[0][1]
    if len(common) == 1:
        return common
    return (*common[:-1], *(replace(panels[-1], caption=caption) for caption, panels in drawn))


def outputs_of(predictions: Predictions, sample: Sample) -> Mapping[str, Array]:
    """Return what was said of one image, by output, without the batch axis."""
    row = predictions.names.index(sample.name)
    return {name: rows[row] for name, rows in predictions.outputs.items()}
