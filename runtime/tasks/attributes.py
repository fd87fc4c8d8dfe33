"""Attributes of pedestrians: independent yes/no decisions from one vector of logits."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.tensors import Array
from graphopt.runtime.datasets.peta import PetaDataset, PetaLabels, PetaSample
from graphopt.runtime.decode.attributes import attribute_probabilities, attributes_from_logits
from graphopt.runtime.disagreement import Disagreement, attributes_disagree
from graphopt.runtime.evaluate import evaluate_attributes, write_fusion_result
from graphopt.runtime.metrics.attributes import weighted_accuracy
from graphopt.runtime.pictures import photograph
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.task import Dataset, Panel, Reading, Sample, Score, Weighted, check_names

_FIGURES = (
    "instance_accuracy",
    "instance_precision",
    "instance_recall",
    "instance_f1",
    "label_accuracy",
)


@dataclass(frozen=True, kw_only=True)
class AttributeTask:
    """PETA-format data, logits of one output, instance and label-based metrics.

    Attributes:
        attributes: names, in the order of the logits.
        output: name of the logits [N, K] among the model's outputs.
    """

    attributes: tuple[str, ...]
    output: str

    @property
    def headline(self) -> str:
        """The figure the published results and the gate look at."""
        return "instance accuracy"

    @property
    def detail_kind(self) -> str:
        """What a row of ``Score.details`` is about."""
        return "attribute"

    @property
    def allowed_flips(self) -> float:
        """None: attributes are few, and equal models agree on all."""
        return 0.0

    def open_data(
        self,
        root: Path,
        *,
        limit: int | None = None,
        labels_only: bool = False,
        annotations: Path | None = None,
    ) -> PetaDataset:
        """Open a PETA-format folder; see ``PetaDataset``."""
        if annotations is not None:
            raise UsageError("PETA's labels are in label.json of the data set folder; leave the file out")
        return PetaDataset(root, limit=limit, labels_only=labels_only)

    def score(self, dataset: Dataset, predictions: Predictions) -> Score:
        """Score logits against the labels; see ``runtime.metrics.attributes``.

        Raises:
            DatasetError: the predictions are not exactly those of the data set, or not finite.
        """
        truth = _peta(dataset)
        check_names(truth, predictions)
        names = tuple(sample.name for sample in truth)
        return self._score(truth, predictions, PetaLabels(names=names, values=truth.labels))

    def agreement(self, dataset: Dataset, reference: Predictions, candidate: Predictions) -> Score:
        """Score logits with the reference's decisions in place of labels."""
        for predictions in (reference, candidate):
            check_names(dataset, predictions)
        decided = attributes_from_logits(reference.outputs[self.output])
        return self._score(dataset, candidate, PetaLabels(names=reference.names, values=decided))

    def read_original(self, dataset: Dataset, path: Path) -> None:
        """Return None: the original's scripts keep no decisions of single images."""

    def _score(self, dataset: Dataset, predictions: Predictions, labels: PetaLabels) -> Score:
        metrics = evaluate_attributes(predictions, labels, output=self.output, attributes=self.attributes)
        content = metrics.to_json()
        rows = [
            {
                "name": row["name"],
                "positives": row["positives"],
                "tpr": row["true_positive_rate"],
                "tnr": row["true_negative_rate"],
                "mean": row["mean_accuracy"],
            }
            for row in content.pop("attributes")
        ]
        return Score(
            headline=metrics.instance_accuracy,
            figures={name: content[name] for name in _FIGURES},
            samples=metrics.images,
            details={"rows": rows, "metrics": content},
            errors=self._errors(predictions, labels),
            weighted=self._weighted(dataset, predictions, labels),
        )

    def _weighted(self, dataset: Dataset, predictions: Predictions, labels: PetaLabels) -> Weighted:
        truth = labels.rows_for([sample.name for sample in dataset])
        return functools.partial(weighted_accuracy, self._decided(dataset, predictions), truth)

    def flips(self, reference: Predictions, candidate: Predictions) -> tuple[int, int]:
        """Count attributes whose decision differs."""
        left = attributes_from_logits(reference.outputs[self.output])
        right = attributes_from_logits(candidate.outputs[self.output])
        return int((left != right).sum()), left.size

    def disagreements(
        self, dataset: Dataset, reference: Predictions, candidate: Predictions
    ) -> tuple[Disagreement, ...]:
        """Compare the decisions; see ``runtime.disagreement``."""
        names = [sample.name for sample in dataset]
        sides = [self._decided(dataset, side) for side in (reference, candidate)]
        return attributes_disagree(*sides, names=names, attributes=self.attributes)

    def _decided(self, dataset: Dataset, predictions: Predictions) -> NDArray[np.bool_]:
        """Return the decisions in the order of the data set."""
        check_names(dataset, predictions)
        place = {name: i for i, name in enumerate(predictions.names)}
        order = [place[sample.name] for sample in dataset]
        return attributes_from_logits(predictions.outputs[self.output][order])

    def read(self, outputs: Mapping[str, Array], sample: Sample) -> tuple[Reading, ...]:
        """Return one reading per attribute, in label order."""
        logits = outputs[self.output][np.newaxis]
        positive = attributes_from_logits(logits)[0]
        probability = attribute_probabilities(logits)[0]
        labels = sample.labels if isinstance(sample, PetaSample) else None
        return tuple(
            Reading(
                label=name,
                value=float(probability[i]),
                positive=bool(positive[i]),
                truth=bool(labels[i]) if labels is not None else None,
            )
            for i, name in enumerate(self.attributes)
        )

    def panels(self, outputs: Mapping[str, Array], sample: Sample) -> tuple[Panel, ...]:  # noqa: ARG002
        """Return the image alone: attributes have no place in it."""
        return (Panel(caption="image", picture=photograph(sample.path)),)

    def _errors(self, predictions: Predictions, labels: PetaLabels) -> dict[str, float]:
        """Return the number of wrong attributes of each image."""
        found = attributes_from_logits(predictions.outputs[self.output])
        wrong = (found != labels.rows_for(predictions.names)).sum(axis=1)
        return dict(zip(predictions.names, wrong.astype(float).tolist(), strict=True))

    def write_original(self, dataset: Dataset, predictions: Predictions, path: Path) -> None:
        """Write ``fusion_result.json`` as the original recipe's script does."""
        truth = _peta(dataset)
        labels = PetaLabels(names=tuple(sample.name for sample in truth), values=truth.labels)
        metrics = evaluate_attributes(predictions, labels, output=self.output, attributes=self.attributes)
        write_fusion_result(path, metrics)


def _peta(dataset: Dataset) -> PetaDataset:
    if not isinstance(dataset, PetaDataset):
        raise DatasetError("attributes are scored on a PETA-format data set")
    return dataset
