"""Tensors that hold sizes: what is known of their elements, and the shapes that follow from it.

ONNX's inference follows sizes into ``Reshape`` and a few others only. Here they are followed, element
by element, through the operators that move them, and every node that reads them is inferred again.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir

from graphopt.surgery.graph_queries import (
    ONNX_DOMAIN,
    attribute_int,
    constant_tensor,
    input_of,
    ints_of,
)
from graphopt.surgery.shapes import size_rules
from graphopt.surgery.shapes.broadcasting import broadcast_shape
from graphopt.surgery.shapes.shape_inference import (
    SMALL_BYTES,
    Inferred,
    inferred_of,
    shown_to_inference,
    tensor_proto,
    type_proto,
)
from graphopt.surgery.shapes.size_rules import Size, Sizes

_MADE_UP = "unk__"
"""Start of the names that ONNX's inference gives to unknown sizes; each inference counts anew."""
_OPEN = "open size of "
"""Start of the names that are given here."""
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
_HELD = (*_INTEGERS, ir.DataType.BOOL)
_ELEMENTWISE: Mapping[str, Callable[..., Size]] = {
    "Add": size_rules.add,
    "Div": size_rules.divide,
    "Equal": size_rules.equal,
    "Mul": size_rules.multiply,
    "Sub": size_rules.subtract,
    "Where": size_rules.where,
}


