"""Measure how long a model takes per run and how many samples per second that makes."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphopt.core.errors import UsageError
from graphopt.core.session import Session
from graphopt.core.tensors import Array
from graphopt.runtime.predictions import Progress

DEFAULT_RUNS = 50


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times of one run of a whole batch, in milliseconds, without preprocessing.

    Attributes:
        batch: samples per run.
        runs: timed runs.
        min_ms: fastest.
        mean_ms: mean.
        median_ms: median.
        p90_ms: 90 % of the runs were at most this slow.
        p99_ms: 99 %.
        max_ms: slowest.
        throughput: samples per second: ``1000 * batch / mean_ms``.
    """

    batch: int
    runs: int
    min_ms: float
    mean_ms: float
    median_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    throughput: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return dataclasses.asdict(self)


def measure(
    session: Session,
    feeds: Mapping[str, Array],
    *,
    warmup: int = 3,
    runs: int | None = None,
    seconds: float | None = None,
    on_progress: Progress | None = None,
) -> Latency:
    """Time repeated runs on the same inputs.

    Args:
        session: an open session.
        feeds: its inputs; the first axis of the first one is the batch.
        warmup: untimed runs before.
        runs: timed runs; 50 when ``seconds`` is not given either.
        seconds: instead of ``runs``: time until this much is over, at least one run.
        on_progress: called with (runs done, runs in total); only with a number of runs.

    Raises:
        UsageError: both ``runs`` and ``seconds`` are given, or one makes no sense.
    """
    if runs is not None and seconds is not None:
        raise UsageError("give a number of runs or of seconds, not both")
    if warmup < 0 or (runs is not None and runs < 1) or (seconds is not None and seconds <= 0):
        raise UsageError(f"impossible measurement: warmup {warmup}, runs {runs}, seconds {seconds}")
    for _ in range(warmup):
        session.run(feeds)
    times: list[float] = []
    wanted = runs or DEFAULT_RUNS
    start = time.perf_counter()
    while _goes_on(len(times), wanted, seconds, start):
        before = time.perf_counter()
        session.run(feeds)
        times.append(1000 * (time.perf_counter() - before))
        if on_progress is not None and seconds is None:
            on_progress(len(times), wanted)
    first = next(iter(feeds.values()), np.zeros(1))
    return summarize(times, batch=len(first) if first.ndim else 1)


def summarize(times_ms: list[float], *, batch: int) -> Latency:
    """Turn single times in milliseconds into figures; percentiles interpolate linearly.

    Raises:
        UsageError: there are no times.
    """
    if not times_ms:
        raise UsageError("no runs were timed")
    values = np.asarray(times_ms, np.float64)
    mean = float(values.mean())
    return Latency(
        batch=batch,
        runs=len(values),
        min_ms=float(values.min()),
        mean_ms=mean,
        median_ms=float(np.median(values)),
        p90_ms=float(np.percentile(values, 90)),
        p99_ms=float(np.percentile(values, 99)),
        max_ms=float(values.max()),
        throughput=1000 * batch / mean if mean > 0 else 0.0,
    )


def _goes_on(done: int, wanted: int, seconds: float | None, start: float) -> bool:
    if seconds is None:
        return done < wanted
    return done == 0 or time.perf_counter() - start < seconds
