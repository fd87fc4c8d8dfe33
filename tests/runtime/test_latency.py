import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import UsageError
from graphopt.runtime.latency import measure, summarize
from graphopt.runtime.sessions import open_session


def test_figures_of_known_times() -> None:
    got = summarize([1.0, 2.0, 3.0, 4.0, 10.0], batch=8)
    assert (got.min_ms, got.mean_ms, got.median_ms, got.max_ms) == (1.0, 4.0, 3.0, 10.0)
    assert got.p90_ms == pytest.approx(7.6)
    assert got.p99_ms == pytest.approx(9.76)
    assert got.throughput == pytest.approx(2000)
    assert (got.batch, got.runs) == (8, 5)
    assert got.to_json()["p90_ms"] == got.p90_ms


def test_counts_runs_and_reads_the_batch(write_model: Callable[..., Path]) -> None:
    seen: list[tuple[int, int]] = []
    with open_session(write_model()) as session:
        got = measure(
            session,
            {"image": np.zeros((6, 3, 7, 5), np.float32)},
            runs=4,
            on_progress=lambda *now: seen.append(now),
        )
    assert (got.batch, got.runs) == (6, 4)
    assert 0 < got.min_ms <= got.median_ms <= got.p90_ms <= got.p99_ms <= got.max_ms
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_warm_up_runs_are_not_timed(
    write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session(write_model()) as session:
        calls: list[int] = []
        run = session.run

        def counted(feeds: Any) -> Any:
            calls.append(1)
            return run(feeds)

        monkeypatch.setattr(session, "run", counted)
        got = measure(session, {"image": np.zeros((1, 3, 7, 5), np.float32)}, warmup=5, runs=2)
    assert (len(calls), got.runs) == (7, 2)


def test_stops_after_the_given_seconds(write_model: Callable[..., Path]) -> None:
    feeds = {"image": np.zeros((1, 3, 7, 5), np.float32)}
    with open_session(write_model()) as session:
        before = time.perf_counter()
        got = measure(session, feeds, seconds=0.05)
        assert time.perf_counter() - before < 5
        assert got.runs > 1
        assert measure(session, feeds, seconds=1e-9, warmup=0).runs >= 1


@pytest.mark.parametrize(
    "options", [{"runs": 1, "seconds": 1.0}, {"runs": 0}, {"seconds": 0.0}, {"warmup": -1}]
)
def test_impossible_measurements_are_refused(
    write_model: Callable[..., Path], options: dict[str, Any]
) -> None:
    with open_session(write_model()) as session, pytest.raises(UsageError):
        measure(session, {"image": np.zeros((1, 3, 7, 5), np.float32)}, **options)


def test_no_times_are_refused() -> None:
    with pytest.raises(UsageError, match="no runs"):
        summarize([], batch=1)
