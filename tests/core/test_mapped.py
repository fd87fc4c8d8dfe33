"""Mapped arrays: the right bytes, walked in blocks, and given back."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.mapped import blocks, is_mapped, map_array, release
from graphopt.core.tensors import Array


def _mapped(path: Path, array: Array, *, before: int = 0) -> Array:
    path.write_bytes(b"x" * before + array.tobytes())
    with path.open("rb") as stream:
        return map_array(stream.fileno(), dtype=array.dtype, shape=array.shape, offset=before)


@pytest.mark.parametrize("before", [0, 1, 63, mmap.ALLOCATIONGRANULARITY, mmap.ALLOCATIONGRANULARITY + 7])
def test_an_array_anywhere_in_a_file_is_mapped_read_only(tmp_path: Path, before: int) -> None:
    array = np.arange(3 * 5 * 7, dtype=np.int32).reshape(3, 5, 7)
    got = _mapped(tmp_path / "f", array, before=before)
    (tmp_path / "f").unlink()
    assert is_mapped(got)
    assert is_mapped(got[1:])
    assert not is_mapped(got + 1)
    assert not got.flags.writeable
    assert np.array_equal(got, array)
    release(got)
    assert np.array_equal(got, array)


def test_an_array_that_reaches_beyond_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(12))
    with (tmp_path / "f").open("rb") as stream, pytest.raises(ValueError, match="length"):
        map_array(stream.fileno(), dtype=np.float32, shape=(4,), offset=0)


def test_an_empty_array_needs_no_file_content(tmp_path: Path) -> None:
    assert _mapped(tmp_path / "f", np.empty((0, 5), np.float32)).shape == (0, 5)


@pytest.mark.parametrize(("block_bytes", "sizes"), [(1, [1] * 5), (24, [2, 2, 1]), (10**6, [5])])
def test_arrays_are_walked_together(tmp_path: Path, block_bytes: int, sizes: list[int]) -> None:
    large = np.arange(15, dtype=np.int32).reshape(5, 3)
    small = np.arange(5, dtype=np.int8)
    mapped = _mapped(tmp_path / "f", large)
    seen = list(blocks([mapped, small], block_bytes=block_bytes))
    assert [len(rows[0]) for _, rows in seen] == sizes
    assert np.array_equal(np.concatenate([rows[0] for _, rows in seen]), large)
    assert all(np.array_equal(rows[1], small[part]) for part, rows in seen)
    assert not any(is_mapped(rows[0]) for _, rows in seen)
