"""What is fed to a model when the user gives nothing, and what the table says about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import PreconditionError
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.surgery import RewriteError, Samples, Status, Verification, rewrite_file
from graphopt.surgery.engine.feeds import shared_inputs
from graphopt.surgery.engine.made_inputs import MadeInputs, make_inputs

Write = Callable[[str, str], Path]
HEAD = '<ir_version: 8, opset_import: ["" : 13]> g '


@pytest.fixture
def made(write_text: Write) -> Callable[[str], MadeInputs]:
    """A function that makes up inputs of a model given as text."""

    def make(text: str) -> MadeInputs:
        model = load_model(write_text(HEAD + text, "m.onnx"))
        specs = input_specs(model)
        return make_inputs(model, shared_inputs(specs, specs))

    return make


@pytest.fixture
def verified(write_text: Write, tmp_path: Path, planted: Any) -> Callable[..., Verification]:
    """A function that removes the Identity of a model given as text and returns what was found."""

    def verify(text: str, samples: Samples | None = None) -> Verification:
        source = write_text(HEAD + text, "m.onnx")
        try:
            return rewrite_file(
                source, tmp_path / "o.onnx", [planted.DropIdentity()], force=True, samples=samples
            ).verification
        except RewriteError as error:
            return error.report.verification

    return verify


def test_ids_stay_inside_the_table_that_they_look_up(made: Any) -> None:
    text = "(int64[2,9] ids) => (float[2,9,2] y) <float[3,2] table = {1,2,3,4,5,6}> "
    found = made(text + "{ a = Identity (ids)  y = Gather (table, a) }")
    assert {int(value) for feed in found.feeds for value in feed["ids"].ravel()} == {0, 1, 2}
    assert found.kind == "seeded structured; ids: 0 to 2"


def test_of_two_tables_the_smaller_bounds(made: Any) -> None:
    text = (
        "(int32[40] ids) => (float[40,1] y, float[40,1] z) <float[5,1] t = {1,2,3,4,5}, float[2,1] u = {1,2}>"
    )
    found = made(text + "{ y = Gather (t, ids)  i = Cast <to = 7> (ids)  z = Gather (u, i) }")
    assert max(int(feed["ids"].max()) for feed in found.feeds) == 1
    assert found.feeds[0]["ids"].dtype == np.int32


def test_a_mask_is_zeros_and_ones_and_never_all_zero(made: Any) -> None:
    found = made("(int64[30,4] attention_mask) => (float[30,4] y) { y = Cast <to = 1> (attention_mask) }")
    for feed in found.feeds:
        assert set(np.unique(feed["attention_mask"])) == {0, 1}
        assert feed["attention_mask"].any(axis=-1).all()
    assert found.kind.endswith("attention_mask: 0 and 1")


def test_other_integers_are_small_and_fit_their_type(made: Any) -> None:
    found = made("(uint8[99] n, bool[99] b) => (uint8[99] y) { z = Cast <to = 2> (b) y = Max (n, z) }")
    assert (int(found.feeds[0]["n"].min()), int(found.feeds[0]["n"].max())) == (0, 7)
    assert set(np.unique(found.feeds[0]["b"])) == {False, True}


@pytest.mark.parametrize(
    "text",
    [
        "(float[6] x, int64[2] s) => (float[a,b] y) { y = Reshape (x, s) }",
        "(float[6] x, int64[1] k) => (float[a] y, int64[a] i) { y, i = TopK (x, k) }",
        "(float[6] x, int64[1] k) => (float[a] y) { m = Identity (k) y = Tile (x, m) }",
    ],
)
def test_sizes_and_counts_are_not_made_up(made: Any, text: str) -> None:
    with pytest.raises(PreconditionError, match=r"says a size or a place .* give --data"):
        made(text)


def test_strings_are_not_made_up(made: Any, verified: Any) -> None:
    text = "(string[2] s) => (string[2] y) { y = Identity (s) }"
    with pytest.raises(PreconditionError, match=r"dtype str.*give --data"):
        made(text)


def test_unknown_sizes_are_said_and_the_second_input_is_a_single_sample(made: Any) -> None:
    found = made("(float[batch,3,h,w] x, float[batch,5] z) => (float[batch,3,h,w] y) { y = Abs (x) }")
    assert [feed["x"].shape for feed in found.feeds] == [(2, 3, 32, 32), (1, 3, 32, 32)]
    assert [feed["z"].shape for feed in found.feeds] == [(2, 5), (1, 5)]
    assert found.kind == "seeded structured; batch = 2, h = 32, w = 32"


def test_one_name_is_one_size(made: Any) -> None:
    found = made("(float[n,n] x, float[m,n] z) => (float[m,n] y) { y = MatMul (z, x) }")
    assert [feed["x"].shape for feed in found.feeds] == [(2, 2), (2, 2)]


def test_pictures_too_small_for_the_model_are_made_larger(verified: Any) -> None:
    found = verified(
        "(float[1,1,h,w] x) => (float[1,1,p,q] y) {"
        " a = Identity (x) y = AveragePool <kernel_shape = [50, 50]> (a) }"
    )
    assert (found.status, found.kind) == (Status.PROVEN, "seeded structured; h = 128, w = 128")


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8"])
def test_a_single_number_differs_from_one_input_to_the_next(made: Any, dtype: str) -> None:
    first, second = made(f"({dtype} x) => ({dtype} y) {{ y = Identity (x) }}").feeds
    assert first["x"] != second["x"]
    assert all(isinstance(feed["x"], np.ndarray) for feed in (first, second))
    assert first["x"].dtype == second["x"].dtype == np.dtype(dtype)


def test_sizes_that_do_not_fit_are_told_with_what_was_tried(verified: Any) -> None:
    found = verified(
        "(float[n,3] x) => (float[n,3] y) <float[7,1] w = {1,2,3,4,5,6,7}> {"
        " a = Identity (x) y = Add (a, w) }"
    )
    assert found.status is Status.UNPROVEN
    assert "the source does not run" in found.reason
    assert "made up: n = 2; give inputs of the right size with --data" in found.reason


def test_a_size_that_is_baked_into_the_source_is_told_with_its_node(verified: Any) -> None:
    found = verified(
        "(float[4,3] x) => (float[7,3] y) <int64[2] size = {7,3}> {"
        " a = Relu (x) n = NonZero (a) t = Transpose (n) f = Cast <to = 1> (t)"
        " [baked] r = Reshape (f, size) i = Identity (r) y = Exp (i) }"
    )
    assert found.status is Status.UNPROVEN
    assert "the source itself, before any pass, does not run on these inputs" in found.reason
    assert "Reshape baked fails" in found.reason
    assert "--data" in found.reason


@pytest.mark.parametrize(
    "text",
    [
        "(float x) => (float y) { a = Identity (x) y = Exp (a) }",
        "(int64 x) => (int64 y) { a = Identity (x) y = Neg (a) }",
        "(bool[9] x) => (bool[9] y) { a = Identity (x) y = Not (a) }",
        "(float16[5] x) => (float16[5] y) { a = Identity (x) y = Neg (a) }",
        "(double[2,5] x) => (double[2,5] y) { a = Identity (x) y = Neg (a) }",
        "(float[0,3] x, float[2,3] z) => (float[2,3] y) { a = Identity (x) y = Concat <axis = 0> (a, z) }",
    ],
)
def test_scalars_nothing_and_other_types_are_proven(verified: Any, text: str) -> None:
    assert verified(text).status is Status.PROVEN


def test_an_output_without_elements_proves_nothing(verified: Any) -> None:
    found = verified("(float[0,3] x) => (float[0,3] y) { a = Identity (x) y = Abs (a) }")
    assert found.status is Status.UNPROVEN
    assert "output y of the source proves nothing: it has no elements" in found.reason


def test_an_output_that_is_empty_for_one_input_is_proven_by_the_other(verified: Any) -> None:
    text = "(float[4] x) => (int64[1,n] y) { a = Identity (x) b = Relu (a) y = NonZero (b) }"
    feeds = tuple({"x": np.array(v, np.float32)} for v in ([-1, -1, -2, -3], [1, -1, 2, 3]))
    found = verified(text, Samples(feeds=feeds, kind="two"))
    assert (found.status, found.reason) == (Status.PROVEN, "y has no elements in some samples")
    found = verified(text, Samples(feeds=feeds[:1], kind="one"))
    assert found.status is Status.UNPROVEN


def test_nan_on_both_sides_is_no_difference_and_is_counted(verified: Any) -> None:
    found = verified("(float[999] x) => (float[999] y) { a = Identity (x) b = Add (a, a) y = Sqrt (b) }")
    assert found.status is Status.UNPROVEN or "NaN on both sides" in found.reason
    feed = {"x": np.array([1, 2, -1, 4, *[3] * 995], np.float32)}
    samples = Samples(feeds=(feed, {"x": feed["x"] * 2}), kind="two")
    found = verified("(float[999] x) => (float[999] y) { a = Identity (x) y = Sqrt (a) }", samples)
    assert found.status is Status.PROVEN
    assert found.reason == "2 of 1998 elements of y are NaN on both sides"


def test_detections_of_another_number_in_each_input_are_compared(verified: Any) -> None:
    found = verified(
        "(float[1,30,4] boxes, float[1,2,30] scores) => (int64[n,3] y) <int64 k = {9}, float t = {0.6}> {"
        " a = Identity (boxes) y = NonMaxSuppression (a, scores, k, t, t) }"
    )
    assert found.status is Status.PROVEN


def test_smaller_integers_are_tried_where_the_model_cannot_run_with_the_first_ones(verified: Any) -> None:
    text = (
        "(int64[5,1] place, float[5,3] x) => (float[5,3] y)"
        " <int64[1] zero = {0}, int64[1] one = {1}>"
        " { a = Identity (x)  part = Slice (x, zero, one, one)  twice = Add (place, place)"
        "   y = ScatterElements <axis = 1> (a, twice, part) }"
    )
    found = verified(text)
    assert found.status is Status.PROVEN
    assert "place: 0 and 1" in found.kind


def test_a_sound_of_open_length_is_long_enough_for_the_windows_that_it_is_cut_into(verified: Any) -> None:
    text = (
        "(float[batch,1,length] x) => (float[batch,1,m] y) { a = Identity (x)"
        " y = AveragePool <kernel_shape = [100], strides = [40]> (a) }"
    )
    found = verified(text)
    assert found.status is Status.PROVEN
    assert "length = 512" in found.kind
