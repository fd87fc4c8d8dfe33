"""Numpy arrays and scalars in a checkpoint's pickle: numeric ones, built from the bytes at hand."""

import math
import re

import numpy as np

from graphopt.core.errors import CheckpointError
from graphopt.core.tensors import Array
from graphopt.exporters.pickle_machine import Stub
from graphopt.exporters.tensor_records import sizes


class NumpyType:
    """A numeric dtype: first its name, then, as its state, the byte order.

    Raises:
        TypeError: the name is not of a plain numeric dtype.
    """

    def __init__(self, name: object) -> None:
        if not (isinstance(name, str) and re.fullmatch(r"[<>|=]?([fiu][1248]|b1)", name)):
            raise TypeError("no plain numeric dtype")
        self.dtype = np.dtype(name)

    def set_state(self, state: object) -> None:
        """Take over the byte order."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class NumpyRecord:
    """An array; its content comes as its state.

    Attributes:
        array: None until the state came, and for arrays of objects.
    """

    def __init__(self, *_: object) -> None:
        self.array: Array | None = None

    def set_state(self, state: object) -> None:
        """Take over version, shape, dtype, order and bytes.

        Raises:
            CheckpointError: shape and bytes contradict each other.
        """
        if not (isinstance(state, tuple) and len(state) == 5):
            raise CheckpointError("it has a numpy array of an unknown kind")
        _, shape, kind, fortran, content = state
        if isinstance(kind, NumpyType):
            flat = np.frombuffer(_bytes(content), kind.dtype)
            if math.prod(sizes(shape)) != flat.size:
                raise CheckpointError(
                    f"it has a numpy array of {flat.size} elements for shape {list(sizes(shape))}"
                )
            array = flat.reshape(sizes(shape), order="F" if fortran is True else "C")
            self.array = array.astype(kind.dtype.newbyteorder("="), order="C")


def numpy_type(name: object = None, *_: object) -> NumpyType | Stub:
    """Stand for ``numpy.dtype(name, align, copy)``; a stub unless it is numeric."""
    try:
        return NumpyType(name)
    except TypeError:
        return Stub("numpy.dtype of no plain number")


def numpy_scalar(kind: object, content: object = b"") -> object:
    """Stand for ``numpy.core.multiarray.scalar(dtype, bytes)``: a Python number."""
    if not isinstance(kind, NumpyType):
        return Stub("a numpy scalar that is no plain number")
    return np.frombuffer(_bytes(content), kind.dtype, count=1)[0].item()


def encoded(text: object, encoding: object = "latin1") -> bytes:
    """Stand for ``_codecs.encode``: how protocol 2 writes bytes.

    Raises:
        TypeError: another encoding than latin-1, which is the only one used for that.
    """
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("bytes are written as latin-1 text")
    return text.encode("latin-1")


def _bytes(content: object) -> bytes | bytearray:
    if isinstance(content, str):
        return content.encode("latin-1")  # Python 2 wrote bytes as text
    if not isinstance(content, (bytes, bytearray)):
        raise TypeError("no bytes")
    return content
