"""Stages of a detector are compared by their sets of detections, whatever they call their outputs."""

import json
from typing import Any

import numpy as np
import pytest

from graphopt.core.comparison import FLOAT32_REORDERED, Outcome
from graphopt.core.tensors import Array, TensorSpec
from graphopt.validate import ComparisonReport, RecordedSession, compare_sessions

Answer = dict[str, Array]
INPUT = TensorSpec(name="x", shape=(1, 3), dtype="float32")
SAMPLES = [{"x": np.full((1, 3), value, np.float32)} for value in (1.0, 2.0)]


def _specs(dets: str, labels: str) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec(name=dets, shape=(None, 5), dtype="float32", role="dets"),
        TensorSpec(name=labels, shape=(None,), dtype="int64", role="labels"),
    )


RAW, FIXED = _specs("1361", "1368"), _specs("dets", "labels")


ROWS = np.array([[9 * i, 2, 9 * i + 7, 30 + i, 0.9 - i / 50] for i in range(6)], np.float32)


def _raw(*counts: int) -> list[Answer]:
    """Answers with so many rows each."""
    return [
        {
            "1361": ROWS[:count],
            "1368": np.arange(count) % 3,
        }
        for count in counts
    ]


def _fixed(answers: list[Answer]) -> list[Answer]:
    """The same rows, last ones first, among eight."""
    found: list[Answer] = []
    for answer in answers:
        dets, labels = np.zeros((8, 5), np.float32), np.zeros(8, np.int64)
        count = len(answer["1361"])
        dets[8 - count :], labels[8 - count :] = answer["1361"][::-1], answer["1368"][::-1]
        found.append({"dets": dets, "labels": labels})
    return found


def _compare(raw: list[Answer], fixed: list[Answer], **options: Any) -> ComparisonReport:
    report = compare_sessions(
        RecordedSession(raw, inputs=(INPUT,), outputs=options.pop("raw_specs", RAW)),
        {"fixed": RecordedSession(fixed, inputs=(INPUT,), outputs=options.pop("fixed_specs", FIXED))},
        SAMPLES,
        FLOAT32_REORDERED,
        sample_kind="two numbers",
        **options,
    )
    json.dumps(report.to_json(), allow_nan=False)
    return report


def test_the_same_sets_are_equal() -> None:
    report = _compare(_raw(4, 6), _fixed(_raw(4, 6)))
    assert report.passed
    (output,) = report.candidates[0].outputs
    assert output.role == "dets"
    assert output.detections is not None
    assert (output.detections.paired, output.detections.images) == (10, 2)
    assert report.rows()[0][-1] == "10/10 paired, box 0 px, score 0"
    assert report.detections == (output.detections,)


@pytest.mark.parametrize(("name", "by"), [("dets", 0.1), ("labels", 1)])
def test_one_other_row_in_one_sample_is_different(name: str, by: float) -> None:
    fixed = _fixed(_raw(4, 6))
    fixed[1][name][7] += np.asarray(by, fixed[1][name].dtype)
    report = _compare(_raw(4, 6), fixed)
    assert not report.passed
    assert "in image 1" in report.rows()[0][-1]


def test_nothing_detected_is_no_agreement() -> None:
    report = _compare(_raw(0, 0), _fixed(_raw(0, 0)))
    assert not report.passed
    assert report.candidates[0].outputs[0].tensor.outcome is Outcome.EMPTY


def test_roles_may_be_told() -> None:
    plain = tuple(TensorSpec(name=spec.name, shape=spec.shape, dtype=spec.dtype) for spec in FIXED)
    told = {"candidate_outputs": {"fixed": FIXED}}
    assert _compare(_raw(4, 6), _fixed(_raw(4, 6)), fixed_specs=plain, **told).passed
    assert not _compare(_raw(4, 6), _fixed(_raw(4, 6)), fixed_specs=plain).passed


def test_a_missing_output_is_missing() -> None:
    fixed = [{"dets": answer["dets"]} for answer in _fixed(_raw(4, 6))]
    report = _compare(_raw(4, 6), fixed)
    outcomes = {item.tensor.name: item.tensor.outcome for item in report.candidates[0].outputs}
    assert outcomes["1368"] is Outcome.MISSING
    assert not report.passed


def test_other_outputs_are_compared_number_by_number() -> None:
    heat = TensorSpec(name="heat", shape=(2,), dtype="float32")
    raw = [{**answer, "heat": np.ones(2, np.float32)} for answer in _raw(4, 6)]
    fixed = [{**answer, "heat": np.ones(2, np.float32)} for answer in _fixed(_raw(4, 6))]
    specs = {"raw_specs": (*RAW, heat), "fixed_specs": (*FIXED, heat)}
    assert _compare(raw, fixed, **specs).passed
    fixed[1]["heat"][1] = 2
    report = _compare(raw, fixed, **specs)
    assert [item.tensor.passed for item in report.candidates[0].outputs] == [True, False]
