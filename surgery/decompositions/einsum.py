"""Einsum of one or two operands as Transpose, Reshape, MatMul and ReduceSum."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.surgery.versioned_builder import VersionedBuilder

Sizes = tuple[int | None, ...]


@dataclass(frozen=True)
class Equation:
    """An equation whose letters are axes.

    Attributes:
        operands: the letters of each input.
        result: the letters of the output.
    """

    operands: tuple[str, ...]
    result: str


def parse_equation(text: str) -> Equation | str:
    """Read ``ij,jk->ik``; return why it cannot be written out (a clause) instead of an equation."""
    text = text.replace(" ", "")
    if "." in text:
        return "its equation has an ellipsis"
    left, arrow, right = text.partition("->")
    operands = tuple(left.split(","))
    if not all(re.fullmatch("[A-Za-z]*", letters) for letters in (*operands, right)):
        return f"its equation {text!r} is not understood"
    if not arrow:
        counts = sorted(letter for letter in set(left) - {","} if left.count(letter) == 1)
        right = "".join(counts)
    if len(operands) > 2:
        return f"it has {len(operands)} operands"
    if any(len(set(letters)) != len(letters) for letters in (*operands, right)):
        return "a letter stands twice in one operand (a diagonal)"
    if set(right) - set("".join(operands)):
        return f"its equation {text!r} is not understood"
    return Equation(operands, right)


def why_not(equation: Equation, shapes: Sequence[Sizes | None]) -> str | None:
    """Return why the sizes do not allow it (a clause), or None."""
    for letters, shape in zip(equation.operands, shapes, strict=True):
        if shape is None or len(shape) != len(letters):
            return "the rank of an operand is not known, or not that of the equation"
    if len(equation.operands) == 1:
        return None
    sizes = _sizes(equation, shapes)
    for letter in sizes:
        known = {_size_in(equation, shapes, operand, letter) for operand in (0, 1)} - {None}
        if len(known) > 1:
            return f"axis {letter} has sizes {sorted(size for size in known if size is not None)}"
    roles = _Roles.of(equation)
    merged = [group for group in (roles.left, roles.right, roles.summed) if len(group) > 1]
    unknown = [letter for letter in sizes if sizes[letter] is None]
    if any(letter in unknown for group in merged for letter in group) or (merged and len(unknown) > 1):
        return f"the sizes of axes {', '.join(unknown)} are not known"
    if merged and 0 in sizes.values():
        return "an axis is empty"
    return None


def einsum(
    new: VersionedBuilder, inputs: Sequence[ir.Value], equation: Equation, shapes: Sequence[Sizes]
) -> ir.Value:
    """Write an equation that ``why_not`` has nothing against."""
    if len(inputs) == 1:
        own = equation.operands[0]
        kept = "".join(letter for letter in own if letter in equation.result)
        return _transpose(new, _sum_away(new, inputs[0], own, kept), kept, equation.result)
    roles, sizes = _Roles.of(equation), _sizes(equation, shapes)
    wanted = (roles.batch + roles.left + roles.summed, roles.batch + roles.summed + roles.right)
    factors = []
    for value, own, order, other in zip(
        inputs, equation.operands, wanted, (equation.operands[1], equation.operands[0]), strict=True
    ):
        kept = "".join(letter for letter in own if letter in equation.result or letter in other)
        factors.append(_transpose(new, _sum_away(new, value, own, kept), kept, order))
    left = _merge(new, factors[0], (roles.batch, roles.left, roles.summed), sizes)
    right = _merge(new, factors[1], (roles.batch, roles.summed, roles.right), sizes)
    product = new.op("MatMul", left, right)
    split = _split(new, product, roles, sizes)
    return _transpose(new, split, roles.batch + roles.left + roles.right, equation.result)


@dataclass(frozen=True)
class _Roles:
    """Which letters do what in a product of two."""

    batch: str
    left: str
    right: str
    summed: str

    @classmethod
    def of(cls, equation: Equation) -> "_Roles":
        first, second = equation.operands
        result = equation.result
        both = [letter for letter in first if letter in second]
        return cls(
            batch="".join(letter for letter in both if letter in result),
            left="".join(letter for letter in first if letter in result and letter not in second),
            right="".join(letter for letter in second if letter in result and letter not in first),
            summed="".join(letter for letter in both if letter not in result),
        )


def _size_in(equation: Equation, shapes: Sequence[Sizes | None], operand: int, letter: str) -> int | None:
    shape, letters = shapes[operand], equation.operands[operand]
    return None if shape is None or letter not in letters else shape[letters.index(letter)]


def _sizes(equation: Equation, shapes: Sequence[Sizes | None]) -> dict[str, int | None]:
    sizes: dict[str, int | None] = {}
    for operand, letters in enumerate(equation.operands):
        for letter in letters:
            sizes[letter] = sizes.get(letter) or _size_in(equation, shapes, operand, letter)
    return sizes


def _sum_away(new: VersionedBuilder, value: ir.Value, letters: str, kept: str) -> ir.Value:
    axes = [axis for axis, letter in enumerate(letters) if letter not in kept]
    return new.reduce("ReduceSum", value, axes, keepdims=False) if axes else value


def _transpose(new: VersionedBuilder, value: ir.Value, letters: str, order: str) -> ir.Value:
    if letters == order:
        return value
    return new.op("Transpose", value, attributes={"perm": [letters.index(letter) for letter in order]})


def _merge(
    new: VersionedBuilder, value: ir.Value, groups: tuple[str, str, str], sizes: dict[str, int | None]
) -> ir.Value:
    """Bring ``[batch..., rows..., columns...]`` to ``[batch..., rows, columns]``."""
    batch, rows, columns = groups
    if len(rows) <= 1 and len(columns) <= 1:
        missing = [len(batch)] if not rows else []
        missing += [len(batch) + 1] if not columns else []
        return new.unsqueeze(value, missing) if missing else value
    shape = [_free(sizes[letter]) for letter in batch] + [_product(rows, sizes), _product(columns, sizes)]
    return new.op("Reshape", value, new.constant(np.array(shape, np.int64), "merged"))


def _split(new: VersionedBuilder, value: ir.Value, roles: _Roles, sizes: dict[str, int | None]) -> ir.Value:
    batch, rows, columns = roles.batch, roles.left, roles.right
    if len(rows) <= 1 and len(columns) <= 1:
        extra = [len(batch)] if not rows else []
        extra += [len(batch) + 1] if not columns else []
        return new.squeeze(value, extra) if extra else value
    shape = [_free(sizes[letter]) for letter in batch + rows + columns]
    return new.op("Reshape", value, new.constant(np.array(shape, np.int64), "split"))


def _free(size: int | None) -> int:
    return -1 if size is None else size


def _product(letters: str, sizes: dict[str, int | None]) -> int:
    known = [sizes[letter] for letter in letters]
    return -1 if None in known else math.prod(size for size in known if size is not None)
