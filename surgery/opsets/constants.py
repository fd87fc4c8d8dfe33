"""Constants and casts: shorter spellings that came later."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.opsets.place import Blocked, Place, Rewrite, replacing
from graphopt.surgery.versioned_builder import VersionedBuilder

_NUMBERS: dict[str, Callable[[ir.Attr], Array]] = {
    "value_float": lambda item: np.array(item.as_float(), dtype=np.float32),
    "value_floats": lambda item: np.array(item.as_floats(), dtype=np.float32),
    "value_int": lambda item: np.array(item.as_int(), dtype=np.int64),
    "value_ints": lambda item: np.array(item.as_ints(), dtype=np.int64),
}


def _constant(place: Place) -> Rewrite | None:
    node = place.node
    if not place.crosses(12):
        return None
    name, attribute = next(iter(node.attributes.items()))
    if name == "value":
        return None
    if attribute.is_ref() or name not in _NUMBERS:
        raise Blocked(f"{name} has no counterpart in opset {place.to}")
    tensor = ir.Tensor(_NUMBERS[name](attribute))

    def rewrite(new: VersionedBuilder) -> None:
        del new
        node.attributes.pop(name)
        node.attributes["value"] = ir.AttrTensor("value", tensor)

    return rewrite


def _cast_like(place: Place) -> Rewrite | None:
    if not place.crosses(15):
        return None
    node, dtype = place.node, place.dtype(1)
    return replacing(
        node, lambda new: new.op("Cast", node.inputs[0], attributes={"to": dtype.value}, like=node.outputs[0])
    )


def _cast(place: Place) -> Rewrite | None:
    node = place.node
    target = ir.DataType(place.integer("to", 0))
    if target.name.startswith(("BFLOAT", "FLOAT8", "FLOAT4", "INT4", "UINT4", "INT2", "UINT2")):
        raise Blocked(f"it casts to {target}, which opset {place.to} does not have")

    def rewrite(new: VersionedBuilder) -> None:
        del new
        for name in ("saturate", "round_mode"):  # they matter for types that are refused above
            node.attributes.pop(name, None)

    return rewrite


ADAPTERS = {"Cast": _cast, "CastLike": _cast_like, "Constant": _constant}
