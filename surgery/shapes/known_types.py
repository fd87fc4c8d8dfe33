"""Shapes and dtypes of a model's values, inferred once when the first is asked for."""

import onnx_ir as ir

from graphopt.surgery.shapes.shape_inference import Inferred, infer_types

_UNKNOWN = Inferred(dtype=None, shape=None)


class KnownTypes:
    """What inference knows of one model; a pass makes one per look at the model.

    Most models hold no candidate for a given pass, and then nothing is inferred at all.

    Args:
        model: must not change while this is used.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._types: dict[ir.Value, Inferred] | None = None

    def of(self, value: ir.Value | None) -> Inferred:
        """Return what is known of a value; nothing for values in the body of a function.

        Raises:
            PreconditionError: a node contradicts the shapes of its inputs.
        """
        if value is None:
            return _UNKNOWN
        if self._types is None:
            self._types = infer_types(self._model)
        return self._types.get(value, _UNKNOWN)

    def rank(self, value: ir.Value | None) -> int | None:
        """Return the number of axes, or None when it is not known."""
        shape = self.of(value).shape
        return None if shape is None else len(shape)

    def static(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """Return the shape when every size is known, else None."""
        return self.of(value).static
