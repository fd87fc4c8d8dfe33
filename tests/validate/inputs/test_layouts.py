from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import DatasetError
from graphopt.validate.inputs.layouts import LAYOUTS, arranged, read_input

PIXELS = np.arange(4 * 5 * 3).reshape(4, 5, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_turned_back(layout: str) -> None:
    axes = ["HWC".index(axis) for axis in LAYOUTS[layout]]
    assert np.array_equal(arranged(PIXELS.transpose(axes).ravel(), layout, (4, 5)), PIXELS)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "float64"])
def test_the_number_format_is_told_by_the_size(dtype: str, tmp_path: Path) -> None:
    PIXELS.astype(dtype).tofile(tmp_path / "a.bin")
    values = read_input(tmp_path / "a.bin", (4, 5))
    assert values is not None
    assert values.dtype == dtype
    assert np.array_equal(values, PIXELS.ravel())


def test_another_size_is_no_input(tmp_path: Path) -> None:
    PIXELS[:3].astype(np.float32).tofile(tmp_path / "a.bin")
    assert read_input(tmp_path / "a.bin", (4, 5)) is None
    (tmp_path / "empty.bin").write_bytes(b"")
    assert read_input(tmp_path / "empty.bin", (4, 5)) is None
    np.save(tmp_path / "a.npy", PIXELS[:3])
    assert read_input(tmp_path / "a.npy", (4, 5)) is None


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_input(tmp_path / "none.bin", (4, 5))
    (tmp_path / "bad.npy").write_bytes(b"not numpy")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_input(tmp_path / "bad.npy", (4, 5))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    with pytest.raises(DatasetError, match="not numbers"):
        read_input(tmp_path / "words.npy", (4, 5))
