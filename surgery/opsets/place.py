"""A node that is to be written for an older opset, as its adapter sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.graph_queries import constant_of, input_of
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder


class Blocked(Exception):
    """A node that cannot be written in the older opset; says why, as a clause."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One node, looked at before anything is changed.

    Attributes:
        model: holds it.
        node: the node.
        opset: that it is written for.
        to: that it shall be written for.
        types: of the model before the change.
    """

    model: ir.Model
    node: ir.Node
    opset: int
    to: int
    types: KnownTypes

    def crosses(self, version: int) -> bool:
        """Whether what came with an opset has to be undone."""
        return self.opset >= version > self.to

    def input(self, index: int) -> ir.Value | None:
        """Return an input; None when it is left out."""
        return input_of(self.node, index)

    def ints(self, index: int, what: str) -> list[int] | None:
        """Return a constant integer input; None when it is left out.

        Raises:
            Blocked: it is computed.
        """
        value = self.input(index)
        if value is None:
            return None
        array = constant_of(value)
        if array is None:
            raise Blocked(f"its {what} are computed, and must be constant before opset {self.opset}")
        return [int(item) for item in array.ravel()]

    def dtype(self, index: int = 0) -> ir.DataType:
        """Return the dtype of an input.

        Raises:
            Blocked: it is not known.
        """
        value = self.input(index)
        found = self.types.of(value).dtype or (value.dtype if value is not None else None)
        if found is None:
            raise Blocked(f"the dtype of its input {index} is not known")
        return found

    def shape(self, index: int = 0) -> tuple[int | None, ...]:
        """Return the shape of an input, None for sizes that are not numbers.

        Raises:
            Blocked: not even the rank is known.
        """
        found = self.types.of(self.input(index)).shape
        if found is None:
            raise Blocked(f"the rank of its input {index} is not known")
        return tuple(size if isinstance(size, int) else None for size in found)

    def rank(self, index: int = 0) -> int:
        """Return the number of axes of an input.

        Raises:
            Blocked: it is not known.
        """
        return len(self.shape(index))

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        return self.node.attributes.get_int(name, default)

    def text(self, name: str, default: str) -> str:
        """Return a string attribute."""
        return self.node.attributes.get_string(name, default)


Rewrite = Callable[[VersionedBuilder], None]
"""Changes the node, or writes others in its place; called once all nodes have been looked at."""
Adapter = Callable[[Place], Rewrite | None]
"""Says how a node is written in the older opset: None when it is what the general rules make of it.

Raises ``Blocked`` when it cannot be.
"""


def replacing(node: ir.Node, write: Callable[[VersionedBuilder], Sequence[ir.Value] | ir.Value]) -> Rewrite:
    """Return a rewrite that puts what ``write`` makes in the place of the outputs."""

    def rewrite(new: VersionedBuilder) -> None:
        made = write(new)
        results = [made] if isinstance(made, ir.Value) else list(made)
        inputs = [value for value in node.inputs if value is not None]
        # A value that was there before must keep its name.
        results = [new.op("Identity", value, like=value) if value in inputs else value for value in results]
        new.replace(*results)

    return rewrite


def required(value: ir.Value | None) -> ir.Value:
    """Return an input that the operator cannot be without."""
    if value is None:
        raise ValueError("a required input is left out")
    return value


def axes_to_attribute(place: Place, index: int = 1, name: str = "axes") -> Rewrite:
    """Turn a constant input into an attribute.

    Raises:
        Blocked: it is computed.
    """
    values = place.ints(index, name)

    def rewrite(new: VersionedBuilder) -> None:
        del new
        place.node.resize_inputs(index)
        if values is not None:
            place.node.attributes[name] = ir.AttrInt64s(name, values)

    return rewrite
