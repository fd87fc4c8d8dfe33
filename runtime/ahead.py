"""Do the next pieces of work in threads while the present one is used.

Threads are enough for images: OpenCV, Pillow and numpy let others run while they compute
(``benchmarks/preprocessing.py`` times them beside processes).
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from graphopt.core.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")

_MOST_WORKERS = 8
"""By default: what more of them prepare has no session that takes it."""


def default_workers() -> int:
    """Return a thread for each processor that this process may use, within reason."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, count))


def in_order(
    work: Callable[[T], R], items: Iterable[T], *, workers: int | None = None, waiting: int = 1
) -> Generator[R, None, None]:
    """Yield the result for each item, in the order of the items; the next ones are made meanwhile.

    At most ``workers + waiting`` results exist at a time, or are being made. Whoever stops early, also by
    an exception, waits for those that are being made and for no others.

    Args:
        work: called in threads of which several run at a time.
        items: what it is called with.
        workers: number of threads; None for ``default_workers``.
        waiting: results that may lie ready.

    Raises:
        UsageError: ``workers`` is below 1.
        Exception: what ``work`` raised, when its turn has come.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers do nothing; use 1 or more")
    threads = workers or default_workers()
    return _results(work, items, threads, threads + waiting)


def _results(work: Callable[[T], R], items: Iterable[T], workers: int, most: int) -> Generator[R, None, None]:
    with ThreadPoolExecutor(workers, thread_name_prefix="preprocess") as pool:
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= most:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
