"""Where inputs come from: the user's file or data set, golden ones, or a seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.golden import write_golden
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.samples import feeds_for

IMAGE = TensorSpec(name="image", shape=(1, 3, 5, 7), dtype="float32")
PAIRS = TensorSpec(name="image", shape=(2, 3, 5, 7), dtype="float32")
OPEN = TensorSpec(name="image", shape=("batch", 3, 5, 7), dtype="float32")
WORDS = TensorSpec(name="words", shape=(1, 4), dtype="int64")


def numbers(*shape: int, dtype: str = "float32") -> Any:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_archive_is_cut_into_samples_of_the_models_batch(tmp_path: Path) -> None:
    stacked = numbers(5, 3, 5, 7)
    path = save(tmp_path / "x.npz", image=stacked)
    one = feeds_for((IMAGE,), data=path)
    assert [sample["image"].shape[0] for sample in one.samples] == [1] * 5
    np.testing.assert_array_equal(one.samples[3]["image"], stacked[3:4])
    assert one.kind == "5 samples of x.npz"
    two = feeds_for((PAIRS,), data=path)
    np.testing.assert_array_equal(two.samples[1]["image"], stacked[2:4])
    assert len(two.samples) == 2
    assert len(feeds_for((OPEN,), data=path, count=3).samples) == 3


def test_a_nameless_array_is_the_only_inputs(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, numbers(2, 3, 5, 7))
    feeds = feeds_for((IMAGE,), data=path)
    assert feeds.kind == "2 samples of x.npy"
    np.testing.assert_array_equal(feeds.samples[1]["image"], numbers(2, 3, 5, 7)[1:])
    with pytest.raises(UsageError, match=r"one array for 2 inputs; give an \.npz with image, words"):
        feeds_for((IMAGE, WORDS), data=path)


def test_inputs_of_different_lengths_are_one_sample(tmp_path: Path) -> None:
    table = TensorSpec(name="table", shape=(9, 2), dtype="float32")
    path = save(tmp_path / "x.npz", image=numbers(1, 3, 5, 7), table=numbers(9, 2))
    feeds = feeds_for((IMAGE, table), data=path)
    assert feeds.kind == "1 sample of x.npz"
    assert feeds.samples[0]["table"].shape == (9, 2)


def test_integers_come_from_the_user_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"words are not floats.*--data FILE\.npz"):
        feeds_for((IMAGE, WORDS))
    path = save(tmp_path / "x.npz", image=numbers(1, 3, 5, 7), words=numbers(1, 4, dtype="int64"))
    assert feeds_for((IMAGE, WORDS), data=path).samples[0]["words"].dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"picture": numbers(1, 3, 5, 7)}, "no array for input image; it has: picture"),
        ({"image": numbers(2, 3, 5, 7, dtype="float64")}, "input image: dtype is float64"),
        ({"image": numbers(1, 3, 5, 7)}, "fewer samples than the model's batch of 2"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        feeds_for((PAIRS,), data=save(tmp_path / "x.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"not an \.npz file"):
        feeds_for((IMAGE,), data=path)


def test_pickles_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", image=np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match="plain arrays"):
        feeds_for((IMAGE,), data=path)
    with pytest.raises(DatasetError, match="holds no named arrays"):
        feeds_for((IMAGE,), data=save(tmp_path / "none.npz"))
    with pytest.raises(DatasetError, match="does not exist"):
        feeds_for((IMAGE,), data=tmp_path / "lost.npz")


def test_golden_inputs_serve_unless_they_are_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    write_golden(path, [({"image": numbers(1, 3, 5, 7)}, {"y": numbers(1, 2)})] * 3, force=False)
    feeds = feeds_for((IMAGE,), golden=path, count=2)
    assert (len(feeds.samples), feeds.kind) == (2, "2 golden inputs of the export")
    other = TensorSpec(name="x", shape=(1, 2), dtype="float32")
    assert feeds_for((other,), golden=path).kind == "2 seeded structured inputs"


def test_seeded_inputs_are_the_same_each_time() -> None:
    first, second = feeds_for((OPEN,)), feeds_for((OPEN,))
    np.testing.assert_array_equal(first.samples[1]["image"], second.samples[1]["image"])
    assert not np.array_equal(first.samples[0]["image"], first.samples[1]["image"])
    assert len(feeds_for((OPEN,), count=1).samples) == 1


def test_a_data_set_needs_its_recipe(small: Any, tmp_path: Path) -> None:
    data = small.write_data(tmp_path / "data")
    with pytest.raises(UsageError, match="say whose with --recipe"):
        feeds_for((IMAGE,), data=data)
    feeds = feeds_for(small.RECIPE.inputs, data=data, recipe=small.RECIPE, count=3)
    assert feeds.kind == "3 images of data"
    assert feeds.samples[0]["image"].shape == (1, 3, 32, 16)
