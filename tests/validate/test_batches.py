from collections.abc import Callable

import numpy as np
import pytest

from graphopt.core.comparison import FLOAT32_REORDERED
from graphopt.core.errors import UsageError
from graphopt.core.session import OnnxRuntimeSession
from graphopt.validate import compare_sessions
from graphopt.validate.batches import run_in_batches

OpenSession = Callable[..., OnnxRuntimeSession]


@pytest.mark.parametrize("batch", ["1", "2", "3", "4", "7", "8", "n"])
def test_any_batch_gives_the_same_rows(batch: str, open_session: OpenSession) -> None:
    feeds = {"x": np.random.default_rng(7).standard_normal((7, 3, 5)).astype(np.float32)}
    expected = open_session().run(feeds)
    got = run_in_batches(open_session(n=batch), feeds)
    assert list(got) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])


def test_stages_of_different_batch_are_compared(open_session: OpenSession) -> None:
    rng = np.random.default_rng(7)
    samples = [{"x": rng.standard_normal((n, 3, 5)).astype(np.float32)} for n in (4, 4, 1)]
    report = compare_sessions(
        open_session(n="1"),
        {"bs4": open_session(n="4"), "bs3": open_session(n="3"), "dynamic": open_session()},
        samples,
        FLOAT32_REORDERED,
        sample_kind="seeded noise",
    )
    assert report.passed
    wrong = open_session("a = Mul(x, w)  logits = Mul(a, scale)  probability = Sigmoid(logits)", n="3")
    report = compare_sessions(
        open_session(n="1"), {"wrong": wrong}, samples, FLOAT32_REORDERED, sample_kind="seeded noise"
    )
    assert not report.passed


def test_rows_mixed_up_between_batches_are_found(open_session: OpenSession) -> None:
    # A model that takes its answer from another row of the batch is right at batch 1 only.
    leaky = open_session(
        "i = Constant <value = int64[2] {1, 0}> ()  s = Gather <axis = 0> (x, i)"
        "  logits = Mul(s, w)  probability = Sigmoid(logits)",
        n="2",
    )
    feeds = {"x": np.random.default_rng(7).standard_normal((4, 3, 5)).astype(np.float32)}
    report = compare_sessions(
        open_session(n="1"), {"leaky": leaky}, [feeds], FLOAT32_REORDERED, sample_kind="noise"
    )
    assert not report.passed


def test_input_shared_by_all_rows_is_not_split(open_session: OpenSession) -> None:
    session = open_session(
        "logits = Mul(x, s)  probability = Sigmoid(logits)",
        inputs="float[{n},3,5] x, float[1,3,1] s",
        n="2",
    )
    rng = np.random.default_rng(7)
    feeds = {
        "x": rng.standard_normal((4, 3, 5)).astype(np.float32),
        "s": rng.standard_normal((1, 3, 1)).astype(np.float32),
    }
    got = run_in_batches(session, feeds)["logits"]
    np.testing.assert_array_equal(got, feeds["x"] * feeds["s"])


def test_output_without_batch_axis_cannot_be_joined(open_session: OpenSession) -> None:
    session = open_session(
        "logits = ReduceMax <axes = [0], keepdims = 1> (x)", outputs="float[1,3,5] logits", n="2"
    )
    feeds = {"x": np.ones((4, 3, 5), np.float32)}
    with pytest.raises(UsageError, match=r"output logits has shape \[1, 3, 5\] for a batch of 2"):
        run_in_batches(session, feeds)


def test_inputs_that_disagree_on_the_batch(open_session: OpenSession) -> None:
    session = open_session(
        "y = Add(a, b)  logits = Mul(y, w)  probability = Sigmoid(logits)",
        inputs="float[2,3,5] a, float[2,3,5] b",
        n="2",
    )
    feeds = {"a": np.ones((4, 3, 5), np.float32), "b": np.ones((6, 3, 5), np.float32)}
    with pytest.raises(UsageError, match="4 rows for a batch of 2, 6 rows for a batch of 2"):
        run_in_batches(session, feeds)


def test_empty_sample(open_session: OpenSession) -> None:
    with pytest.raises(UsageError, match="0 rows"):
        run_in_batches(open_session(n="2"), {"x": np.ones((0, 3, 5), np.float32)})


def test_wrong_rank_is_left_to_the_session(open_session: OpenSession) -> None:
    with pytest.raises(UsageError, match=r"shape is \[4, 3\]"):
        run_in_batches(open_session(n="2"), {"x": np.ones((4, 3), np.float32)})
