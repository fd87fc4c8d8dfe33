import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.tensors import TensorSpec
from graphopt.validate import RecordedSession

INPUTS = (TensorSpec(name="x", shape=("n", 3), dtype="float32"),)
FEEDS = {"x": np.zeros((2, 3), np.float32)}


def recording() -> list[dict[str, np.ndarray]]:
    return [{"y": np.full((2, 5), float(index), np.float32)} for index in range(3)]


def test_samples_come_in_order() -> None:
    with RecordedSession(recording(), inputs=INPUTS) as session:
        assert [session.run(FEEDS)["y"][0, 0] for _ in range(3)] == [0.0, 1.0, 2.0]
        assert session.inputs == INPUTS
        assert session.outputs == (TensorSpec(name="y", shape=(2, 5), dtype="float32"),)


def test_declared_outputs_keep_their_roles() -> None:
    outputs = (TensorSpec(name="y", shape=("n", 5), dtype="float32", role="attributes"),)
    assert RecordedSession(recording(), inputs=INPUTS, outputs=outputs).outputs == outputs


def test_more_samples_than_recorded() -> None:
    session = RecordedSession(recording()[:1], inputs=INPUTS)
    session.run(FEEDS)
    with pytest.raises(DatasetError, match="sample 2 was not recorded"):
        session.run(FEEDS)


def test_feeds_are_checked() -> None:
    session = RecordedSession(recording(), inputs=INPUTS)
    with pytest.raises(UsageError, match="input x: dtype is float64"):
        session.run({"x": np.zeros((2, 3))})
    with pytest.raises(UsageError, match="unknown: \\['z'\\]"):
        session.run({"z": np.zeros((2, 3), np.float32)})


def test_empty_recording_and_closed_session() -> None:
    with pytest.raises(DatasetError, match="no samples"):
        RecordedSession([], inputs=INPUTS)
    session = RecordedSession(recording(), inputs=INPUTS)
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run(FEEDS)
