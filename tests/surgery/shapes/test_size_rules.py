"""Sizes element by element, where some are named or unknown."""

import pytest

from graphopt.surgery.shapes.size_rules import (
    Size,
    Sizes,
    add,
    divide,
    elementwise,
    equal,
    multiply,
    reshaped,
    sizes_for_expand,
    sizes_for_reshape,
    subtract,
    where,
)


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        (3, 3, 1), (3, 4, 0), ("b", "b", 1), ("b", "c", None),
        ("b", -1, 0), (-1, "b", 0), ("b", 0, None), ("b", 4, None), (None, None, None), (None, -1, None),
    ],
)  # fmt: skip
def test_a_named_size_is_never_negative_but_may_be_any_other_number(
    left: Size, right: Size, wanted: Size
) -> None:
    assert equal(left, right) == wanted


def test_what_is_taken_is_known_when_the_condition_is_or_both_are_the_same() -> None:
    assert where(1, "b", 4) == "b"
    assert where(0, "b", 4) == 4
    assert where(None, "b", "b") == "b"
    assert where(None, "b", 4) is None


def test_arithmetic_is_done_with_numbers_and_left_out_where_it_changes_nothing() -> None:
    assert (add(2, 3), add("b", 0), add(0, "b"), add("b", 1), add(None, 0)) == (5, "b", "b", None, None)
    assert (subtract(5, 7), subtract("b", 0), subtract(0, "b")) == (-2, "b", None)
    assert (multiply(2, 3), multiply("b", 1), multiply(1, "b"), multiply("b", 0)) == (6, "b", "b", 0)
    assert multiply("b", 2) is None
    assert (divide(7, 2), divide("b", 1), divide(1, "b")) == (3, "b", None)


@pytest.mark.parametrize(("left", "right"), [(-7, 2), (7, -2), (7, 0)])
def test_quotients_that_depend_on_the_way_of_rounding_stay_open(left: int, right: int) -> None:
    assert divide(left, right) is None


def test_one_element_is_repeated_and_other_lengths_do_not_fit() -> None:
    assert elementwise(multiply, (2,), ("b", 3)) == (None, 6)
    assert elementwise(add, (1, 2), (1, 2, 3)) is None


@pytest.mark.parametrize(
    ("shape", "sizes", "wanted"),
    [
        (("b", 8, 6), ("b", -1), ("b", 48)),
        (("b", 8, 6), (-1, 48), ("b", 48)),
        (("b", "t", 6), (0, 0, 2, 3), ("b", "t", 2, 3)),
        (("b", "t", 6), (-1, 6), (None, 6)),
        ((4, 6), (None, -1), (None, None)),
        (("b", 6), (-1, 4), (None, 4)),
        (("b", 6), (-1, 0, 6), (None, 6, 6)),
        ((None, 6), (-1, 6), (None, 6)),
        (("b", 6), ("b", "b", -1), ("b", "b", None)),
    ],
)
def test_the_rest_of_a_reshape_is_told_only_when_everything_else_is(
    shape: Sizes, sizes: Sizes, wanted: Sizes
) -> None:
    assert reshaped(shape, sizes) == wanted


@pytest.mark.parametrize(
    ("shape", "sizes", "wanted"),
    [
        (("b", 8, 6), ("b", 48), (0, 48)),
        (("b", 8, 6), ("b", -1), (0, -1)),
        (("b", 8, 6), (None, 48), (-1, 48)),
        ((8, "b"), ("b", 8), (-1, 8)),
        (("b", "t", 6), ("b", "t", 2, 3), (0, 0, 2, 3)),
        (None, (None, 6), (-1, 6)),
        (("b", 8), (None, None), None),
        (("b", 8), ("b", None, 2), None),  # with an empty batch, nothing tells the second one
        ((8, "b"), ("b", -1), None),
    ],
)
def test_reshapes_get_constants_only_when_they_say_the_same_for_any_input(
    shape: Sizes | None, sizes: Sizes, wanted: Sizes | None
) -> None:
    assert sizes_for_reshape(shape, sizes) == wanted


@pytest.mark.parametrize(
    ("shape", "sizes", "wanted"),
    [
        (("b", 1, 6), ("b", 4, 6), (1, 4, 6)),
        (("b", 6), (3, "b", 6), (3, 1, 6)),
        (("x", "b", 6), ("b", 6), (1, 6)),
        ((1, 6), ("b", 6), None),
        (("b", 6), (None, 6), None),
        (None, ("b", 6), None),
    ],
)
def test_expansions_get_constants_only_for_axes_that_keep_their_size(
    shape: Sizes | None, sizes: Sizes, wanted: Sizes | None
) -> None:
    assert sizes_for_expand(shape, sizes) == wanted
