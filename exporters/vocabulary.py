"""The closed list of names that mean something in a checkpoint's pickle; all others are stubs."""

from collections.abc import Callable, Mapping

from graphopt.exporters.numpy_records import NumpyRecord, encoded, numpy_scalar, numpy_type
from graphopt.exporters.pickle_machine import Constructor, Stub
from graphopt.exporters.tensor_records import (
    Element,
    rebuild_tensor,
    rebuild_tensor_v2,
    rebuild_tensor_v3,
    sizes,
)

_REBUILDERS: Mapping[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
    "torch_npu.utils.storage._rebuild_npu_tensor": rebuild_tensor,
}


def _parameter(data: object, *_: object) -> object:
    return data


def _from_type(function: object, _kind: object, arguments: object, *_: object) -> object:
    if isinstance(function, Constructor) and function.name in _REBUILDERS and isinstance(arguments, tuple):
        return function.build(*arguments)
    return Stub("a tensor of a class of its own")


def _mapping(*arguments: object) -> dict[object, object]:
    # Old protocols pass the items of an OrderedDict as a list of pairs.
    pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
    return {key: value for key, value in pairs if isinstance(key, str)}


def _sequence(*arguments: object) -> list[object]:
    return list(arguments[0]) if arguments and isinstance(arguments[0], (list, tuple)) else []


def _shape(items: object = ()) -> tuple[int, ...]:
    return sizes(items)


_FUNCTIONS: Mapping[str, Callable[..., object]] = {
    **_REBUILDERS,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _shape,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "_codecs.encode": encoded,
    "numpy.dtype": numpy_type,
    **{f"{module}.dict": _mapping for module in ("__builtin__", "builtins")},
    **{f"{module}.{kind}": _sequence for module in ("__builtin__", "builtins") for kind in ("set", "list")},
    **{f"numpy.{core}.multiarray._reconstruct": NumpyRecord for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": numpy_scalar for core in ("core", "_core")},
}

_STORAGES = {
    "Double": Element("float64"),
    "Float": Element("float32"),
    "Half": Element("float16"),
    "BFloat16": Element("uint16", bfloat16=True),
    "Long": Element("int64"),
    "Int": Element("int32"),
    "Short": Element("int16"),
    "Char": Element("int8"),
    "Byte": Element("uint8"),
    "Bool": Element("bool"),
    "ComplexFloat": Element("complex64"),
    "ComplexDouble": Element("complex128"),
    "Untyped": Element("uint8"),
}

_DTYPES = {
    **{f"torch.{item.dtype}": item for item in _STORAGES.values() if not item.bfloat16},
    **{f"torch.{name}": Element(name) for name in ("uint16", "uint32", "uint64")},
    "torch.bfloat16": _STORAGES["BFloat16"],
}

KNOWN: Mapping[str, object] = {
    **{
        f"{module}.{name}Storage": item
        for module in ("torch", "torch.cuda")
        for name, item in _STORAGES.items()
    },
    "torch.storage.UntypedStorage": _STORAGES["Untyped"],
    **_DTYPES,
    **{name: Constructor(name, function) for name, function in _FUNCTIONS.items()},
}
"""Dotted name to what stands for it."""