class SizePropagation:
    """One walk along main graph and subgraphs that knows more after each node.

    Args:
        model: is not changed.
        types: from ``ShapeInference``; refined in place.
        known: tensors of node outputs that are known already.
    """

    def __init__(
        self,
        model: ir.Model,
        types: dict[ir.Value, Inferred],
        known: Mapping[ir.Value, ir.TensorProtocol],
    ) -> None:
        self._opset = model.opset_imports.get("", 1)
        self._ir_version = model.ir_version
        self._types = types
        self._known = dict(known)
        self._partial: dict[ir.Value, Sizes] = {}
        self._improved: set[ir.Value] = set(known)
        self._symbols = {
            size
            for value in model.graph.inputs
            for size in (types[value].shape or ())
            if isinstance(size, str) and not size.startswith(_MADE_UP)
        }
        self.found: dict[ir.Value, ir.TensorProtocol] = {}
        """Outputs all of whose elements are known, apart from ``known``."""
        self.reshapes: dict[ir.Node, tuple[int, ...]] = {}
        """Reshape and Expand nodes with computed sizes for which constants would do."""
        self._makers: dict[str, Callable[[ir.Node], Sizes | None]] = {
            "Shape": self._shape,
            "Size": self._size,
            "Gather": self._gather,
            "Slice": self._slice,
            "Concat": self._concat,
            "Cast": self._cast,
            "Identity": self._same,
            "Unsqueeze": self._same,
            "Squeeze": self._same,
            "Reshape": self._same,
            **dict.fromkeys(_ELEMENTWISE, self._elementwise),
        }
        self._shapers: dict[str, Callable[[ir.Node], Sizes | None]] = {
            "ConstantOfShape": self._filled,
            "Expand": self._expand,
            "Reshape": self._reshape,
            "Resize": self._resize,
        }
        # Without names, all that can be said of an open size that is not an input's is that it is open.
        self._names_open_sizes = any(node.op_type == "Shape" for node in model.graph.all_nodes())
        for value in model.graph.inputs:
            self._name_open_sizes(value)
        for node in model.graph.all_nodes():
            self._visit(node)
        for value in self._improved & self._types.keys():
            found = self._types[value]
            self._types[value] = replace(found, shape=_without_made_up(found.shape))

    def _visit(self, node: ir.Node) -> None:
        if any(value in self._improved for value in node.inputs):
            self._infer_again(node)
        shaper = self._shapers.get(node.op_type) if node.domain == ONNX_DOMAIN else None
        shape = shaper(node) if shaper is not None else None
        if shape is not None:
            self._refine(node.outputs[0], Inferred(dtype=self._types[node.outputs[0]].dtype, shape=shape))
        for value in node.outputs:
            self._name_open_sizes(value)
        maker = self._makers.get(node.op_type)
        sizes = maker(node) if maker is not None and node.domain == ONNX_DOMAIN else None
        if sizes is None:
            return
        output = node.outputs[0]
        self._partial[output] = sizes
        if output in self._known or not all(isinstance(size, int) for size in sizes):
            return
        found = self._types[output]
        if found.dtype in _HELD and found.static in ((), (len(sizes),)):
            array = np.array(sizes, dtype=found.dtype.numpy()).reshape(found.static)
            self.found[output] = self._known[output] = ir.Tensor(array)
            self._improved.add(output)

    def _infer_again(self, node: ir.Node) -> None:
        dynamic = [value for value in node.outputs if value.name and self._types[value].static is None]
        if not dynamic:
            return
        proto = shown_to_inference(node)
        if proto.domain != ONNX_DOMAIN or not onnx.defs.has(proto.op_type, self._opset):
            return
        schema = onnx.defs.get_schema(proto.op_type, self._opset)
        inputs = {value.name or "": value for value in node.inputs if value is not None}
        data = {name: self._small_tensor(value) for name, value in inputs.items()}
        try:
            outputs = onnx.shape_inference.infer_node_outputs(
                schema,
                proto,
                {name: type_proto(self._types[value]) for name, value in inputs.items()},
                {name: tensor for name, tensor in data.items() if tensor is not None},
                opset_imports=[onnx.helper.make_opsetid("", self._opset)],
                ir_version=self._ir_version,
            )
        except onnx.shape_inference.InferenceError:
            return  # a contradiction is reported by the inference of the whole model
        for value in dynamic:
            info = outputs.get(value.name or "")
            found = inferred_of(info) if info is not None else None
            if found is not None:
                self._refine(value, found)

    def _refine(self, value: ir.Value, found: Inferred) -> None:
        """Add to what is known of a value; numbers count more than names, and names than nothing."""
        old = self._types[value]
        if found.shape is None or (old.shape is not None and len(old.shape) != len(found.shape)):
            return
        shape = tuple(map(self._better, old.shape or (None,) * len(found.shape), found.shape))
        if shape != old.shape:
            self._types[value] = Inferred(dtype=old.dtype or found.dtype, shape=shape)
            self._improved.add(value)

    def _better(self, old: Size, new: Size) -> Size:
        return new if self._told(new) > self._told(old) else old

    def _name_open_sizes(self, value: ir.Value) -> None:
        """Give each open size a name of its own, so that it is known again where it comes back."""
        found = self._types.get(value)
        if not self._names_open_sizes or found is None or found.shape is None:
            return
        if all(self._told(size) for size in found.shape):
            return
        names = [
            size if self._told(size) else f"{_OPEN}{value.name}:{i}" for i, size in enumerate(found.shape)
        ]
        self._symbols.update(name for name in names if isinstance(name, str))
        self._types[value] = replace(found, shape=tuple(names))
        self._improved.add(value)

    def _told(self, size: Size) -> int:
        return 2 if isinstance(size, int) else int(size in self._symbols)

    def _small_tensor(self, value: ir.Value) -> onnx.TensorProto | None:
        tensor = self._known.get(value) or constant_tensor(value)
        return None if tensor is None or tensor.nbytes > SMALL_BYTES else tensor_proto(tensor, value.name)

    def _size(self, node: ir.Node) -> Sizes | None:
        source = input_of(node, 0)
        static = self._types[source].static if source is not None else None
        return None if static is None else (math.prod(static),)

    def _concat(self, node: ir.Node) -> Sizes | None:
        parts = [self._sizes(value) for value in node.inputs]
        return None if None in parts else tuple(size for part in parts for size in part or ())

    def _cast(self, node: ir.Node) -> Sizes | None:
        return self._same(node) if attribute_int(node, "to", 0) in _INTEGERS else None

    def _same(self, node: ir.Node) -> Sizes | None:
        return self._sizes(input_of(node, 0)) if self._rank(node.outputs[0]) in (0, 1) else None

    def _sizes(self, value: ir.Value | None) -> Sizes | None:
        if value is None or value in self._partial or value not in self._types:
            return self._partial.get(value) if value is not None else None
        rank, dtype = self._rank(value), self._types[value].dtype
        if rank not in (0, 1) or dtype not in _HELD:
            return None
        tensor = self._known.get(value) or constant_tensor(value)
        if tensor is not None and tensor.nbytes <= SMALL_BYTES:
            return tuple(int(item) for item in tensor.numpy().ravel())
        static = self._types[value].static
        return None if static is None or sum(static) > SMALL_BYTES else (None,) * int(np.prod(static))

    def _rank(self, value: ir.Value) -> int | None:
        found = self._types.get(value)
        return None if found is None or found.shape is None else len(found.shape)

    def _shape(self, node: ir.Node) -> Sizes | None:
        source = input_of(node, 0)
        sizes = self._shape_of(source)
        if sizes is None:
            return None
        end = node.attributes.get("end")
        # Python's slices clamp and count from the end just as start and end do.
        return sizes[attribute_int(node, "start", 0) : None if end is None else end.as_int()]

    def _gather(self, node: ir.Node) -> Sizes | None:
        sizes, chosen = self._sizes(input_of(node, 0)), self._sizes(input_of(node, 1))
        if sizes is None or chosen is None or self._rank(node.outputs[0]) not in (0, 1):
            return None
        places = [index for index in chosen if isinstance(index, int) and -len(sizes) <= index < len(sizes)]
        return tuple(sizes[index] for index in places) if len(places) == len(chosen) else None

    def _slice(self, node: ir.Node) -> Sizes | None:
        sizes = self._sizes(input_of(node, 0))
        if self._opset < 10:
            starts, ends = (list(node.attributes[name].as_ints()) for name in ("starts", "ends"))
            steps: list[int] | None = [1]
        else:
            given = [ints_of(input_of(node, index)) for index in (1, 2)]
            starts, ends = (item or [] for item in given)
            steps = [1] if input_of(node, 4) is None else ints_of(input_of(node, 4))
        if sizes is None or len(starts) != 1 or len(ends) != 1 or not steps or steps[0] < 1:
            return None
        return sizes[starts[0] : ends[0] : steps[0]]

    def _elementwise(self, node: ir.Node) -> Sizes | None:
        parts = [self._sizes(value) for value in node.inputs]
        known = [part for part in parts if part is not None]
        if len(known) != len(parts) or self._rank(node.outputs[0]) not in (0, 1):
            return None
        return size_rules.elementwise(_ELEMENTWISE[node.op_type], *known)

    def _filled(self, node: ir.Node) -> Sizes | None:
        return self._sizes(input_of(node, 0))

    def _expand(self, node: ir.Node) -> Sizes | None:
        own, sizes = self._shape_of(input_of(node, 0)), self._sizes(input_of(node, 1))
        if sizes is None:
            return None
        self._note(node, sizes, size_rules.sizes_for_expand(own, sizes))
        return broadcast_shape([own, tuple(None if size == -1 else size for size in sizes)])

    def _reshape(self, node: ir.Node) -> Sizes | None:
        own, sizes = self._shape_of(input_of(node, 0)), self._sizes(input_of(node, 1))
        if sizes is None or attribute_int(node, "allowzero", 0):
            return None
        self._note(node, sizes, size_rules.sizes_for_reshape(own, sizes))
        return size_rules.reshaped(own, sizes) if own is not None else None

    def _resize(self, node: ir.Node) -> Sizes | None:
        """Return the sizes that a Resize is given, of which some may be open."""
        if self._opset < 11 or any(name in node.attributes for name in ("axes", "keep_aspect_ratio_policy")):
            return None
        sizes = self._sizes(input_of(node, 3))
        return (
            sizes
            if sizes is not None and len(sizes) == len(self._shape_of(input_of(node, 0)) or ())
            else None
        )

    def _note(self, node: ir.Node, sizes: Sizes, wanted: tuple[int, ...] | None) -> None:
        """Note constants for sizes that are not all known, if they say the same for any input."""
        if wanted is not None and not all(isinstance(size, int) for size in sizes):
            self.reshapes[node] = wanted

    def _shape_of(self, value: ir.Value | None) -> Sizes | None:
        found = self._types.get(value) if value is not None else None
        if found is None or found.shape is None:
            return None
        return tuple(s if isinstance(s, int) or s in self._symbols else None for s in found.shape)


def _without_made_up(shape: Sizes | None) -> Sizes | None:
    if shape is None:
        return None
    return tuple(None if isinstance(size, str) and size.startswith(_OPEN) else size for size in shape)
