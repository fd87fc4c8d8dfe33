import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, OutputError, UsageError
from graphopt.runtime.datasets.peta import PetaLabels, read_peta_labels
from graphopt.runtime.evaluate import evaluate_attributes, write_fusion_result
from graphopt.runtime.metrics.attributes import attribute_metrics
from graphopt.runtime.predictions import Predictions


def _case(images: int = 20) -> tuple[Predictions, PetaLabels]:
    rng = np.random.default_rng(2)
    names = tuple(f"{i:05}.png" for i in range(images))
    truth = rng.random((images, 35)) < 0.3
    logits = (truth * 4.0 - 2 + rng.standard_normal(truth.shape)).astype(np.float32)
    return Predictions(names=names, outputs={"output1": logits}), PetaLabels(names=names, values=truth)


def test_equals_the_metric_on_decided_logits() -> None:
    predictions, labels = _case()
    got = evaluate_attributes(predictions, labels)
    logits: Any = predictions.outputs["output1"]
    expected = attribute_metrics(logits >= 0, labels.values)
    assert got.instance_accuracy == expected.instance_accuracy
    assert got.label_accuracy == expected.label_accuracy
    assert got.attributes[0].name == "personalLess30"


def test_labels_are_matched_by_name_not_by_order() -> None:
    predictions, labels = _case()
    order = np.random.default_rng(5).permutation(20)
    shuffled = PetaLabels(names=tuple(labels.names[i] for i in order), values=labels.values[order])
    assert evaluate_attributes(predictions, shuffled) == evaluate_attributes(predictions, labels)


def test_predictions_named_by_stem_find_their_labels() -> None:
    predictions, labels = _case()
    stems = Predictions(
        names=tuple(Path(name).stem for name in predictions.names), outputs=predictions.outputs
    )
    assert evaluate_attributes(stems, labels) == evaluate_attributes(predictions, labels)


def test_an_image_without_label_is_named() -> None:
    predictions, labels = _case()
    fewer = PetaLabels(names=labels.names[:-2], values=labels.values[:-2])
    with pytest.raises(DatasetError, match=r"2 of 20 images have no label: 00018\.png, 00019\.png"):
        evaluate_attributes(predictions, fewer)


def test_logits_that_are_not_finite_name_their_images() -> None:
    predictions, labels = _case()
    predictions.outputs["output1"][3, 4] = np.nan
    with pytest.raises(DatasetError, match=r"1 of 20 images .*: 00003\.png"):
        evaluate_attributes(predictions, labels)


def test_another_shape_is_refused() -> None:
    predictions, labels = _case()
    other = Predictions(names=predictions.names, outputs={"x": predictions.outputs["output1"][:, :34]})
    with pytest.raises(DatasetError, match=r"shape \[20, 34\], expected \[20, 35\]"):
        evaluate_attributes(other, labels)


def test_the_output_is_chosen_by_name() -> None:
    predictions, labels = _case()
    logits: Any = predictions.outputs["output1"]
    two = Predictions(names=predictions.names, outputs={"a": logits, "b": -logits})
    with pytest.raises(UsageError, match=r"which output holds the logits.* a, b"):
        evaluate_attributes(two, labels)
    with pytest.raises(UsageError, match="no output c, they have: a, b"):
        evaluate_attributes(two, labels, output="c")
    assert evaluate_attributes(two, labels, output="a") == evaluate_attributes(predictions, labels)


def test_fusion_result_has_the_original_names(tmp_path: Path) -> None:
    predictions, labels = _case()
    metrics = evaluate_attributes(predictions, labels)
    path = tmp_path / "fusion_result.json"
    write_fusion_result(path, metrics)
    content = json.loads(path.read_text())
    assert list(content) == ["instance_acc", "instance_precision", "instance_recall", "instance_F1"]
    assert content["instance_acc"] == metrics.instance_accuracy
    assert content["instance_F1"] == metrics.instance_f1
    with pytest.raises(OutputError, match="exists"):
        write_fusion_result(path, metrics, force=False)


@pytest.mark.shared
def test_real_labels_with_simulated_logits(shared_dir: Path) -> None:
    labels = read_peta_labels(shared_dir / "data" / "peta" / "label.json")
    rng = np.random.default_rng(1)
    logits = (labels.values * 2.0 - 1 + 0.55 * rng.standard_normal(labels.values.shape)).astype(np.float32)
    got = evaluate_attributes(Predictions(names=labels.names, outputs={"output1": logits}), labels)
    assert got.images == 7600
    assert got.images_without_truth == 0
    assert got.undefined_attributes == 0
    assert 0.7 < got.instance_accuracy < 0.95
