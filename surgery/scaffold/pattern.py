"""What surrounds a node, as the steps by which a pass recognises it again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_queries import constant_tensor, input_of, label, shape_text, static_shape

_SHOWN = 8
_DEEPEST = 3
"""Longer chains make a pattern that fits nothing else."""


@dataclass(frozen=True, kw_only=True)
class Maker:
    """An input that a node must make.

    Attributes:
        variable: for the node that makes it.
        of: variable of the node that reads it.
        index: of the input.
        op_type: of the node that makes it.
        domain: of that operator.
        seen: the node in the model, for a comment.
    """

    variable: str
    of: str
    index: int
    op_type: str
    domain: str
    seen: str


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """An input that must be constant.

    Attributes:
        variable: for its array.
        of: variable of the node that reads it.
        reader: operator of that node.
        index: of the input.
        seen: its value in the model as Python writes it, or dtype and shape.
        exact: whether ``seen`` is the value.
    """

    variable: str
    of: str
    reader: str
    index: int
    seen: str
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """How to find a node again.

    Attributes:
        op_type: of the node.
        domain: of its operator.
        seen: the node in the model, for comments.
        drawing: the surroundings in one line, for the docstring.
        steps: what must hold above it, in an order in which each step needs only earlier ones.
        readers: who reads its first output, in words.
    """

    op_type: str
    domain: str
    seen: str
    drawing: str
    steps: tuple[Maker | Fixed, ...]
    readers: str


def pattern_of(node: ir.Node, *, depth: int) -> Pattern:
    """Describe a node by what makes its inputs, up to ``depth`` nodes above it."""
    steps = tuple(_steps(node, "node", min(depth, _DEEPEST), _Names()))
    makers = [step for step in steps if isinstance(step, Maker) and step.of == "node"]
    above = " and ".join(step.op_type for step in makers)
    readers = list(dict.fromkeys(label(user) for user, _ in node.outputs[0].uses()))
    return Pattern(
        op_type=node.op_type,
        domain=node.domain,
        seen=node.name or label(node),
        drawing=f"{above or 'x'} -> {_drawn(node)}",
        steps=steps,
        readers=", ".join(readers) or "nobody",
    )


class _Names:
    """Python names that are all different."""

    def __init__(self) -> None:
        self._taken = {"node", "model", "site", "graph"}

    def new(self, stem: str) -> str:
        word = "".join(letter if letter.isalnum() else "_" for letter in stem.lower()).strip("_") or "it"
        name, count = word, 1
        while name in self._taken:
            count += 1
            name = f"{word}_{count}"
        self._taken.add(name)
        return name


def _steps(node: ir.Node, variable: str, depth: int, names: _Names) -> Iterator[Maker | Fixed]:
    for index, value in enumerate(node.inputs):
        if value is None or depth < 1:
            continue
        tensor = constant_tensor(value)
        if tensor is not None:
            yield Fixed(
                variable=names.new("constant"),
                of=variable,
                reader=node.op_type,
                index=index,
                seen=_shown(tensor),
                exact=_is_shown(tensor),
            )
            continue
        maker = value.producer()
        if maker is None:
            continue
        name = names.new(maker.op_type)
        yield Maker(
            variable=name,
            of=variable,
            index=index,
            op_type=maker.op_type,
            domain=maker.domain,
            seen=label(maker),
        )
        yield from _steps(maker, name, depth - 1, names)


def _drawn(node: ir.Node) -> str:
    constants = [
        _shown(tensor)
        for index in range(len(node.inputs))
        if (tensor := constant_tensor(input_of(node, index))) is not None
    ]
    shape = static_shape(node.outputs[0])
    result = f" -> {shape_text(node.outputs[0].shape)}" if shape is not None else ""
    return f"{node.op_type}({', '.join(constants)}){result}"


def _is_shown(tensor: ir.TensorProtocol) -> bool:
    if tensor.size > _SHOWN:
        return False
    array = tensor.numpy()
    return array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool(np.isfinite(array).all()))


def _shown(tensor: ir.TensorProtocol) -> str:
    if _is_shown(tensor):
        return str(tensor.numpy().tolist())
    sizes: Sequence[int] = tensor.shape.numpy()
    return f"{tensor.dtype.name.lower()}{list(sizes)}"
