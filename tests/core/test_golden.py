"""Golden samples survive writing and reading; damaged files are refused."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import InvalidModelError, OutputError
from graphopt.core.golden import GOLDEN_FILE, Sample, read_golden, write_golden
from graphopt.core.tensors import Array


def sample(number: int) -> Sample:
    rng = np.random.default_rng(number)
    feeds: dict[str, Array] = {
        "a/b:0": rng.standard_normal((1, 3), np.float32),
        "ids": np.array([[number]], np.int64),
    }
    return feeds, {"out/1": rng.standard_normal((1, 2), np.float32), "flag": np.array(number % 2 == 0)}


def test_samples_come_back_in_order_with_their_names(tmp_path: Path) -> None:
    written = [sample(number) for number in range(12)]
    write_golden(tmp_path / GOLDEN_FILE, written, force=False)
    for place in (tmp_path, tmp_path / GOLDEN_FILE):
        read = read_golden(place)
        assert len(read) == 12
        for sides, originals in zip(read, written, strict=True):
            for tensors, expected in zip(sides, originals, strict=True):
                assert list(tensors) == list(expected)
                for name, array in tensors.items():
                    assert array.dtype == expected[name].dtype
                    np.testing.assert_array_equal(array, expected[name])


def test_writing_is_reproducible_and_overwrites_only_when_told(tmp_path: Path) -> None:
    write_golden(tmp_path / "a.npz", [sample(1)], force=False)
    write_golden(tmp_path / "b.npz", [sample(1)], force=False)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with pytest.raises(OutputError, match="exists"):
        write_golden(tmp_path / "a.npz", [sample(2)], force=False)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / GOLDEN_FILE).write_bytes(content)
    with pytest.raises(InvalidModelError, match="export the bundle again"):
        read_golden(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match=r"golden\.npz.*No such file"):
        read_golden(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({}, "lacks samples"),
        ({"input/x/1": 1, "output/y/1": 1}, "lacks samples"),
        ({"input/x/0": 1}, "different tensors"),
        ({"input/x/0": 1, "output/y/0": 1, "input/x/1": 1}, "different tensors"),
        ({"other": 1}, "no golden tensor"),
    ],
)
def test_incomplete_files_are_refused(tmp_path: Path, arrays: dict[str, int], reason: str) -> None:
    np.savez(
        tmp_path / GOLDEN_FILE, allow_pickle=True, **{key: np.array(value) for key, value in arrays.items()}
    )
    with pytest.raises(InvalidModelError, match=reason):
        read_golden(tmp_path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    objects = {"input/x/0": np.array([{}], object), "output/y/0": np.array(1)}
    np.savez(tmp_path / GOLDEN_FILE, allow_pickle=True, **objects)
    with pytest.raises(InvalidModelError, match="damaged"):
        read_golden(tmp_path)


def test_truncations_are_refused(tmp_path: Path) -> None:
    write_golden(tmp_path / "whole.npz", [sample(1), sample(2)], force=False)
    whole = (tmp_path / "whole.npz").read_bytes()
    assert zipfile.is_zipfile(tmp_path / "whole.npz")
    for length in range(0, len(whole), 97):
        (tmp_path / GOLDEN_FILE).write_bytes(whole[:length])
        with pytest.raises(InvalidModelError):
            read_golden(tmp_path)
