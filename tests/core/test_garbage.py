import gc

import pytest

from graphopt.core.garbage import rarely_collected


def test_thresholds_come_back_also_after_an_error() -> None:
    before = gc.get_threshold()
    with rarely_collected():
        assert gc.get_threshold()[0] > before[0]
    with pytest.raises(KeyError), rarely_collected():
        raise KeyError
    assert gc.get_threshold() == before


def test_a_collector_that_is_off_or_rarer_already_stays_so() -> None:
    before = gc.get_threshold()
    gc.set_threshold(10**7, 10**3, 10**3)
    try:
        with rarely_collected():
            assert gc.get_threshold() == (10**7, 10**3, 10**3)
    finally:
        gc.set_threshold(*before)
