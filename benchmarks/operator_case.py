"""What ``operators.py`` measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graphopt.core.tensors import Array


@dataclass(frozen=True)
class Case:
    """One call of an operator.

    Attributes:
        name: operator and sizes.
        text: a model of the one call, as ONNX text.
        feeds: its inputs.
        rivals: PyTorch's versions by name; each returns what the model's outputs should be.
        bound: largest error, as a fraction of the largest expected value.
    """

    name: str
    text: str
    feeds: Mapping[str, Array]
    rivals: Mapping[str, Callable[[], tuple[Array, ...]]]
    bound: float = 1e-4
