"""A model on its way to another process: its structure, and where its weights lie in files.

Neither the disk nor the memory gets a second copy of the weights: onnxruntime uses them where the
child process has read or mapped them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from graphopt.core.file_tensors import FileTensor
from graphopt.core.operator_bodies import attach_bodies
from graphopt.core.optional import require
from graphopt.core.tensors import Array

_LARGE_BYTES = 4096
"""Smaller tensors may be shapes or axes, which onnxruntime reads while it loads: they stay inside."""
_ALIGNMENT = 64
_NEWEST_IR = 10
"""The IR version says how a file is written, not what it computes; every onnxruntime reads this one."""


@dataclass(frozen=True)
class Weight:
    """A tensor in a file.

    Attributes:
        name: of the initializer.
        path: the file.
        offset: of its first byte.
        nbytes: its length, little endian, as ``raw_data`` has it.
        dtype: ONNX's number of the element type.
        shape: sizes.
    """

    name: str
    path: Path
    offset: int
    nbytes: int
    dtype: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LeanModel:
    """A model without its large weights.

    Attributes:
        structure: the serialized model.
        weights: what it lacks.
    """

    structure: bytes
    weights: tuple[Weight, ...]


def lean_model(model: ir.Model, spill: Path) -> LeanModel:
    """Take the large initializers out of a model; those in files are left where they are.

    Args:
        model: a copy for this use: its initializers are replaced.
        spill: file that gets the weights that are only in memory.
    """
    weights = []
    with spill.open("wb") as stream:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or not _can_be_outside(tensor):
                continue
            path, offset = spill, -(-stream.tell() // _ALIGNMENT) * _ALIGNMENT
            if isinstance(tensor, FileTensor):
                path, offset = tensor.source.path.absolute(), tensor.span.offset
            else:
                stream.seek(offset)
                stream.write(tensor.tobytes())
            shape = tuple(int(size) for size in tensor.shape.numpy())
            weights.append(Weight(name, path, offset, tensor.nbytes, tensor.dtype.value, shape))
            # onnxruntime looks whether the place exists, and reads nothing there.
            value.const_value = ir.ExternalTensor(
                spill.name, 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(shape), name=name
            )
    attach_bodies(model)
    model.ir_version = min(model.ir_version, _NEWEST_IR)
    return LeanModel(ir.to_proto(model).SerializeToString(), tuple(weights))


def runtime_values(weights: tuple[Weight, ...]) -> dict[str, Any]:
    """Return the weights as onnxruntime's values; two of the same place share their memory."""
    runtime: Any = require("onnxruntime", extra="onnxruntime", purpose="running an ONNX model")
    arrays: dict[tuple[Path, int], Array] = {}
    values = {}
    for weight in weights:
        key = (weight.path, weight.offset)
        if key not in arrays:
            arrays[key] = _array(weight)
        values[weight.name] = runtime.OrtValue.ortvalue_from_numpy_with_onnx_type(
            arrays[key].reshape(weight.shape), weight.dtype
        )
    return values


def _can_be_outside(tensor: ir.TensorProtocol) -> bool:
    return tensor.nbytes > _LARGE_BYTES and tensor.dtype in _STORED_AS


def _array(weight: Weight) -> Array:
    dtype = np.dtype(_STORED_AS[ir.DataType(weight.dtype)])
    count = weight.nbytes // dtype.itemsize
    if weight.offset % dtype.itemsize == 0:
        return np.memmap(weight.path, dtype, mode="c", offset=weight.offset, shape=(count,))
    return np.fromfile(weight.path, dtype, count=count, offset=weight.offset)


_STORED_AS = {
    ir.DataType.FLOAT: "<f4",
    ir.DataType.DOUBLE: "<f8",
    ir.DataType.FLOAT16: "<f2",
    ir.DataType.BFLOAT16: "<u2",
    ir.DataType.INT8: "i1",
    ir.DataType.INT16: "<i2",
    ir.DataType.INT32: "<i4",
    ir.DataType.INT64: "<i8",
    ir.DataType.UINT8: "u1",
    ir.DataType.UINT16: "<u2",
    ir.DataType.UINT32: "<u4",
    ir.DataType.UINT64: "<u8",
    ir.DataType.BOOL: "?",
}
"""What numpy reads a tensor's bytes as; of other types (strings, less than a byte) nothing is taken out."""
