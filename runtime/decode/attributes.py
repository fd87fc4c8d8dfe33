"""Logits of an attribute network to yes/no answers and probabilities."""

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError
from graphopt.core.tensors import Array


def attributes_from_logits(logits: Array) -> NDArray[np.bool_]:
    """Return which attributes are present: a logit of at least 0, probability at least 0.5.

    Exactly 0 counts as present, as in the scripts that the published figures come from.

    Args:
        logits: float [N, K].

    Returns:
        bool [N, K].

    Raises:
        DatasetError: a logit is NaN or infinite; it names the first such rows.
    """
    _check(logits)
    return np.asarray(logits >= np.zeros((), logits.dtype))


def attribute_probabilities(logits: Array) -> NDArray[np.float32]:
    """Return the sigmoid of the logits.

    Args:
        logits: float [N, K].

    Returns:
        float32 [N, K] in 0..1; no overflow for any finite logit.

    Raises:
        DatasetError: as ``attributes_from_logits``.
    """
    _check(logits)
    wide = logits.astype(np.float64)
    small = np.exp(-np.abs(wide))
    return (np.where(wide >= 0, 1.0, small) / (1.0 + small)).astype(np.float32)


def _check(logits: Array) -> None:
    if logits.ndim != 2 or not np.issubdtype(logits.dtype, np.floating):
        raise DatasetError(f"logits are {logits.dtype} {list(logits.shape)}, expected float [N, K]")
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if bad.size:
        rows = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
        raise DatasetError(
            f"{bad.size} of {len(logits)} samples have logits that are NaN or infinite (rows {rows}); "
            "compare the stages with validate before evaluating"
        )
