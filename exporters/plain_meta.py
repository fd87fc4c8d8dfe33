"""What a checkpoint holds besides tensors, as data that can be written as JSON."""

import itertools
from collections.abc import Mapping
from typing import Any

from graphopt.exporters.numpy_records import NumpyRecord
from graphopt.exporters.pickle_machine import Stub
from graphopt.exporters.tensor_records import TensorRecord

MAX_VALUES = 10_000
MAX_DEPTH = 8
MAX_TEXT = 1 << 16
CUT_OFF = "..."


def plain_meta(root: Mapping[object, object]) -> dict[str, Any]:
    """Return the entries of ``root`` that are no mappings of tensors.

    Objects of unknown classes are given as ``"<module.Class>"``. Values can be shared, so that a
    small pickle unfolds into an endless tree: beyond a budget of values, depth and text length
    it is cut off.
    """
    left = MAX_VALUES

    def within_budget(_: object) -> bool:
        return left > 0

    def plain(value: object, depth: int) -> Any:
        nonlocal left
        left -= 1
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if abs(value) < 1 << 63 else CUT_OFF
        if isinstance(value, str):
            return value[:MAX_TEXT]
        if left <= 0 or depth >= MAX_DEPTH:
            return CUT_OFF
        if isinstance(value, dict):
            items = itertools.takewhile(within_budget, value.items())
            return {plain_key(key): plain(item, depth + 1) for key, item in items}
        if isinstance(value, (list, tuple)):
            return [plain(item, depth + 1) for item in itertools.takewhile(within_budget, value)]
        return f"<{described(value)}>"

    return {plain_key(key): plain(value, 0) for key, value in root.items() if not _has_tensors(value)}


def plain_key(key: object) -> str:
    """Return a mapping's key as short text."""
    return f"<{key.name}>" if isinstance(key, Stub) else str(key)[:200]


def described(value: object) -> str:
    """Return in a few words what kind of value this is."""
    if isinstance(value, TensorRecord):
        return f"tensor {list(value.shape)}"
    return value.name if isinstance(value, Stub) else type(value).__name__


def _has_tensors(value: object) -> bool:
    items = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(item, (TensorRecord, NumpyRecord)) for item in items)
