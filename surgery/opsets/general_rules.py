"""What holds for every operator: attributes, inputs and dtypes that an older version does not have."""

from typing import Any

import onnx
import onnx_ir as ir

from graphopt.surgery.graph_queries import has_attribute_references
from graphopt.surgery.opsets.place import Blocked, Place, Rewrite
from graphopt.surgery.versioned_builder import VersionedBuilder

_WIDER = (ir.DataType.INT32, ir.DataType.INT64, ir.DataType.FLOAT)
_EXACT_IN_A_WIDER_TYPE = frozenset(("Abs", "ArgMax", "ArgMin", "Greater", "Less", "MaxPool", "Sign"))
"""Operators that pick or compare: the wider type holds each value, and the result is one of them."""
_HOLDS = {
    ir.DataType.INT32: (
        ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16),
    ir.DataType.INT64: (ir.DataType.INT32, ir.DataType.UINT32),
    ir.DataType.FLOAT: (
        ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16,
        ir.DataType.FLOAT16),
}  # fmt: skip


def schema_of(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """Return the description of a standard operator in an opset; None when it is not in it."""
    return onnx.defs.get_schema(op_type, opset, "") if onnx.defs.has(op_type, opset, "") else None


def is_the_same(place: Place) -> bool:
    """Whether the operator did not change between the two opsets."""
    now, then = schema_of(place.node.op_type, place.opset), schema_of(place.node.op_type, place.to)
    return now is not None and then is not None and now.since_version == then.since_version


def is_taken(place: Place) -> bool:
    """Whether the older operator takes all dtypes of the node's inputs."""
    then = schema_of(place.node.op_type, place.to)
    return then is not None and not _refused(place, then)[0]


def general_rewrite(place: Place) -> Rewrite:
    """Say how a node without an adapter is written in the older opset.

    Attributes that it lacks are dropped where they say the default; a dtype that it lacks is worked
    around in a wider one, where that is exact.

    Raises:
        Blocked: it cannot be.
    """
    node = place.node
    now, then = schema_of(node.op_type, place.opset), schema_of(node.op_type, place.to)
    if then is None:
        raise Blocked(f"{node.op_type} is not in opset {place.to}, and nothing here writes it out")
    if has_attribute_references(node):
        raise Blocked("an attribute comes from the caller of its function")
    dropped = _dropped_attributes(place, now, then)
    _check_inputs(place, then)
    wide = _wider_type(place, then)

    def rewrite(new: VersionedBuilder) -> None:
        for name in dropped:
            node.attributes.pop(name)
        if wide is not None:
            _work_in(new, place, wide)

    return rewrite


def _dropped_attributes(place: Place, now: onnx.defs.OpSchema | None, then: onnx.defs.OpSchema) -> list[str]:
    dropped = []
    for name, attribute in place.node.attributes.items():
        if name in then.attributes:
            continue
        default = now.attributes[name].default_value if now is not None and name in now.attributes else None
        if default is None or ir.serde.deserialize_attribute(default).value != attribute.value:
            raise Blocked(f"{name} = {_shown(attribute)} has no counterpart in opset {place.to}")
        dropped.append(name)
    for name, old in then.attributes.items():
        fresh = now.attributes.get(name) if now is not None else None
        if name in place.node.attributes or fresh is None:
            continue
        if fresh.default_value != old.default_value:
            raise Blocked(f"the default of {name} is another one in opset {place.to}")
    return dropped


def _shown(attribute: ir.Attr) -> object:
    return list(attribute.value) if isinstance(attribute.value, tuple) else attribute.value


def _check_inputs(place: Place, then: onnx.defs.OpSchema) -> None:
    given = len(place.node.inputs)
    while given and place.node.inputs[given - 1] is None:
        given -= 1
    if given > then.max_input:
        raise Blocked(f"it has {given} inputs, in opset {place.to} at most {then.max_input}")
    if len([value for value in place.node.outputs if value.name]) > then.max_output:
        raise Blocked(f"it has more outputs than in opset {place.to}")
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    for index, formal in enumerate(then.inputs):
        if formal.option == single and place.input(index) is None:
            raise Blocked(f"its input {index} ({formal.name}) is left out, and required in opset {place.to}")


def _wider_type(place: Place, then: onnx.defs.OpSchema) -> ir.DataType | None:
    """Return the dtype to work in when the older operator does not take the node's own."""
    refused, allowed = _refused(place, then)
    if not refused:
        return None
    names = ", ".join(sorted(str(item) for item in refused))
    if place.node.op_type in _EXACT_IN_A_WIDER_TYPE and len(refused) == 1:
        for wide in _WIDER:
            if refused <= set(_HOLDS[wide]) and _type_text(wide) in allowed:
                return wide
    raise Blocked(f"it takes no {names} in opset {place.to}")


def _refused(place: Place, then: onnx.defs.OpSchema) -> tuple[set[ir.DataType], set[str]]:
    formals = [*then.inputs, *list(then.inputs)[-1:] * len(place.node.inputs)]
    refused: set[ir.DataType] = set()
    allowed: set[str] = set()
    for value, formal in zip(place.node.inputs, formals, strict=False):
        found = place.types.of(value).dtype or (value.dtype if value is not None else None)
        if found is not None and _type_text(found) not in formal.types:
            refused.add(found)
            allowed = set(formal.types)
    return refused, allowed


def _type_text(dtype: ir.DataType) -> str:
    names = {"FLOAT": "float", "DOUBLE": "double"}
    return f"tensor({names.get(dtype.name, dtype.name.lower())})"


def _work_in(new: VersionedBuilder, place: Place, wide: ir.DataType) -> None:
    node = place.node
    own = place.dtype(0)
    for index, value in enumerate(node.inputs):
        if value is not None and place.types.of(value).dtype == own:
            cast = new.op("Cast", value, attributes={"to": wide.value})
            node.replace_input_with(index, cast)
    made = place.types.of(node.outputs[0]).dtype
    if made == own:
        inner = new.op(node.op_type, *node.inputs, attributes=_plain(node))
        new.replace(new.op("Cast", inner, attributes={"to": own.value}, like=node.outputs[0]))


def _plain(node: ir.Node) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in node.attributes.items()}
