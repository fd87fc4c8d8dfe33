import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from graphopt.core.comparison import FLOAT32_REORDERED, Outcome, Tolerance
from graphopt.core.errors import UsageError
from graphopt.core.session import OnnxRuntimeSession, Session
from graphopt.core.tensors import Array
from graphopt.validate import (
    ComparisonReport,
    RecordedSession,
    compare_sessions,
    count_class_flips,
    count_sign_flips,
)

OpenSession = Callable[..., OnnxRuntimeSession]
Samples = list[dict[str, Array]]


def compare(reference: Session, candidate: Session, samples: Samples) -> ComparisonReport:
    return compare_sessions(
        reference, {"candidate": candidate}, samples, FLOAT32_REORDERED, sample_kind="seeded noise"
    )


def outcomes(report: ComparisonReport) -> dict[str, Outcome]:
    return {o.tensor.name: o.tensor.outcome for c in report.candidates for o in c.outputs}


def test_identical_models_pass(open_session: OpenSession, samples: Samples) -> None:
    report = compare(open_session(), open_session(), samples)
    assert report.passed
    assert report.samples == 4
    assert report.candidates[0].max_abs == 0
    for output in report.candidates[0].outputs:
        assert output.tensor.cosine == pytest.approx(1)
        assert output.tensor.margin == 0


def test_reordered_sums_pass(open_session: OpenSession, samples: Samples) -> None:
    plain = "logits = ReduceSum <axes = [0], keepdims = 0> (x)"
    pairs = (
        "a = Slice(x, zero, one, zero)  b = Slice(x, one, two, zero)  c = Add(b, a)"
        "  logits = Squeeze <axes = [0]> (c)"
    )
    shape = {"n": "2", "outputs": "float[3,5] logits"}
    constants = "int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}"
    report = compare(
        open_session(plain, **shape, constants=constants),
        open_session(pairs, **shape, constants=constants),
        samples,
    )
    assert report.passed


SWAPPED = (
    "i = Constant <value = int64[3] {1, 0, 2}> ()  s = Gather <axis = 1> (x, i)"
    "  logits = Mul(s, w)  probability = Sigmoid(logits)"
)
SABOTAGE = {
    "one percent": ("a = Mul(x, w)  logits = Mul(a, scale)  probability = Sigmoid(logits)", Outcome.VALUES),
    "swapped channels": (SWAPPED, Outcome.VALUES),
    "changed dtype": (
        "a = Mul(x, w)  logits = Cast <to = 11> (a)  probability = Sigmoid(a)",
        Outcome.DTYPE,
    ),
    "changed shape": (
        "a = Mul(x, w)  logits = Transpose <perm = [0, 2, 1]> (a)  probability = Sigmoid(a)",
        Outcome.SHAPE,
    ),
}


@pytest.mark.parametrize("kind", sorted(SABOTAGE))
def test_sabotage_fails(kind: str, open_session: OpenSession, samples: Samples) -> None:
    body, outcome = SABOTAGE[kind]
    outputs = {
        "changed dtype": "double[{n},3,5] logits, float[{n},3,5] probability",
        "changed shape": "float[{n},5,3] logits, float[{n},3,5] probability",
    }.get(kind, "float[{n},3,5] logits, float[{n},3,5] probability")
    report = compare(open_session(), open_session(body, outputs=outputs), samples)
    assert not report.passed
    assert outcomes(report)["logits"] is outcome


def test_dropped_output_fails(open_session: OpenSession, samples: Samples) -> None:
    fewer = open_session("logits = Mul(x, w)", outputs="float[{n},3,5] logits")
    assert outcomes(compare(open_session(), fewer, samples))["probability"] is Outcome.MISSING
    assert not compare(open_session(), fewer, samples).passed
    assert not compare(fewer, open_session(), samples).passed


def test_renamed_output_fails(open_session: OpenSession, samples: Samples) -> None:
    renamed = open_session(
        "scores = Mul(x, w)  probability = Sigmoid(scores)",
        outputs="float[{n},3,5] scores, float[{n},3,5] probability",
    )
    report = compare(open_session(), renamed, samples)
    assert outcomes(report) == {
        "logits": Outcome.MISSING,
        "probability": Outcome.MATCH,
        "scores": Outcome.MISSING,
    }
    assert not report.passed


