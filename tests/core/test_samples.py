"""Inputs made up for a comparison are seeded, of the right form, and structured."""

import numpy as np
import pytest

from graphopt.core.errors import UsageError
from graphopt.core.samples import DYNAMIC_SIZE, structured_feeds
from graphopt.core.tensors import Dim, TensorSpec


def _spec(shape: tuple[Dim, ...], dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name="x", shape=shape, dtype=dtype)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (3, 8, 9), (1, 3, 33, 65), (0, 3, 8, 8), (1, 3, 0, 8)])
@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "float64", "bool", *(f"{k}{b}" for k in ("int", "uint") for b in (8, 16, 32, 64))],
)
def test_every_dtype_and_rank(shape: tuple[int, ...], dtype: str) -> None:
    spec = _spec(shape, dtype)
    (array,) = structured_feeds((spec,), seed=0).values()
    assert isinstance(array, np.ndarray)
    assert spec.mismatch(array) is None
    assert np.isfinite(array.astype(np.float64)).all()


def test_unknown_sizes_are_more_than_one() -> None:
    (array,) = structured_feeds((_spec(("batch", None, 4)),), seed=0).values()
    assert array.shape == (DYNAMIC_SIZE, DYNAMIC_SIZE, 4)
    assert DYNAMIC_SIZE > 1


def test_seeds_and_inputs_differ_and_repeat() -> None:
    specs = tuple(TensorSpec(name=name, shape=(3, 16, 16), dtype="float32") for name in ("a", "b"))
    first, again, other = (structured_feeds(specs, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first["a"], again["a"])
    assert not np.array_equal(first["a"], other["a"])
    assert not np.array_equal(first["a"], first["b"])


def test_pictures_are_normalised_and_smooth_at_several_scales() -> None:
    (array,) = structured_feeds((_spec((1, 3, 224, 224)),), seed=3).values()
    picture = np.asarray(array, np.float64)
    assert picture.mean() == pytest.approx(0, abs=1e-3)
    assert picture.std() == pytest.approx(1, abs=1e-3)
    neighbours = np.corrcoef(picture[..., :-1].ravel(), picture[..., 1:].ravel())[0, 1]
    assert neighbours > 0.7  # plain noise: 0


def test_integers_are_small_and_not_negative() -> None:
    (array,) = structured_feeds((_spec((1000,), "int64"),), seed=0).values()
    assert set(np.unique(array)) == set(range(8))


@pytest.mark.parametrize("dtype", ["str", "bfloat16", "int4", "sequence", ""])
def test_what_cannot_be_made_up_is_asked_for(dtype: str) -> None:
    with pytest.raises(UsageError, match=r"no sample can be made for input x of dtype .*; give --data"):
        structured_feeds((_spec((2,), dtype),), seed=0)
