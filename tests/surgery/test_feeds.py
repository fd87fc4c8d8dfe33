"""Inputs that fit a model and its rewrite at once."""

from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.samples import structured_feeds
from graphopt.core.tensors import Dim, TensorSpec
from graphopt.surgery.engine.feeds import SharedInputs, shared_inputs, split_feed


def _spec(*shape: Dim, name: str = "x", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype)


@pytest.mark.parametrize(
    ("source", "result", "shape"),
    [
        ((1, 3), (1, 3), (1, 3)),
        ((1, 3), (4, 3), (4, 3)),
        ((4, 3), (6, 3), (12, 3)),
        (("n", 3), (4, 3), (4, 3)),
        ((1, 3), ("n", 3), (2, 3)),
        ((4, 3), (None, 3), (4, 3)),
        (("n", "w"), ("n", 5), (2, 5)),
        (("n", 7), ("n", "w"), (2, 7)),
        (("n", 3, "h", "w"), ("n", 3, "h", 9), (2, 3, 32, 9)),
        (("n", "n"), ("n", "n"), (2, 2)),
        (("n", "w"), ("n", "w"), (2, 2)),
        ((), (), ()),
    ],
)
def test_sizes_fit_both_models(
    source: tuple[Dim, ...], result: tuple[Dim, ...], shape: tuple[int, ...]
) -> None:
    (spec,) = shared_inputs([_spec(*source)], [_spec(*result)]).specs
    assert spec.shape == shape


@pytest.mark.parametrize(
    ("source", "result", "message"),
    [
        (_spec(1, 3), _spec(1, 4), "no input fits both"),
        (_spec(1, 3), _spec(1, 3, 1), "has rank 3, in the source 2"),
        (_spec(1, 3), _spec(1, 3, name="w"), "input w is not an input of the source"),
    ],
)
def test_what_fits_nothing_is_said(source: TensorSpec, result: TensorSpec, message: str) -> None:
    with pytest.raises(PreconditionError, match=message):
        shared_inputs([source], [result])


def test_an_input_that_the_result_lost_is_still_made_for_the_source() -> None:
    inputs = shared_inputs([_spec(1, 3), _spec(2, name="gone")], [_spec(1, 3)])
    feed = structured_feeds(inputs.specs, seed=0)
    (piece,) = split_feed([_spec(1, 3), _spec(2, name="gone")], feed)
    assert sorted(piece) == ["gone", "x"]


def test_a_feed_is_cut_into_the_models_own_batches() -> None:
    feed: dict[str, Any] = {
        "x": np.arange(12, dtype=np.float32).reshape(4, 3),
        "s": np.float32(1).reshape(()),
    }
    pieces = split_feed([_spec(2, 3), _spec(name="s")], feed)
    assert [piece["x"].tolist() for piece in pieces] == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert split_feed([_spec("n", 3), _spec(name="s")], feed) == (feed,)


def test_inputs_that_keep_their_size_are_given_to_every_piece() -> None:
    feed: dict[str, Any] = {"x": np.zeros((4, 3), np.float32), "anchors": np.ones((4, 2), np.float32)}
    pieces = split_feed([_spec(2, 3), _spec(4, 2, name="anchors")], feed)
    assert [piece["anchors"].shape for piece in pieces] == [(4, 2), (4, 2)]


def test_dtypes_follow_the_model() -> None:
    feed = {"x": np.arange(3, dtype=np.int64)}
    (piece,) = split_feed([_spec(3, dtype="int32")], feed)
    assert piece["x"].dtype == np.int32
    (same,) = split_feed([_spec(3, dtype="tensor(string)")], feed)
    assert same["x"].dtype == np.int64


@pytest.mark.parametrize(
    ("given", "batch", "rows"), [(6, 4, [[0, 1, 2, 3], [4, 5, 0, 1]]), (1, 3, [[0, 0, 0]])]
)
def test_single_samples_are_grouped_and_filled_up(given: int, batch: int, rows: list[list[int]]) -> None:
    inputs = SharedInputs((_spec(batch, 1), _spec(name="s")))
    feeds = [{"x": np.full((1, 1), i, np.float32), "s": np.zeros((), np.float32)} for i in range(given)]
    groups = inputs.regroup(feeds)
    assert [group["x"].ravel().tolist() for group in groups] == rows
    assert groups[0]["s"].shape == ()


def test_samples_that_fit_are_left_as_they_are() -> None:
    inputs = SharedInputs((_spec(2, 1),))
    feeds = ({"x": np.zeros((4, 1), np.float32)},)
    assert inputs.regroup(feeds) == feeds


def test_samples_of_another_rank_are_refused() -> None:
    with pytest.raises(UsageError, match="the samples lack input x"):
        SharedInputs((_spec(2, 1),)).regroup([{}])
    with pytest.raises(UsageError, match=r"of shape \[2\]"):
        SharedInputs((_spec(2, 1),)).regroup([{"x": np.zeros(2, np.float32)}])