def test_one_nan_in_one_sample_fails(open_session: OpenSession, samples: Samples) -> None:
    session = open_session()
    recorded = [session.run(feeds) for feeds in samples]
    recorded[2]["logits"] = recorded[2]["logits"].copy()
    recorded[2]["logits"][1, 2, 3] = np.nan
    report = compare(session, RecordedSession(recorded, inputs=session.inputs), samples)
    assert outcomes(report)["logits"] is Outcome.NOT_FINITE
    assert outcomes(report)["probability"] is Outcome.MATCH
    assert not report.passed


def test_nan_on_both_sides_fails_too(open_session: OpenSession) -> None:
    session = open_session()
    feeds: dict[str, Array] = {"x": np.full((2, 3, 5), np.nan, np.float32)}
    assert not compare(session, open_session(), [feeds]).passed


def test_the_worst_of_all_samples_is_reported(open_session: OpenSession, samples: Samples) -> None:
    session = open_session()
    recorded = [session.run(feeds) for feeds in samples]
    recorded[1] = {**recorded[1], "logits": np.add(recorded[1]["logits"], np.float32(0.25), dtype=np.float32)}
    report = compare(session, RecordedSession(recorded, inputs=session.inputs), samples)
    (logits, probability) = report.candidates[0].outputs
    assert logits.tensor.max_abs == pytest.approx(0.25, rel=1e-5)
    assert logits.tensor.margin is not None
    assert logits.tensor.margin > 1
    assert probability.tensor.passed


def test_several_candidates_are_judged_apart(open_session: OpenSession, samples: Samples) -> None:
    bad = open_session(SABOTAGE["one percent"][0])
    report = compare_sessions(
        open_session(),
        {"good": open_session(), "bad": bad},
        samples,
        FLOAT32_REORDERED,
        sample_kind="seeded noise",
        reference_name="raw",
    )
    assert [(c.name, c.passed) for c in report.candidates] == [("good", True), ("bad", False)]
    assert not report.passed
    assert report.reference == "raw"


def test_reference_runs_first_and_progress_is_told(open_session: OpenSession, samples: Samples) -> None:
    order: list[str] = []
    done: list[int] = []

    class Spy(RecordedSession):
        def __init__(self, name: str) -> None:
            session = open_session()
            super().__init__([session.run(feeds) for feeds in samples], inputs=session.inputs)
            self._name = name

        def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            order.append(self._name)
            return super().run(feeds)

    compare_sessions(
        Spy("reference"),
        {"a": Spy("a"), "b": Spy("b")},
        iter(samples),
        FLOAT32_REORDERED,
        sample_kind="seeded noise",
        on_progress=done.append,
    )
    assert order == ["reference", "a", "b"] * 4
    assert done == [1, 2, 3, 4]


def test_samples_are_left_as_they_are(open_session: OpenSession, samples: Samples) -> None:
    before = [feeds["x"].copy() for feeds in samples]
    for feeds in samples:
        feeds["x"].flags.writeable = False
    compare(open_session(), open_session(n="3"), samples)
    assert all(np.array_equal(a, feeds["x"]) for a, feeds in zip(before, samples, strict=True))


# refusals


def test_no_samples(open_session: OpenSession) -> None:
    with pytest.raises(UsageError, match="no samples"):
        compare(open_session(), open_session(), [])


def test_no_candidates(open_session: OpenSession, samples: Samples) -> None:
    with pytest.raises(UsageError, match="at least one candidate"):
        compare_sessions(open_session(), {}, samples, FLOAT32_REORDERED, sample_kind="noise")


def test_other_input_names(open_session: OpenSession, samples: Samples) -> None:
    other = open_session("logits = Mul(y, w)  probability = Sigmoid(logits)", inputs="float[{n},3,5] y")
    with pytest.raises(UsageError, match=r"candidate cannot be compared.*\['y'\].*\['x'\]"):
        compare(open_session(), other, samples)


