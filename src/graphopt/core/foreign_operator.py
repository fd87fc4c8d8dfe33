"""What is known of an operator that is not ONNX's own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import onnx
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.versioned_ops import VersionedOps

AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...]
_READERS: Mapping[ir.AttributeType, Callable[[ir.Attr], AttributeValue]] = {
    ir.AttributeType.INT: lambda item: item.as_int(),
    ir.AttributeType.FLOAT: lambda item: item.as_float(),
    ir.AttributeType.STRING: lambda item: item.as_string(),
    ir.AttributeType.INTS: lambda item: tuple(item.as_ints()),
    ir.AttributeType.FLOATS: lambda item: tuple(item.as_floats()),
}


@dataclass(frozen=True, kw_only=True)
class Operand:
    """What is known of an input.

    Attributes:
        dtype: None when unknown.
        shape: sizes; a str is symbolic, None unknown; None as a whole when the rank is unknown.
    """

    dtype: ir.DataType | None = None
    shape: tuple[int | str | None, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Call:
    """One use of an operator: all that its body and its limits may depend on.

    Attributes:
        label: names the node in messages.
        attributes: by name; lists are tuples. Those of other types (graphs, references) are left out.
        inputs: None is an input that is left out; there are none behind the last one that is given.
        outputs: how many the node has.
        opset: version of the standard operators that the model follows.
    """

    label: str
    attributes: Mapping[str, AttributeValue]
    inputs: tuple[Operand | None, ...]
    outputs: int
    opset: int

    def has_input(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def dtype(self, index: int) -> ir.DataType:
        """Return the dtype of an input; float32, which networks are made of, when it is unknown."""
        found = self.inputs[index] if index < len(self.inputs) else None
        return ir.DataType.FLOAT if found is None or found.dtype is None else found.dtype

    def sizes(self, index: int) -> tuple[int | str | None, ...] | None:
        """Return the shape of an input as far as it is known."""
        found = self.inputs[index] if index < len(self.inputs) else None
        return None if found is None else found.shape

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an INT attribute.

        Raises:
            PreconditionError: it is of another type, or missing without a default.
        """
        value = self._get(name, default)
        if not isinstance(value, int):
            raise self._wrong(name, "an integer", value)
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a FLOAT attribute (an INT will do); see ``integer``."""
        value = self._get(name, default)
        if not isinstance(value, (int, float)):
            raise self._wrong(name, "a number", value)
        return float(value)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a STRING attribute; see ``integer``."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return an INTS attribute; see ``integer``."""
        value = self._get(name, None if default is None else tuple(default))
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
            raise self._wrong(name, "a list of integers", value)
        return tuple(int(item) for item in value)

    def numbers(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """Return a FLOATS attribute; see ``integer``."""
        value = self._get(name, None if default is None else tuple(default))
        if not isinstance(value, tuple):
            raise self._wrong(name, "a list of numbers", value)
        return tuple(float(item) for item in value)

    def _get(self, name: str, default: AttributeValue | None) -> AttributeValue:
        value = self.attributes.get(name, default)
        if value is None:
            raise PreconditionError(f"{self.label} lacks the attribute {name}")
        return value

    def _wrong(self, name: str, wanted: str, value: object) -> PreconditionError:
        return PreconditionError(f"{self.label}: the attribute {name} is {value!r}, not {wanted}")


Body = Callable[[Call, VersionedOps, Sequence[ir.Value | None]], Sequence[ir.Value]]
"""Writes the standard operators that compute a call: (call, where to write, its inputs) -> its outputs.

Raises ``PreconditionError`` when the call is none that it understands.
"""


class Caution(str):
    """A broken limit that costs speed or precision and not the compilation; ``check`` yields it as such.

    Attributes:
        code: by which advice finds it, as of a finding of ``compile.support``.
    """

    __slots__ = ("code",)
    code: str

    def __new__(cls, text: str, code: str = "operator_limit") -> Self:
        """Make a clause with its code."""
        made = super().__new__(cls, text)
        made.code = code
        return made


def _no_complaint(call: Call) -> Iterable[str]:
    del call
    return ()


@dataclass(frozen=True, kw_only=True)
class ForeignOperator:
    """One operator.

    Attributes:
        op_type: its name in graphs.
        home: domain of its calls in memory and in the files that graphopt saves.
        domains: other domains under which it is written; ``load_model`` moves such calls home.
        is_target: whether a target reads it: there it stands bare in the default domain.
        shaped_like: returns for one call standard nodes of any opset from 9 that make its outputs, with
            the right dtypes and shapes, by its own names of inputs (all or some) and outputs; None when
            its attributes are not as they must be. Only inferences read them, nothing runs them.
        body: the same numbers in standard operators; None when nobody has written it.
        check: yields what a call breaks of the target's limits, as clauses; a ``Caution`` where the target
            takes the call all the same.
        attributes: types as the target's parser reads them; a graph with another type is refused there.
        batched: inputs with one entry per image along axis 0, as all outputs then have; empty when the
            operator does not treat images one by one.
        note: one line for lists of operators.
    """

    op_type: str
    home: str
    domains: tuple[str, ...] = ("",)
    is_target: bool = False
    shaped_like: Callable[[ir.Node], Sequence[onnx.NodeProto] | None]
    body: Body | None = None
    check: Callable[[Call], Iterable[str]] = _no_complaint
    attributes: Mapping[str, ir.AttributeType] = field(default_factory=dict)
    batched: tuple[int, ...] = ()
    note: str = ""


def attributes_of(node: ir.Node) -> dict[str, AttributeValue]:
    """Return the plain attributes of a node; lists are tuples."""
    return {
        name: _READERS[item.type](item)
        for name, item in node.attributes.items()
        if not item.is_ref() and item.type in _READERS
    }
