"""Feed a sample of any batch size to a session of any batch size."""

from collections.abc import Mapping

import numpy as np

from graphopt.core.errors import UsageError
from graphopt.core.session import Session
from graphopt.core.tensors import Array


def run_in_batches(session: Session, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run ``session`` on ``feeds``, split or padded along axis 0 when its batch is fixed otherwise.

    A last partial batch is filled up by repeating its last row; the extra rows are cut off again.

    Args:
        session: its inputs have a fixed batch, or a dynamic one.
        feeds: arrays [n, ...] by input name; not modified.

    Returns:
        Outputs [n, ...] by name.

    Raises:
        UsageError: the inputs disagree on n, or an output has no batch axis to be joined along.
    """
    batch = _other_batch(session, feeds)
    if batch is None:
        return session.run(feeds)
    size, count = batch
    pieces: list[dict[str, Array]] = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        pieces.append(session.run({name: _take(array, rows, count) for name, array in feeds.items()}))
    return {name: _join(name, pieces, size=size, count=count) for name in pieces[0]}


def _other_batch(session: Session, feeds: Mapping[str, Array]) -> tuple[int, int] | None:
    """Return (the session's batch, the sample's rows) when they differ."""
    found = set()
    for spec in session.inputs:
        array = feeds.get(spec.name)
        if array is None or array.ndim == 0 or array.ndim != len(spec.shape):
            continue  # the session itself says what is wrong
        if isinstance(spec.shape[0], int) and spec.shape[0] != array.shape[0]:
            found.add((spec.shape[0], array.shape[0]))
    if not found:
        return None
    if len(found) > 1 or min(found)[0] < 1 or min(found)[1] < 1:
        pairs = ", ".join(f"{have} rows for a batch of {want}" for want, have in sorted(found))
        raise UsageError(f"the inputs cannot be split into batches: {pairs}")
    return found.pop()


def _take(array: Array, rows: np.ndarray, count: int) -> Array:
    if array.ndim == 0 or array.shape[0] != count:
        return array  # shared by all rows
    return np.ascontiguousarray(array[rows])


def _join(name: str, pieces: list[dict[str, Array]], *, size: int, count: int) -> Array:
    arrays = [piece[name] for piece in pieces]
    for array in arrays:
        if array.ndim == 0 or array.shape[0] != size:
            raise UsageError(
                f"output {name} has shape {list(array.shape)} for a batch of {size}: without a batch axis "
                f"its pieces cannot be joined; compare on samples of exactly {size} rows"
            )
    return np.concatenate(arrays)[:count]
