"""Python's collector of cyclic garbage, held back where it looks again and again at what lives on."""

import contextlib
import gc
from collections.abc import Iterator

_OFTEN = (100_000, 50, 100)
"""Objects made between two looks at the youngest (Python's own: 700), then looks until older ones' turn."""


@contextlib.contextmanager
def rarely_collected() -> Iterator[None]:
    """Let the collector look more rarely while the block runs.

    A model is millions of small objects that stay: with Python's thresholds a third of the time of
    reading a large one goes into looking for garbage among them. What no cycle holds is freed at once,
    as always.
    """
    before = gc.get_threshold()
    gc.set_threshold(*map(max, zip(before, _OFTEN, strict=True)))
    try:
        yield
    finally:
        gc.set_threshold(*before)
