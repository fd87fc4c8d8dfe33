"""The pass ``fold_normalization``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import add_constant, remove_dead, remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_tensor,
    has_attribute_references,
    input_of,
    is_op,
    label,
    nodes_of,
    used_elsewhere,
)
from graphopt.surgery.semantics.affine_layers import Floats
from graphopt.surgery.semantics.channel_constants import channel_affine
from graphopt.surgery.semantics.windows import set_window, window_of
from graphopt.surgery.values.derived_tensors import sizes_of
from graphopt.surgery.versioned_builder import VersionedBuilder

_ARITHMETIC = ("Add", "Sub", "Mul", "Div")


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """Arithmetic in front of a convolution: ``x * factor + shift`` per channel of ``source``."""

    source: ir.Value
    nodes: tuple[ir.Node, ...]
    factor: Floats
    shift: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class _Folded(Site):
    """What the convolution takes in, and what stays in front of it.

    Attributes:
        chain: the arithmetic.
        kept: what is still added to the source, per channel; None for nothing.
        pad: the number that an explicit Pad writes; None where the convolution pads, or nothing does.
    """

    chain: _Chain
    kept: Floats | None
    pad: float | None


@dataclass(frozen=True, kw_only=True)
class FoldNormalization(GraphPass):
    """Fold the normalisation of an input into the convolution that reads it.

    Why: networks that subtract a mean and divide by a deviation inside run over the whole picture once
    or twice more; folded, raw pixels go in, as the image unit of a device delivers them.
    Before: ``x -> Sub(mean) -> Div(std) -> Conv(w, b)``.
    After: ``x -> Conv(w / std, b - sum(w * mean / std))``. A convolution that pads sees zeros, which
    stand for the mean and not for a pixel of zero: then only the scale is folded and one ``Add`` stays,
    or, with ``pad``, where the mean is the same for all channels, a ``Pad`` writes that mean.
    Seen in: face_net, padded_stem.

    Attributes:
        pad: whether to write the padding as a node with the number that becomes zero.
    """

    name: ClassVar[str] = "fold_normalization"
    pad: bool = False

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``Conv`` behind such arithmetic; see ``GraphPass.sites``."""
        for node in nodes_of(model, "Conv"):
            source = node.inputs[0]
            if source is None or not is_op(source.producer(), *_ARITHMETIC):
                continue
            weight = constant_tensor(input_of(node, 1))
            chain = None if weight is None else _chain(node, weight)
            if chain is None or isinstance(chain, str):
                if isinstance(chain, str):
                    yield Declined(node=node, why=chain)
                continue
            found = self._judge(node, chain)
            yield Declined(node=node, why=found) if isinstance(found, str) else found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Give the convolution its own new weight and bias, and take the arithmetic away."""
        node = site.node
        weight = constant_tensor(input_of(node, 1))
        if not isinstance(site, _Folded) or node.graph is None or weight is None:
            return
        chain, dtype = site.chain, weight.dtype.numpy()
        if any(item.graph is None for item in chain.nodes):
            return
        new, stem = VersionedBuilder(model, node), node.outputs[0].name or "conv"
        source, shift = chain.source, chain.shift
        if site.kept is not None:
            shape = (1, -1, *[1] * (len(sizes_of(weight)) - 2))
            source = new.op("Add", source, new.constant(site.kept.astype(dtype).reshape(shape), "shift"))
            source.type, shift = chain.source.type, np.zeros_like(shift)
        window = window_of(node)
        if site.pad is not None and not isinstance(window, str):
            pads = [0, 0, *window.begins, 0, 0, *window.ends]
            source = new.pad(source, pads, ir.Tensor(np.array(site.pad, dtype=dtype)))
            nothing = (0,) * window.rank
            set_window(node, window.padded(nothing, nothing))
        old = [value for value in node.inputs[1:] if value is not None]
        scaled, bias = _folded(node, weight.numpy(), chain.factor, shift)
        inputs = [source, add_constant(model, node, scaled, f"{stem}.weight")]
        if bias is not None:
            inputs.append(add_constant(model, node, bias.astype(dtype), f"{stem}.bias"))
        node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)
        remove_dead(model, list(chain.nodes))
        remove_unread(model, old)

    def _judge(self, node: ir.Node, chain: _Chain) -> _Folded | str:
        what = f"{len(chain.nodes)} nodes go into {label(node)}"
        window = window_of(node)
        pads = True if isinstance(window, str) else window.is_padded
        if not pads or not chain.shift.any():
            return self._site(node, chain, what, kept=None, pad=None)
        if not chain.factor.all():
            return "it scales a channel by zero, and the Conv pads: its zeros cannot be told in pixels"
        zero = -chain.shift / chain.factor
        if self.pad and not isinstance(window, str) and np.ptp(zero) == 0:
            what += f", which no longer pads: a Pad writes {zero[0]:g}"
            return self._site(node, chain, what, kept=None, pad=float(zero[0]))
        if len(chain.nodes) == 1:
            return "it shifts, and the Conv pads: its zeros stand for the mean" + (
                ", which is not the same for all channels" if self.pad else ""
            )
        return self._site(node, chain, f"{what} but for one Add, as it pads", kept=-zero, pad=None)

    def _site(
        self, node: ir.Node, chain: _Chain, what: str, *, kept: Floats | None, pad: float | None
    ) -> _Folded | str:
        weight = constant_tensor(input_of(node, 1))
        if weight is not None and weight.dtype == ir.DataType.FLOAT16:
            shift = chain.shift if kept is None else np.zeros_like(chain.shift)
            scaled, bias = _folded(node, weight.numpy().astype(np.float64), chain.factor, shift)
            numbers = [scaled, *([] if bias is None else [bias]), *([] if kept is None else [kept])]
            if max(float(np.abs(item).max(initial=0.0)) for item in numbers) > np.finfo(np.float16).max:
                return "the folded weight or bias exceeds the range of float16"
        return _Folded(node=node, what=what, chain=chain, kept=kept, pad=pad)


def _chain(node: ir.Node, weight: ir.TensorProtocol) -> _Chain | str | None:
    """Return the arithmetic in front of ``node``, why it cannot be folded, or None when there is none."""
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    if input_of(node, 2) is not None and constant_tensor(input_of(node, 2)) is None:
        return "its bias is computed at run time"
    sizes = sizes_of(weight)
    channels = sizes[1] * attribute_int(node, "group", 1)
    factor, shift, nodes = np.ones(channels), np.zeros(channels), list[ir.Node]()
    value, reader = node.inputs[0], node
    reason: str | None = None
    while value is not None:
        producer = value.producer()
        if producer is None or not is_op(producer, *_ARITHMETIC) or producer.graph is not node.graph:
            break
        data = next((item for item in producer.inputs if constant_tensor(item) is None), None)
        if data is None or sum(item is data for item in producer.inputs) != 1:
            break
        if all(constant_tensor(item) is None for item in producer.inputs):
            break
        found = channel_affine(producer, data, channels, len(sizes))
        reason = found if isinstance(found, str) else used_elsewhere(value, reader)
        if reason is not None or isinstance(found, str):
            break
        # Read backwards: what is further from the convolution is applied first.
        factor, shift = factor * found[0], factor * found[1] + shift
        nodes.append(producer)
        value, reader = data, producer
    if not nodes or value is None:
        return reason
    return _Chain(source=value, nodes=tuple(nodes), factor=factor, shift=shift)


def _folded(node: ir.Node, weight: Array, factor: Floats, shift: Floats) -> tuple[Array, Floats | None]:
    """Return the weight for unscaled input, in its dtype, and the bias; None where there is none."""
    group, outputs, per_group = attribute_int(node, "group", 1), weight.shape[0], weight.shape[1]
    ones = [1] * (weight.ndim - 2)

    def rows(numbers: Floats) -> Floats:
        per_output = numbers.reshape(group, 1, per_group).repeat(outputs // group, axis=1)
        return per_output.reshape(outputs, per_group, *ones)

    wide = weight.astype(np.float64)
    axes = tuple(range(1, weight.ndim))
    tensor = constant_tensor(input_of(node, 2))
    bias = None if tensor is None else tensor.numpy().astype(np.float64)
    if shift.any():
        moved = (wide * rows(shift)).sum(axis=axes)
        bias = moved if bias is None else bias + moved
    return (wide * rows(factor)).astype(weight.dtype), bias
