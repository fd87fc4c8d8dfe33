"""The pass ``clamp_constants``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.comparison import Tolerance
from graphopt.core.errors import UsageError
from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import add_constant, remove_unread
from graphopt.surgery.graph_pass import Declined, Effect, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, is_op, label, nodes_of

LARGEST_HALF = 65504.0
"""The largest finite number of IEEE 754 binary16."""
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_CARRIERS = (
    "Add",
    "Cast",
    "Concat",
    "Expand",
    "Gather",
    "Identity",
    "Max",
    "Min",
    "Mul",
    "Reshape",
    "Slice",
    "Squeeze",
    "Sub",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
)
"""Operators that a mask goes through on its way to the scores."""
_BOUNDS = ("Clip", "Min", "Max")
_LARGEST_MASK = 32 << 20
"""Bytes; larger constants are weights, which are not read for nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Large(Site):
    """A constant that ``node`` reads as input ``index``; its own fill value when that is None."""

    index: int | None


@dataclass(frozen=True, kw_only=True)
class ClampConstants(GraphPass):
    """Bring constants of masks and bounds into the range of float16.

    Why: a compiler that computes in half precision turns -1e9 or -3.4e38 into minus infinity, and a
    row of infinities, or infinity times zero, into NaN.
    Before: ``Where(mask, -3.4e38, scores) -> Softmax``.
    After: ``Where(mask, -65504, scores) -> Softmax``.
    Seen in: causal_decoder.
    Known as: clamp-constants-fp16 (14).

    Attributes:
        limit: largest magnitude that stays; 10000 leaves room for scores that are added.
        anywhere: also constants that reach something else than a Softmax or a bound.
    """

    name: ClassVar[str] = "clamp_constants"
    effect: ClassVar[Effect] = Effect.APPROXIMATE
    bound: ClassVar[str] = (
        "equal in float32 where a row has an unmasked score of magnitude below limit - 100; a row that is "
        "masked everywhere gets the softmax of its scores instead of NaN or equal shares"
    )
    tolerance: ClassVar[Tolerance] = Tolerance(
        atol=1e-6, rtol=1e-4, peak=1e-5, why="softmax of scores whose mask is clamped: exp(-100) is nothing"
    )

    limit: float = LARGEST_HALF
    anywhere: bool = False

    def __post_init__(self) -> None:
        if not 1000 <= self.limit <= LARGEST_HALF:
            raise UsageError(
                f"clamp_constants: limit must be from 1000 to {LARGEST_HALF:g}, not {self.limit:g}"
            )

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every reader of a constant beyond the limit that masks or bounds something."""
        for node in nodes_of(model):
            if is_op(node, "Constant"):
                continue
            for index, value in enumerate(node.inputs):
                tensor = constant_tensor(value)
                if tensor is None or tensor.dtype not in _FLOATS or not _may_mask(node, tensor):
                    continue
                peak = _peak(tensor.numpy(), self.limit)
                if peak is not None:
                    yield self._judged(node, index, f"{value.name if value else ''} holds {peak:.4g}")
            filling = _filling(node)
            if filling is not None and (peak := _peak(filling.numpy(), self.limit)) is not None:
                yield self._judged(node, None, f"it fills with {peak:.4g}")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Give the reader its own clamped constant."""
        node = site.node
        if not isinstance(site, _Large):
            return
        if site.index is None:
            filling = _filling(node)
            assert filling is not None
            node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(self._clamped(filling.numpy())))
            return
        old = node.inputs[site.index]
        tensor = constant_tensor(old)
        if old is None or tensor is None:
            return
        clamped = self._clamped(tensor.numpy())
        node.replace_input_with(site.index, add_constant(model, node, clamped, f"{old.name}.clamped"))
        remove_unread(model, [old])

    def _judged(self, node: ir.Node, index: int | None, what: str) -> Site | Declined:
        reason = None if self.anywhere else _why_not(node, index)
        if reason is not None:
            return Declined(node=node, why=f"{what}, but {reason}")
        return _Large(node=node, what=f"{what}, clamped to {self.limit:g}", index=index)

    def _clamped(self, array: Array) -> Array:
        clamped: Array = np.asarray(np.clip(array, -self.limit, self.limit), dtype=array.dtype)
        return clamped


def _peak(array: Array, limit: float) -> float | None:
    """Return the largest magnitude, with its sign, when it exceeds the limit."""
    if array.size == 0:
        return None
    wide = array.astype(np.float64)
    low, high = float(np.nanmin(wide, initial=0.0)), float(np.nanmax(wide, initial=0.0))
    peak = low if -low > high else high
    return peak if abs(peak) > limit else None


def _filling(node: ir.Node) -> ir.TensorProtocol | None:
    held = node.attributes.get("value") if is_op(node, "ConstantOfShape") else None
    if held is None or held.is_ref():
        return None
    tensor = held.as_tensor()
    return tensor if tensor.dtype in _FLOATS else None


def _may_mask(node: ir.Node, tensor: ir.TensorProtocol) -> bool:
    return tensor.nbytes <= _LARGEST_MASK and is_op(node, *_CARRIERS, *_BOUNDS)


def _why_not(node: ir.Node, index: int | None) -> str | None:
    """Return what the constant reaches that is neither a Softmax nor a bound (a clause)."""
    if is_op(node, *_BOUNDS) and index is not None:
        return None
    waiting, seen = [node], {node}
    while waiting:
        step = waiting.pop()
        if is_op(step, "Softmax"):
            continue
        if not (is_op(step, *_CARRIERS) or step is node):
            return f"it reaches {label(step)}, not only a Softmax"
        for value in step.outputs:
            if value.is_graph_output():
                return f"it reaches the output {value.name}"
            for user, _ in value.uses():
                if user not in seen:
                    seen.add(user)
                    waiting.append(user)
    return None
