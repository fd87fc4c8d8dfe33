"""Spell nodes as an opset has them, wherever they are written to."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array

Attribute = int | float | str | Sequence[int] | Sequence[float] | ir.TensorProtocol


class NodeOps(ABC):
    """Writes nodes one after the other."""

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        attributes: Mapping[str, Attribute] | None = None,
        outputs: int = 1,
        like: ir.Value | None = None,
        shape: Sequence[int | str | None] | None = None,
        domain: str = "",
    ) -> ir.Value:
        """Write a node and return its first output (see ``ops`` for all).

        Args:
            op_type: the operator.
            inputs: None is an input that is left out.
            attributes: as ``ir.node`` takes them.
            outputs: how many it has.
            like: a value of the same dtype; of the same shape too when ``shape`` is not given.
            shape: of the first output, where it is known; recorded when ``like`` tells the dtype.
            domain: of the operator.
        """
        made = self.ops(
            op_type, *inputs, attributes=attributes, outputs=outputs, like=like, shape=shape, domain=domain
        )
        return made[0]

    @abstractmethod
    def ops(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        attributes: Mapping[str, Attribute] | None = None,
        outputs: int = 1,
        like: ir.Value | None = None,
        shape: Sequence[int | str | None] | None = None,
        domain: str = "",
    ) -> tuple[ir.Value, ...]:
        """Write a node as ``op`` does and return all its outputs."""

    @abstractmethod
    def constant(self, content: Array | ir.TensorProtocol, stem: str = "constant") -> ir.Value:
        """Return a new constant that the new nodes can read."""


class VersionedOps(NodeOps):
    """Writes nodes, and knows where operators took attributes before they took inputs.

    Attributes:
        opset: version of the standard operators to write for.
    """

    opset: int

    def integers(self, values: Sequence[int], stem: str = "constant") -> ir.Value:
        """Return a new int64 constant of rank 1."""
        return self.constant(np.array(list(values), dtype=np.int64), stem)

    def slice(
        self,
        source: ir.Value,
        *,
        axes: Sequence[int],
        starts: Sequence[int],
        ends: Sequence[int],
        steps: Sequence[int] | None = None,
    ) -> ir.Value:
        """Cut pieces off along ``axes`` (inputs since opset 10, steps too)."""
        if self.opset < 10 and steps is None:
            attributes = {"axes": list(axes), "starts": list(starts), "ends": list(ends)}
            return self._like("Slice", source, attributes=attributes)
        return self._like(
            "Slice",
            source,
            self.integers(starts, "starts"),
            self.integers(ends, "ends"),
            self.integers(axes, "axes"),
            *([] if steps is None else [self.integers(steps, "steps")]),
        )

    def pad(self, source: ir.Value, pads: Sequence[int], fill: ir.TensorProtocol | None = None) -> ir.Value:
        """Pad all axes with a constant (inputs since opset 11).

        Args:
            source: any rank.
            pads: as ``Pad`` has them: all beginnings, then all ends.
            fill: a scalar of the dtype of ``source``; zero when left out.
        """
        if self.opset < 11:
            value = 0.0 if fill is None else float(fill.numpy())
            return self._like("Pad", source, attributes={"pads": list(pads), "value": value})
        amounts = self.integers(pads, "pads")
        if fill is None:
            return self._like("Pad", source, amounts)
        return self._like("Pad", source, amounts, self.constant(fill, "fill"))

    def split(self, source: ir.Value, *, axis: int, sizes: Sequence[int]) -> tuple[ir.Value, ...]:
        """Cut ``source`` into parts of these sizes along ``axis`` (sizes are an input since opset 13)."""
        attributes: dict[str, Attribute] = {"axis": axis}
        inputs = [source]
        if self.opset < 13:
            attributes["split"] = list(sizes)
        else:
            inputs.append(self.integers(sizes, "sizes"))
        parts = self.ops("Split", *inputs, attributes=attributes, outputs=len(sizes))
        for part in parts:
            part.type = source.type
        return parts

    def unsqueeze(self, source: ir.Value, axes: Sequence[int]) -> ir.Value:
        """Add axes of size one (axes are an input since opset 13)."""
        return self._with_axes("Unsqueeze", source, axes, since=13)

    def squeeze(self, source: ir.Value, axes: Sequence[int]) -> ir.Value:
        """Drop axes of size one (axes are an input since opset 13)."""
        return self._with_axes("Squeeze", source, axes, since=13)

    def reduce(
        self, op_type: str, source: ir.Value, axes: Sequence[int], *, keepdims: bool = True
    ) -> ir.Value:
        """Reduce over ``axes`` (an input since opset 18, of ReduceSum since 13)."""
        since = 13 if op_type == "ReduceSum" else 18
        return self._with_axes(op_type, source, axes, since=since, keepdims=int(keepdims))

    def reshape(self, source: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Reshape to a constant shape; 0 keeps a size, -1 is worked out."""
        return self._like("Reshape", source, self.integers(shape, "shape"))

    def cast(self, source: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Convert to another dtype."""
        made = self.op("Cast", source, attributes={"to": dtype.value})
        made.type = ir.TensorType(dtype)
        made.shape = source.shape.copy() if source.shape is not None else None
        return made

    def _with_axes(
        self, op_type: str, source: ir.Value, axes: Sequence[int], *, since: int, **attributes: int
    ) -> ir.Value:
        if self.opset < since:
            return self._like(op_type, source, attributes={"axes": list(axes), **attributes})
        return self._like(op_type, source, self.integers(axes, "axes"), attributes=attributes)

    def _like(
        self,
        op_type: str,
        source: ir.Value,
        *others: ir.Value,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> ir.Value:
        made = self.op(op_type, source, *others, attributes=attributes)
        made.type = source.type
        return made
