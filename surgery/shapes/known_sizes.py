"""Sizes and small constants of a model, looked for no harder than a question needs."""

import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_queries import constant_of
from graphopt.surgery.shapes.broadcasting import Shape
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.shapes.shape_analysis import ShapeAnalysis, analyse_sizes
from graphopt.surgery.shapes.shape_inference import Inferred


class KnownSizes:
    """What is known of tensors whose sizes are computed in the graph.

    Inference answers first; only where it does not know are the computations of sizes followed too.

    Args:
        model: must not change while this is used.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._types = KnownTypes(model)
        self._analysis: ShapeAnalysis | None = None

    def shape(self, value: ir.Value | None) -> Shape | None:
        """Return the shape as far as it is known; open sizes are names, or None.

        Raises:
            PreconditionError: a node contradicts the shapes of its inputs.
        """
        found = self._types.of(value)
        if value is None or found.static is not None:
            return found.shape
        known = self._analysed().types.get(value)
        return found.shape if known is None or known.shape is None else known.shape

    def spatial(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """Return the sizes behind batch and channels when all are known, else None."""
        shape = self.shape(value)
        if shape is None or not all(isinstance(size, int) for size in shape[2:]):
            return None
        return tuple(size for size in shape[2:] if isinstance(size, int))

    def text(self, value: ir.Value | None) -> str:
        """Return the shape for a message, ``?`` where it is open."""
        return Inferred(dtype=None, shape=self.shape(value)).text

    def array(self, value: ir.Value | None) -> Array | None:
        """Return what a value always holds, also when it is computed from sizes; None when unknown."""
        found = constant_of(value)
        if found is not None or value is None:
            return found
        tensor = self._analysed().folder.known.get(value)
        return None if tensor is None else tensor.numpy()

    def _analysed(self) -> ShapeAnalysis:
        if self._analysis is None:
            self._analysis = analyse_sizes(self._model, inputs={})
        return self._analysis
