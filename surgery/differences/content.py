"""Compare constants by their bytes, a piece at a time, and only when it is asked for."""

import hashlib

import numpy as np
import onnx_ir as ir

from graphopt.core.file_tensors import FileTensor, StrippedTensor

_CHUNK = 1 << 22
_SHOWN = 6


class Contents:
    """Compares tensors; each pair once.

    Attributes:
        unknown: names of tensors whose values are in neither or only one of the files (stripped
            weights), so that only dtype and shape were compared.
    """

    def __init__(self) -> None:
        self.unknown: set[str] = set()
        self._known: dict[tuple[int, int], bool] = {}
        self._kept: list[ir.TensorProtocol] = []  # ids stay theirs

    def equal(self, before: ir.TensorProtocol, after: ir.TensorProtocol) -> bool:
        """Return whether two tensors have the same dtype, shape and bytes."""
        if before.dtype != after.dtype or tuple(before.shape) != tuple(after.shape):
            return False
        key = id(before), id(after)
        if key not in self._known:
            self._kept += (before, after)
            self._known[key] = self._compare(before, after)
        return self._known[key]

    def digest(self, tensor: ir.TensorProtocol) -> str:
        """Return a hash of dtype, shape and bytes; empty when the bytes are not there."""
        if isinstance(tensor, StrippedTensor):
            return ""
        digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
        if isinstance(tensor, FileTensor):
            view = tensor.source.view(tensor.span)
            for start in range(0, len(view), _CHUNK):
                digest.update(view[start : start + _CHUNK])
        else:
            digest.update(_bytes(tensor))
        return digest.hexdigest()

    def _compare(self, before: ir.TensorProtocol, after: ir.TensorProtocol) -> bool:
        if isinstance(before, StrippedTensor) or isinstance(after, StrippedTensor):
            self.unknown.add(after.name or before.name or "")
            return True
        if isinstance(before, FileTensor) and isinstance(after, FileTensor):
            mine, theirs = before.source.view(before.span), after.source.view(after.span)
            if len(mine) != len(theirs):
                return False
            pieces = range(0, len(mine), _CHUNK)
            return all(_same(mine[i : i + _CHUNK], theirs[i : i + _CHUNK]) for i in pieces)
        return _bytes(before) == _bytes(after)


def tensor_text(tensor: ir.TensorProtocol) -> str:
    """Return a constant as ``int64[4] 1 256 80 80``; only the type of a large one."""
    shape = "x".join(str(size) for size in tensor.shape) or "scalar"
    kind = f"{dtype_text(tensor.dtype)}[{shape}]"
    if tensor.size > _SHOWN or isinstance(tensor, StrippedTensor):
        return kind
    values = tensor.numpy().ravel().tolist()
    return f"{kind} {' '.join(f'{v:.6g}' if isinstance(v, float) else str(v) for v in values)}".strip()


def dtype_text(dtype: ir.DataType | None) -> str:
    """Return a dtype by numpy's name; empty when it is unknown."""
    if dtype is None:
        return ""
    return "string" if dtype is ir.DataType.STRING else str(dtype.numpy())


def _same(mine: memoryview, theirs: memoryview) -> bool:
    return bool(np.array_equal(np.frombuffer(mine, np.uint8), np.frombuffer(theirs, np.uint8)))


def _bytes(tensor: ir.TensorProtocol) -> bytes:
    if tensor.dtype is ir.DataType.STRING:
        return repr(tensor.numpy().tolist()).encode()
    return bytes(tensor.tobytes())
