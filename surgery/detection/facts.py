"""What is known of a model's tensors: sizes, constants, and where moved elements come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import GraphoptError
from graphopt.core.tensors import Array
from graphopt.surgery.folding.constant_batch import ConstantBatch
from graphopt.surgery.graph_queries import (
    ONNX_DOMAIN,
    constant_tensor,
    input_of,
    is_op,
)
from graphopt.surgery.shapes.shape_analysis import ShapeAnalysis, analyse_sizes
from graphopt.surgery.values.value_signs import is_non_negative

_MOVING = (
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)
"""Their outputs hold elements of the first input, at places that do not depend on its elements."""
_MAX_ELEMENTS = 1 << 24
_MAX_BYTES = 1 << 25
_MAX_NODES = 64


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A tensor whose elements all come from another one.

    Attributes:
        base: the other one.
        shape: of ``base``.
        places: for each element of the tensor, flattened, its number in the flattened ``base``.
    """

    base: ir.Value
    shape: tuple[int, ...]
    places: Array


class Facts:
    """Sizes and constants of one model, worked out when they are first asked for.

    Args:
        model: must not change while this is used.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._analysis: ShapeAnalysis | None = None
        self._opset = model.opset_imports.get(ONNX_DOMAIN, 1)

    def shape(self, value: ir.Value) -> tuple[int | None, ...] | None:
        """Return the sizes; None for an open one, and as a whole when the rank is unknown."""
        tensor = self.tensor(value) if constant_tensor(value) is not None else None
        if tensor is not None:
            return tuple(int(size) for size in tensor.shape.numpy())
        found = self._sizes.types.get(value)
        if found is None or found.shape is None:
            return None
        return tuple(size if isinstance(size, int) else None for size in found.shape)

    def static(self, value: ir.Value) -> tuple[int, ...] | None:
        """Return the shape when every size is known."""
        shape = self.shape(value)
        if shape is None or any(size is None for size in shape):
            return None
        return tuple(size for size in shape if size is not None)

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """Return the dtype, None when it is unknown."""
        found = self._sizes.types.get(value)
        return found.dtype if found is not None and found.dtype is not None else value.dtype

    def tensor(self, value: ir.Value | None) -> ir.TensorProtocol | None:
        """Return what a value always holds, computed from constants and sizes; None when it varies."""
        if value is None:
            return None
        return constant_tensor(value) or self._sizes.folder.known.get(value)

    def array(self, value: ir.Value | None) -> Array | None:
        """Return the elements of ``tensor``."""
        found = self.tensor(value)
        return None if found is None else found.numpy()

    def number(self, value: ir.Value | None) -> float | None:
        """Return the only element of a constant."""
        found = self.array(value)
        return float(found.ravel()[0]) if found is not None and found.size == 1 else None

    def is_non_negative(self, value: ir.Value) -> bool:
        """Whether no element can be below zero."""
        return is_non_negative(self._model, value)

    def sources(self, value: ir.Value) -> list[Moved]:
        """Return the tensors from which this one's elements are moved together, the farthest first.

        The last is the tensor itself. Tensors of open sizes have none.
        """
        chain = [value]
        while (before := self._moved_from(chain[-1])) is not None and len(chain) < _MAX_NODES:
            chain.append(before)
        found = (self._places(base, chain[: index + 1]) for index, base in enumerate(chain))
        return [item for item in found if item is not None][::-1]

    def run(
        self,
        nodes: Sequence[ir.Node],
        wanted: Sequence[ir.Value],
        given: Mapping[ir.Value, ir.TensorProtocol],
    ) -> dict[ir.Value, Array] | None:
        """Run nodes on given and constant tensors; None when that fails.

        Args:
            nodes: of the standard domain, in order.
            wanted: some of their outputs.
            given: what they read that is not constant.
        """
        batch = ConstantBatch(nodes, lambda value: given.get(value) or self.tensor(value), self._opset)
        try:
            return batch.run(wanted, batch.types())
        except GraphoptError:
            return None

    @property
    def _sizes(self) -> ShapeAnalysis:
        if self._analysis is None:
            self._analysis = analyse_sizes(self._model, inputs={}, max_bytes=_MAX_BYTES, everywhere=True)
        return self._analysis

    def _moved_from(self, value: ir.Value) -> ir.Value | None:
        node = value.producer()
        if not is_op(node, *_MOVING) or node is None:
            return None
        if any(self.tensor(item) is None for item in node.inputs[1:] if item is not None):
            return None
        return input_of(node, 0)

    def _places(self, base: ir.Value, chain: Sequence[ir.Value]) -> Moved | None:
        """Let the numbers of elements go through the nodes between ``base`` and ``chain[0]``."""
        shape = self.static(base)
        if shape is None or np.prod(shape, dtype=object) > _MAX_ELEMENTS:
            return None
        numbers = np.arange(int(np.prod(shape)), dtype=np.int64)
        if len(chain) == 1:
            return Moved(base=base, shape=shape, places=numbers)
        nodes = [node for value in reversed(chain[:-1]) if (node := value.producer()) is not None]
        leaves: dict[ir.Value, ir.TensorProtocol] = {base: ir.Tensor(numbers.reshape(shape))}
        found = self.run(nodes, [chain[0]], leaves)
        return None if found is None else Moved(base=base, shape=shape, places=found[chain[0]].ravel())
