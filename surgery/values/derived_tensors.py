"""Tensors worked out from other tensors when they are read or written, so that memory stays low."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array


def derive(
    tensor: ir.TensorProtocol, function: Callable[[Array], Array], shape: Sequence[int]
) -> ir.LazyTensor:
    """Return what ``function`` makes of ``tensor``, worked out on demand.

    Args:
        tensor: the source; must stay readable.
        function: array -> array of the same dtype and of ``shape``.
        shape: of the result.
    """

    def make() -> ir.TensorProtocol:
        return ir.Tensor(np.asarray(function(tensor.numpy()), order="C"), dtype=tensor.dtype)

    return ir.LazyTensor(make, dtype=tensor.dtype, shape=ir.Shape(list(shape)))


def sizes_of(tensor: ir.TensorProtocol) -> list[int]:
    """Return a tensor's shape as numbers."""
    return [int(size) for size in tensor.shape.numpy()]
