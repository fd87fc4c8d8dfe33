import itertools

import numpy as np
import pytest

from graphopt.surgery.shapes.broadcasting import broadcast_shape, same_shape


@pytest.mark.parametrize(
    ("shapes", "result"),
    [
        ([(2, 3)], (2, 3)),
        ([(2, 1), (3,)], (2, 3)),
        ([("n", 1), ("n", 4)], ("n", 4)),
        ([("n", 3), (5, 3)], (5, 3)),
        ([("n",), ("m",)], (None,)),
        ([("n", 2), (1, 2)], ("n", 2)),
        ([(None, 2), (4, 2)], (4, 2)),
        ([(None, 2), (1, 2)], (None, 2)),
        ([(2,), (3,)], (None,)),
        ([(2,), None], None),
        ([], None),
    ],
)
def test_sizes_may_be_names_or_unknown(
    shapes: list[tuple[int | str | None, ...] | None], result: object
) -> None:
    assert broadcast_shape(shapes) == result


def test_numbers_broadcast_as_numpy_does_it() -> None:
    for left, right in itertools.product(itertools.product((1, 3), repeat=2), repeat=2):
        assert broadcast_shape([left, right]) == np.broadcast_shapes(left, right)


def test_shapes_with_unknown_sizes_are_never_the_same() -> None:
    assert same_shape(("n", 2), ("n", 2))
    assert not same_shape((None, 2), (None, 2))
    assert not same_shape(None, None)
    assert not same_shape(("n", 2), ("m", 2))
