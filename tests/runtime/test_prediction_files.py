"""``.npz`` files as numpy's own, but mapped when large."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.mapped import is_mapped
from graphopt.runtime.prediction_files import read_npz, write_npz


def _arrays() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {
        "output_0": rng.standard_normal((9, 3, 5)).astype(np.float32),
        "output_1": rng.integers(0, 9, (9, 2)),
        "empty": np.zeros((0, 4), np.float16),
    }


def _write(path: Path) -> Path:
    with path.open("wb") as stream:
        write_npz(stream, _arrays())
    return path


@pytest.mark.parametrize("in_memory", [0, 300, 10**6])
def test_what_is_written_is_read(tmp_path: Path, in_memory: int) -> None:
    got = read_npz(_write(tmp_path / "a.npz"), in_memory=in_memory)
    assert list(got) == list(_arrays())
    for name, array in _arrays().items():
        assert got[name].dtype == array.dtype
        assert np.array_equal(got[name], array)
    assert is_mapped(got["output_0"]) == (in_memory <= 300)


def test_numpy_reads_what_is_written(tmp_path: Path) -> None:
    with np.load(_write(tmp_path / "a.npz")) as content:
        assert all(np.array_equal(content[name], array) for name, array in _arrays().items())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_is_read(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "a.npz", **_arrays())
    got = read_npz(tmp_path / "a.npz", in_memory=0)
    assert all(np.array_equal(got[name], array) for name, array in _arrays().items())


@pytest.mark.parametrize("in_memory", [0, 10**6])
def test_objects_and_short_entries_are_refused(tmp_path: Path, in_memory: int) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    with pytest.raises(ValueError, match=r"plain array|allow_pickle"):
        read_npz(tmp_path / "objects.npz", in_memory=in_memory)
    with zipfile.ZipFile(_write(tmp_path / "a.npz")) as archive:
        whole = archive.read("output_0.npy")
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        archive.writestr("output_0.npy", whole[:-4])
    with pytest.raises((ValueError, EOFError)):
        read_npz(tmp_path / "short.npz", in_memory=in_memory)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(zipfile.BadZipFile):
        read_npz(path, in_memory=0)
