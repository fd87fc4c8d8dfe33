"""What a tensor is called, how it is shaped, and what it means."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.generic]
Dim: TypeAlias = int | str | None
"""A size, the name of a symbolic size, or None for an unnamed unknown one."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: as in the graph.
        shape: sizes; a str is symbolic (``"batch"``), None unknown.
        dtype: numpy's name, e.g. ``"float32"``.
        layout: axis letters such as ``"NCHW"``; empty when it has none.
        unit: what one element measures, e.g. ``"logit"``; empty when unknown.
        role: what the task calls it, e.g. ``"attributes"``, ``"dets"``; empty when unknown.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: str
    layout: str = ""
    unit: str = ""
    role: str = ""

    @property
    def is_static(self) -> bool:
        """Whether every size is known."""
        return all(isinstance(dim, int) for dim in self.shape)

    def mismatch(self, array: Array) -> str | None:
        """Return why ``array`` cannot be this tensor (a clause), or None when it can."""
        if str(array.dtype) != self.dtype:
            return f"dtype is {array.dtype}, expected {self.dtype}"
        if len(array.shape) != len(self.shape):
            return f"shape is {list(array.shape)}, expected {self.shape_text}"
        for size, dim in zip(array.shape, self.shape, strict=True):
            if isinstance(dim, int) and dim != size:
                return f"shape is {list(array.shape)}, expected {self.shape_text}"
        return None

    @property
    def shape_text(self) -> str:
        """The shape as ``[batch, 3, 224, 224]``."""
        return "[" + ", ".join("?" if dim is None else str(dim) for dim in self.shape) + "]"
