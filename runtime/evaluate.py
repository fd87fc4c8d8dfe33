"""From predictions and labels to the figures of a task."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.files import write_json
from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.core.tensors import Array
from graphopt.runtime.datasets.peta import PetaLabels
from graphopt.runtime.decode.attributes import attributes_from_logits
from graphopt.runtime.metrics.attributes import AttributeMetrics, attribute_metrics
from graphopt.runtime.predictions import Predictions


def evaluate_attributes(
    predictions: Predictions,
    labels: PetaLabels,
    *,
    output: str | None = None,
    attributes: Sequence[str] = PETA_ATTRIBUTES,
) -> AttributeMetrics:
    """Score attribute logits against labels, matched by image name or file stem.

    Args:
        predictions: one output of them is logits [N, K].
        labels: of at least the predicted images.
        output: name of the logits; not needed when there is one output only.
        attributes: K names.

    Raises:
        UsageError: the output is not there, or there are several and none is named.
        DatasetError: an image has no label, logits have another shape or are not finite.
    """
    logits = _logits(predictions, output)
    if logits.ndim != 2 or logits.shape[1] != len(attributes):
        raise DatasetError(
            f"predictions have shape {list(logits.shape)}, expected [{len(predictions)}, {len(attributes)}]; "
            "is this the right model?"
        )
    broken = [predictions.names[i] for i in np.flatnonzero(~np.isfinite(logits).all(axis=1))]
    if broken:
        raise DatasetError(
            f"{len(broken)} of {len(predictions)} images have logits that are NaN or infinite: "
            f"{', '.join(broken[:5])}; compare the stages with validate first"
        )
    truth = labels.rows_for(predictions.names)
    return attribute_metrics(attributes_from_logits(logits), truth, names=attributes)


def write_fusion_result(path: Path, metrics: AttributeMetrics, *, force: bool = True) -> None:
    """Write the four instance figures under the names that the original scripts print.

    ATC leaves a file of the same name, about fused operators, in the folder it runs in: keep the
    two apart.

    Raises:
        OutputError: the file cannot be written, or exists without ``force``.
    """
    figures = metrics.to_json()
    content = {
        "instance_acc": figures["instance_accuracy"],
        "instance_precision": figures["instance_precision"],
        "instance_recall": figures["instance_recall"],
        "instance_F1": figures["instance_f1"],
    }
    write_json(path, content, force=force)


def _logits(predictions: Predictions, output: str | None) -> Array:
    names = ", ".join(predictions.outputs)
    if output is None:
        if len(predictions.outputs) != 1:
            raise UsageError(f"which output holds the logits? The predictions have: {names}")
        return next(iter(predictions.outputs.values()))
    if output not in predictions.outputs:
        raise UsageError(f"the predictions have no output {output}, they have: {names}")
    return predictions.outputs[output]