def test_other_input_dtype(open_session: OpenSession, samples: Samples) -> None:
    other = open_session(
        "x = Cast <to = 1> (d)  logits = Mul(x, w)  probability = Sigmoid(logits)",
        inputs="double[{n},3,5] d",
    )
    same_name = open_session(
        "y = Cast <to = 1> (x)  logits = Mul(y, w)  probability = Sigmoid(logits)",
        inputs="double[{n},3,5] x",
    )
    with pytest.raises(UsageError, match="inputs are matched by name"):
        compare(open_session(), other, samples)
    with pytest.raises(UsageError, match=r"input x is float64 .* in the reference float32"):
        compare(open_session(), same_name, samples)


def test_inputs_in_another_order_are_fine(open_session: OpenSession) -> None:
    rng = np.random.default_rng(3)
    feeds: dict[str, Array] = {name: rng.standard_normal((2, 3, 5)).astype(np.float32) for name in "ab"}
    body = "logits = Sub(a, b)  probability = Sigmoid(logits)"
    first = open_session(body, inputs="float[{n},3,5] a, float[{n},3,5] b")
    second = open_session(body, inputs="float[{n},3,5] b, float[{n},3,5] a")
    assert compare(first, second, [feeds]).passed


# attributes


def test_flips_are_counted_beside_the_verdict(open_session: OpenSession, samples: Samples) -> None:
    session = open_session()
    recorded = [session.run(feeds) for feeds in samples]
    for outputs in recorded[:2]:
        flipped = outputs["logits"].copy()
        flipped[0, 0, 0] *= -1
        outputs["logits"] = flipped
    roles = tuple(
        dataclasses.replace(spec, role="attributes" if spec.name == "logits" else "")
        for spec in session.outputs
    )
    wide = Tolerance(atol=100, rtol=0, why="everything passes")
    report = compare_sessions(
        session,
        {"device": RecordedSession(recorded, inputs=session.inputs)},
        samples,
        wide,
        sample_kind="noise",
        outputs=roles,
    )
    logits, probability = report.candidates[0].outputs
    assert logits.flips is not None
    assert (logits.flips.flipped, logits.flips.decisions) == (2, 4 * 2 * 3 * 5)
    assert logits.role == "attributes"
    assert probability.flips is None
    assert report.passed
    assert report.rows()[0][7] == "2 of 120"


def test_sign_flips() -> None:
    reference = np.array([1.0, -1.0, 0.0, 2.0, np.nan], np.float32)
    candidate = np.array([-1.0, -2.0, 1.0, 3.0, 1.0], np.float32)
    assert count_sign_flips(reference, candidate) == 3
    assert count_sign_flips(reference, reference) == 0


def test_pixels_of_another_class_are_counted() -> None:
    reference = np.zeros((1, 3, 2, 2), np.float32)
    reference[0, 1, 0, 0] = 1
    candidate = reference.copy()
    candidate[0, 2, 1, :] = 2
    assert count_class_flips(reference, candidate) == 2
    assert count_class_flips(reference, reference * 5) == 0


def test_masks_count_pixels_and_only_where_there_is_a_class_axis(
    open_session: OpenSession, samples: Samples
) -> None:
    outputs = "float[{n},3,5,1] wide, float[{n},3,5] flat"
    body = "y = Mul(x, w)  wide = Unsqueeze <axes = [3]> (y)  flat = Identity (y)"
    reference = open_session(body, outputs=outputs)
    other = open_session(body.replace("Mul(x, w)", "Neg(x)"), outputs=outputs)
    roles = tuple(dataclasses.replace(spec, role="masks") for spec in reference.outputs)
    report = compare_sessions(
        reference,
        {"same": reference, "other": other},
        samples,
        Tolerance(atol=100, rtol=0, why="everything passes"),
        sample_kind="noise",
        outputs=roles,
    )
    (same, _), (wide, flat) = (candidate.outputs for candidate in report.candidates)
    assert same.flips is not None
    assert (same.flips.flipped, same.flips.decisions) == (0, 4 * 2 * 5)
    assert wide.flips is not None
    assert 0 < wide.flips.flipped <= wide.flips.decisions == 4 * 2 * 5
    assert flat.flips is None
