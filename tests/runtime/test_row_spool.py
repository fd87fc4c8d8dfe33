"""Rows come back as they were given, from memory as from a file."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import OutputError, UsageError
from graphopt.core.mapped import is_mapped
from graphopt.runtime.row_spool import RowSpool


def _batches() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    return [
        {
            "logits": rng.standard_normal((count, 3, 5)).astype(np.float32),
            "scope/labels:0": rng.integers(0, 9, (count, 7)),
            "one": rng.integers(0, 2, count).astype(np.bool_),
        }
        for count in (2, 3, 1)
    ]


@pytest.mark.parametrize("in_memory", [0, 100, 10**6])
def test_rows_come_back(tmp_path: Path, in_memory: int) -> None:
    batches = _batches()
    with RowSpool(tmp_path, in_memory=in_memory) as spool:
        for batch in batches[:2]:
            spool.append(batch)
        assert len(spool.outputs()["one"]) == len(spool) == 5
        spool.append(batches[2])  # looking at the rows does not end the collection
        got = spool.outputs()
    assert list(got) == list(batches[0])
    for name, values in got.items():
        assert np.array_equal(values, np.concatenate([batch[name] for batch in batches]))
        assert values.dtype == batches[0][name].dtype
        assert is_mapped(values) == (in_memory < 10**6)
    assert not list(tmp_path.iterdir())


def test_few_rows_are_ordinary_arrays(tmp_path: Path) -> None:
    with RowSpool(tmp_path) as spool:
        assert spool.outputs() == {}
        spool.append({"x": np.zeros((2, 3))})
        got: Any = spool.outputs()["x"]
    got[0] = 1
    assert got.flags.c_contiguous


def test_outputs_without_elements_keep_their_shape(tmp_path: Path) -> None:
    with RowSpool(tmp_path) as spool:
        spool.append({"dets": np.zeros((4, 0, 5))})
        assert spool.outputs()["dets"].shape == (4, 0, 5)


def test_another_shape_is_refused(tmp_path: Path) -> None:
    with RowSpool(tmp_path) as spool:
        spool.append({"dets": np.zeros((1, 3, 5))})
        with pytest.raises(UsageError, match=r"output dets changes its shape.*\[3, 5\], \[4, 5\]"):
            spool.append({"dets": np.zeros((1, 4, 5))})


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "no space")

        def close(self) -> None:
            pass

    with RowSpool(tmp_path) as spool:
        spool._stream.close()
        monkeypatch.setattr(spool, "_stream", Full())
        with pytest.raises(OutputError, match="disk is full"):
            spool.append({"x": np.zeros((1, 3))})
