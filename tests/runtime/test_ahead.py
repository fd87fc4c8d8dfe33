import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from graphopt.core.errors import UsageError
from graphopt.runtime.ahead import default_workers, in_order


def _preprocessing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("preprocess")]


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_results_come_in_the_order_of_the_items_whichever_is_done_first(workers: int | None) -> None:
    def work(item: int) -> int:
        time.sleep(0.01 if item % 3 == 0 else 0)
        return item * item

    assert list(in_order(work, range(11), workers=workers, waiting=2)) == [i * i for i in range(11)]


def test_nothing_to_do_is_done() -> None:
    assert list(in_order(str, [])) == []


@pytest.mark.parametrize(("workers", "waiting"), [(1, 0), (1, 1), (2, 1), (3, 4)])
def test_no_more_results_exist_than_were_asked_for(workers: int, waiting: int) -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    with closing(in_order(work, range(40), workers=workers, waiting=waiting)) as results:
        for used, result in enumerate(results):
            time.sleep(0.002)
            assert result == used
            assert len(begun) <= used + workers + waiting


def test_several_threads_work_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def work(item: int) -> int:
        together.wait(timeout=10)  # breaks unless three are here
        return item

    assert list(in_order(work, range(6), workers=3)) == [0, 1, 2, 3, 4, 5]


def _failing(at: int, begun: list[int]) -> Callable[[int], int]:
    def work(item: int) -> int:
        begun.append(item)
        if item == at:
            raise ValueError(f"item {item}")
        return item

    return work


def test_an_error_comes_when_its_turn_has_come_and_leaves_no_thread() -> None:
    begun: list[int] = []
    results = in_order(_failing(5, begun), range(1000), workers=2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="item 5"):
        next(results)
    assert len(begun) < 20
    assert not _preprocessing_threads()


def test_stopping_early_waits_only_for_what_is_being_made() -> None:
    begun: list[int] = []
    with closing(in_order(_failing(-1, begun), range(1000), workers=2)) as results:
        assert next(results) == 0
    assert len(begun) < 20
    assert not _preprocessing_threads()


def test_workers_below_one_are_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match="0 workers do nothing"):
        in_order(str, [1], workers=0)
    assert 1 <= default_workers() <= 8
