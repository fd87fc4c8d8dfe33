"""Random numbers: the plugins make them in few data types."""

from collections.abc import Iterator

import onnx_ir as ir

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, unsupported

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
_TAKEN = {"Multinomial": _INTEGERS, "RandomUniform": (*_FLOATS, *_INTEGERS)}


def dtype_is_made(place: Place) -> Iterator[Finding]:
    """The attribute dtype is one that the plugin knows."""
    if not place.has("dtype"):
        return
    kind, taken = ir.DataType(place.integer("dtype", 1)), _TAKEN.get(place.op, _FLOATS)
    if kind not in taken:
        named = ", ".join(item.name.lower() for item in taken)
        yield unsupported("random_dtype", f"dtype {kind.name.lower()}; {named} are taken", "OPS")


RULES: Rules = {
    "Multinomial": (dtype_is_made,),
    "RandomNormal": (dtype_is_made,),
    "RandomNormalLike": (dtype_is_made,),
    "RandomUniform": (dtype_is_made,),
    "RandomUniformLike": (dtype_is_made,),
}
