"""A node as rules look at it: attributes, constants, and the types of what it reads."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import onnx_ir as ir

from graphopt.compile.atc.soc import family_of
from graphopt.compile.support.releases import Release
from graphopt.compile.support.verdicts import Finding
from graphopt.core.file_tensors import StrippedTensor
from graphopt.core.tensors import Array

_LARGEST_READ = 4096
"""Bytes of a constant that rules look into: indices, sizes, bounds, slopes; not weights."""


class Typed(Protocol):
    """What is known of a tensor: dtype, and shape with names or None for open sizes."""

    @property
    def dtype(self) -> ir.DataType | None:
        """The dtype, or None."""
        ...

    @property
    def shape(self) -> tuple[int | str | None, ...] | None:
        """The shape, or None when not even the rank is known."""
        ...


TypeOf = Callable[[ir.Value], Typed]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What the model is checked for.

    Attributes:
        soc: normalised chip, ``Ascend310P3``.
        release: of CANN; None asks for all that the sources cover.
    """

    soc: str
    release: Release | None = None

    @property
    def family(self) -> str:
        """The chip's family, such as ``310P``."""
        return family_of(self.soc)

    @property
    def is_50(self) -> bool:
        """Whether it is one of the 5.0 releases, which had limits that are gone."""
        return self.release is not None and (self.release.major, self.release.minor) == (5, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """One node.

    Attributes:
        node: never changed.
        opset: of the standard operators where it stands.
        aim: what it is checked for.
        type_of: dtype and shape of a tensor.
    """

    node: ir.Node
    opset: int
    aim: Aim
    type_of: TypeOf
    _read: dict[int, Array | None] = field(default_factory=dict)

    @property
    def op(self) -> str:
        """The operator."""
        return self.node.op_type

    def value(self, index: int) -> ir.Value | None:
        """Return an input; None when it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def has_output(self, index: int) -> bool:
        """Whether an output is asked for."""
        if index >= len(self.node.outputs) or not self.node.outputs[index].name:
            return False
        output = self.node.outputs[index]
        return bool(output.uses()) or output.is_graph_output()

    def dtype(self, index: int) -> ir.DataType | None:
        """Return the dtype of an input; None when unknown or left out."""
        value = self.value(index)
        return None if value is None else self.type_of(value).dtype

    def shape(self, index: int) -> tuple[int | str | None, ...] | None:
        """Return the shape of an input; None when unknown or left out."""
        value = self.value(index)
        return None if value is None else self.type_of(value).shape

    def output_shape(self) -> tuple[int | str | None, ...] | None:
        """Return the shape of the first output."""
        return self.type_of(self.node.outputs[0]).shape if self.node.outputs else None

    def rank(self, index: int = 0) -> int | None:
        """Return the number of axes of an input; None when unknown."""
        shape = self.shape(index)
        return None if shape is None else len(shape)

    def tensor(self, index: int) -> ir.TensorProtocol | None:
        """Return the constant that an input always is, unread; else None."""
        return constant_of(self.value(index))

    def array(self, index: int) -> Array | None:
        """Return a small constant input; None when it is computed, large or left out."""
        if index not in self._read:
            tensor = self.tensor(index)
            there = tensor is not None and not isinstance(tensor, StrippedTensor)
            small = tensor is not None and there and tensor.nbytes <= _LARGEST_READ
            self._read[index] = tensor.numpy() if tensor is not None and small else None
        return self._read[index]

    def is_computed(self, index: int) -> bool:
        """Whether an input is there and no constant."""
        return self.value(index) is not None and self.tensor(index) is None

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        found = self._attribute(name, ir.AttributeType.INT)
        return default if found is None else int(found.value)

    def number(self, name: str, default: float) -> float:
        """Return a float attribute."""
        found = self._attribute(name, ir.AttributeType.FLOAT)
        return default if found is None else float(found.value)

    def text(self, name: str, default: str = "") -> str:
        """Return a text attribute."""
        found = self._attribute(name, ir.AttributeType.STRING)
        return default if found is None else str(found.value)

    def integers(self, name: str) -> tuple[int, ...]:
        """Return an attribute of several integers; empty when it is left out."""
        found = self._attribute(name, ir.AttributeType.INTS)
        return () if found is None else tuple(int(item) for item in found.value)

    def has(self, name: str) -> bool:
        """Whether an attribute is written."""
        return name in self.node.attributes

    def _attribute(self, name: str, kind: ir.AttributeType) -> ir.Attr | None:
        found = self.node.attributes.get(name)
        return found if found is not None and not found.is_ref() and found.type == kind else None


Rules = Mapping[str, tuple[Callable[["Place"], Iterator[Finding]], ...]]
"""By operator; each rule yields ``Finding``s for a place."""


def constant_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the constant that a value always is: an initializer or a ``Constant``; else None."""
    while value is not None:
        node = value.producer()
        if node is None:
            return value.const_value if value.is_initializer() and not value.is_graph_input() else None
        if node.domain == "" and node.op_type == "Identity":
            value = node.inputs[0]
            continue
        return _of_constant(node) if node.domain == "" and node.op_type == "Constant" else None
    return None


def _of_constant(node: ir.Node) -> ir.TensorProtocol | None:
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            return None
        if name == "value":
            return attribute.as_tensor()
        if name in ("value_int", "value_ints"):
            return ir.Tensor(np.array(attribute.value, dtype=np.int64))
        if name in ("value_float", "value_floats"):
            return ir.Tensor(np.array(attribute.value, dtype=np.float32))
    return None
