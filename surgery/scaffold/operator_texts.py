"""The text of a new operator's file and of its test."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphopt.core.foreign_operator import AttributeValue

_READERS = {"INT": "integer", "FLOAT": "number", "STRING": "text", "INTS": "integers", "FLOATS": "numbers"}

_FILE = '''"""``{op_type}``: say what it computes.

Begun at {seen} of {model}.
Inputs: {inputs}.
Outputs: {outputs}.
Limits: what the target cannot do; none is known.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from graphopt.core.foreign_operator import Call, ForeignOperator
from graphopt.core.operator_shapes import shapes_from_body
from graphopt.core.versioned_ops import VersionedOps


def _body(call: Call, new: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    """Write {op_type} in standard operators."""
{unpack}
{attributes}
    # A node, and what it returns: new.op("Mul", {first}, new.constant(np.array(2, dtype=np.float32)))
    # Return {count}. For a call that is not understood raise graphopt.core.errors.PreconditionError.
    raise NotImplementedError("the body of {op_type} is not written yet")


def _check(call: Call) -> Iterable[str]:
    """Yield what a call breaks of the target's limits, as clauses."""
    return ()


OPERATOR = ForeignOperator(
    op_type="{op_type}",
    home="{home}",
    domains={domains},
    is_target=False,  # True when the target reads it, e.g. ATC with your operator package
    shaped_like=shapes_from_body(),
    body=_body,  # None when it cannot be written: models that call it then do not run here
    check=_check,
    attributes={{{kinds}}},
    note="say in a line what it is",
)
'''

_TEST = '''"""Whether the body of ``{op_type}`` computes what it should; fails until both are written."""

from pathlib import Path
from typing import Any

import numpy as np

from graphopt.core.operator_trial import run_call
from graphopt.core.plugins import load_plugin

OPERATOR = load_plugin(Path(__file__).resolve().with_name("{name}.py")).module.OPERATOR
ATTRIBUTES: dict[str, Any] = {values}
"""As they are at {seen}; a list is a tuple here."""


def made_inputs(rng: np.random.Generator) -> list[Any]:
    """Return inputs like those of {seen}."""
    return [
{made}
    ]


def reference({arguments}) -> Any:
    """Return with PyTorch what {op_type} computes: {returned}."""
    raise NotImplementedError("write with PyTorch what {op_type} computes")


def test_the_body_computes_what_pytorch_does() -> None:
    import torch

    inputs = made_inputs(np.random.default_rng(0))
    found = run_call(OPERATOR, inputs, attributes=ATTRIBUTES, outputs={outputs}, opset={opset})
    tensors = [None if array is None else torch.from_numpy(array) for array in inputs]
    expected = reference(*tensors)
    for mine, theirs in zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-5)


# Next: other settings than those of this node: sizes, each attribute, special values.
'''


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of the node.

    Attributes:
        name: a Python name for it.
        dtype: numpy's name; empty when unknown.
        shape: sizes as far as they are known; None when the rank is not.
        given: whether it is there at all.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    given: bool = True

    @property
    def text(self) -> str:
        """Name, dtype and shape, for people."""
        if not self.given:
            return f"{self.name}, left out here"
        sizes = (
            "of unknown shape"
            if self.shape is None
            else str([s if s is not None else "?" for s in self.shape])
        )
        return f"{self.name} {self.dtype or 'of unknown dtype'} {sizes.replace(chr(39), '')}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of the operator from one call.

    Attributes:
        op_type: of the node.
        domain: of the node.
        label: names the node.
        model: file name of its model.
        opset: of the model.
        inputs: of the node.
        outputs: of the node.
        attributes: name -> (type, value); None for a value that has no short form.
    """

    op_type: str
    domain: str
    label: str
    model: str
    opset: int
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    attributes: Mapping[str, tuple[str, AttributeValue | None]]


def operator_text(seen: Seen, *, home: str) -> str:
    """Return the file of an operator whose body is yet to be written."""
    names = [item.name for item in seen.inputs]
    together = f"({names[0]},)" if len(names) == 1 else ", ".join(names)
    unpack = f"    {together} = inputs" if names else "    # It has no inputs."
    reads = [f"    {_reading(name, kind, value)}" for name, (kind, value) in seen.attributes.items()]
    kinds = ", ".join(f'"{name}": ir.AttributeType.{kind}' for name, (kind, _) in seen.attributes.items())
    count = "one value" if len(seen.outputs) == 1 else f"{len(seen.outputs)} values"
    return _FILE.format(
        op_type=seen.op_type,
        seen=seen.label,
        model=seen.model,
        inputs="; ".join(item.text for item in seen.inputs) or "none",
        outputs="; ".join(item.text for item in seen.outputs),
        unpack=unpack,
        attributes="\n".join(reads) or "    # It has no attributes.",
        first=names[0] if names else "x",
        count=count,
        home=home,
        domains=f'("{seen.domain}",)' if seen.domain != home else "()",
        kinds=kinds,
    )


def test_text(name: str, seen: Seen) -> str:
    """Return the test that compares the body with PyTorch."""
    given = {key: value for key, (_, value) in seen.attributes.items() if value is not None}
    values = ", ".join(f'"{key}": {_literal(value)}' for key, value in given.items())
    return _TEST.format(
        op_type=seen.op_type,
        name=name,
        seen=seen.label,
        values=f"{{{values}}}",
        made="\n".join(f"        {_making(item)}" for item in seen.inputs),
        arguments=", ".join(f"{item.name}: Any" for item in seen.inputs),
        outputs=len(seen.outputs),
        returned="a tensor" if len(seen.outputs) == 1 else f"a tuple of {len(seen.outputs)} tensors",
        opset=seen.opset,
    )


def _reading(name: str, kind: str, value: AttributeValue | None) -> str:
    if kind not in _READERS:
        return f"# The attribute {name} is a {kind}: a body cannot depend on it."
    return f'{name} = call.{_READERS[kind]}("{name}")  # {_literal(value)} at this node'


def _literal(value: AttributeValue | None) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _making(item: Tensor) -> str:
    if not item.given:
        return f"None,  # {item.name}"
    sizes = tuple(size if isinstance(size, int) else 4 for size in item.shape or ())
    guessed = item.shape is None or any(not isinstance(size, int) for size in item.shape)
    note = f"# {item.name}" + (", sizes are guessed" if guessed else "")
    if item.dtype == "bool":
        return f"rng.random({sizes}) < 0.5,  {note}"
    if item.dtype.startswith(("int", "uint")):
        return f'rng.integers(0, 4, {sizes}).astype("{item.dtype}"),  {note}'
    return f'rng.standard_normal({sizes}).astype("{item.dtype or "float32"}"),  {note}'
