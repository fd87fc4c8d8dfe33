"""The peak of one piece of work, whatever was held or freed before it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from graphopt.core import peak_memory as module
from graphopt.core.peak_memory import peak_memory

MB = 1_000_000
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@linux
def test_what_is_freed_inside_counts_and_what_was_freed_before_does_not() -> None:
    earlier = np.ones(40 * MB // 8)
    earlier_sum = earlier.sum()
    del earlier
    with peak_memory() as memory:
        assert np.ones(12 * MB // 8).sum() < earlier_sum
    assert memory.bytes is not None
    assert 11 * MB < memory.bytes < 30 * MB


@linux
def test_what_is_held_from_before_does_not_count() -> None:
    held = np.ones(40 * MB // 8)
    with peak_memory() as memory:
        assert held[0] == 1
    assert memory.bytes is not None
    assert memory.bytes < 10 * MB


@linux
def test_work_that_fails_is_measured() -> None:
    with pytest.raises(ValueError, match="work"), peak_memory() as memory:
        raise ValueError("work")
    assert memory.bytes is not None


@pytest.mark.parametrize("name", ["_RESET", "_STATUS"])
def test_elsewhere_it_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(module, name, tmp_path / "none" / "such")
    with peak_memory() as memory:
        pass
    assert memory.bytes is None
