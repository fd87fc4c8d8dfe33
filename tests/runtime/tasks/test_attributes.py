"""The decisions of a reference in place of labels."""

from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.runtime.datasets.image_folder import ImageFolder
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.tasks.attributes import AttributeTask

TASK = AttributeTask(attributes=PETA_ATTRIBUTES, output="logits")


def test_a_reference_stands_for_labels(peta_folder: Path) -> None:
    images = ImageFolder(peta_folder / "images")
    names = tuple(sample.name for sample in images)
    logits = np.random.default_rng(7).standard_normal((len(names), 35)).astype(np.float32)
    one, two = (Predictions(names=names, outputs={"logits": value}) for value in (logits, -logits))
    assert TASK.agreement(images, one, one).headline == 1
    assert TASK.agreement(images, one, two).headline == 0
    with pytest.raises(DatasetError, match="1 images without prediction"):
        TASK.agreement(images, Predictions(names=names[1:], outputs={"logits": logits[1:]}), one)
    assert TASK.read_original(images, peta_folder) is None  # type: ignore[func-returns-value]
    with pytest.raises(UsageError, match="labels are in label"):
        TASK.open_data(peta_folder, annotations=peta_folder / "a.json")
