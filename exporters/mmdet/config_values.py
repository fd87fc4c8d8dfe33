"""Evaluate a Python file of settings as data: literals, ``dict(...)``, names, nothing that is a program."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from graphopt.core.errors import UsageError

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_LARGE = 10_000
"""Elements that repeating a list or a string may make; no setting of a detector has more."""


def _numbers(*arguments: int) -> range:
    found = range(*arguments)
    if len(found) > _LARGE:
        raise UsageError("it counts further than any setting needs")
    return found


_CALLS: Mapping[str, Callable[..., Any]] = {
    "dict": dict,
    "list": list,
    "tuple": tuple,
    "len": len,
    "range": _numbers,
    "int": int,
    "float": float,
}
"""Functions that only make data of data."""


class Unreadable:
    """Stands for a value that only running the file would give.

    Attributes:
        why: where it is made, a clause.
    """

    def __init__(self, why: str) -> None:
        self.why = why


def evaluate_settings(tree: ast.Module, names: dict[str, Any]) -> None:
    """Put what the statements of a file assign into ``names``, in order.

    What cannot be read without running it becomes ``Unreadable``, so that a file is refused only for
    what is needed of it.

    Args:
        tree: of the file.
        names: what the file sees; changed in place.
    """
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        try:
            _execute(statement, names)
        except (UsageError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            reason = Unreadable(f"line {statement.lineno}: {error}")
            for name in _touched(statement):
                names[name] = reason


def _execute(statement: ast.stmt, names: dict[str, Any]) -> None:
    match statement:
        case ast.Assign(targets=targets, value=value):
            found = _value(value, names)
            for target in targets:
                _assign(target, found, names)
        case ast.AugAssign(target=ast.Name(id=name), op=action, value=value):
            names[name] = _binary(action, _value(ast.Name(name), names), _value(value, names))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            names[name] = _value(value, names)
        case ast.Delete(targets=targets):
            for target in targets:
                _delete(target, names)
        case _:
            raise UsageError(f"{type(statement).__name__.lower()} is code, not a setting")


def _assign(target: ast.expr, found: Any, names: dict[str, Any]) -> None:
    match target:
        case ast.Name(id=name):
            names[name] = found
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part, item in zip(parts, found, strict=True):
                _assign(part, item, names)
        case ast.Subscript(value=value, slice=key):
            _value(value, names)[_value(key, names)] = found
        case ast.Attribute(value=value, attr=name):
            _value(value, names)[name] = found
        case _:
            raise UsageError("something else than a name is assigned to")


def _delete(target: ast.expr, names: dict[str, Any]) -> None:
    match target:
        case ast.Name(id=name):
            del names[name]
        case ast.Attribute(value=value, attr=name):
            del _value(value, names)[name]
        case ast.Subscript(value=value, slice=key):
            del _value(value, names)[_value(key, names)]
        case _:
            raise UsageError("something else than a name is deleted")


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            if name not in names:
                raise UsageError(f"{name} is not defined here")
            return names[name]
        case ast.List(elts=parts):
            return [_value(part, names) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_value(part, names) for part in parts)
        case ast.Dict(keys=keys, values=values):
            return _mapping(keys, values, names)
        case ast.Attribute(value=value, attr=name):
            return _item(_value(value, names), name)
        case ast.Subscript(value=value, slice=key):
            return _item(_value(value, names), _value(key, names))
        case ast.Slice(lower=lower, upper=upper, step=step):
            return slice(*(None if part is None else _value(part, names) for part in (lower, upper, step)))
        case _:
            return _computed(node, names)


def _computed(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.UnaryOp(op=action, operand=value) if type(action) in _UNARY:
            return _UNARY[type(action)](_value(value, names))
        case ast.BinOp(left=left, op=action, right=right):
            return _binary(action, _value(left, names), _value(right, names))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, names) else other, names)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=options) if name in _CALLS:
            given: dict[str, Any] = {}
            for option in options:
                value = _value(option.value, names)
                given.update(value if option.arg is None else {option.arg: value})
            return _CALLS[name](*(_value(item, names) for item in arguments), **given)
        case ast.ListComp(elt=element, generators=[ast.comprehension() as loop]) if not loop.is_async:
            return _each(element, loop, names)
        case ast.JoinedStr(values=parts):
            return "".join(str(_value(part, names)) for part in parts)
        case ast.FormattedValue(value=value, format_spec=None):
            return _value(value, names)
        case _:
            raise UsageError(f"{ast.unparse(node)[:60]!r} is code, not a setting")


def _each(element: ast.expr, loop: ast.comprehension, names: Mapping[str, Any]) -> list[Any]:
    """Evaluate a list that is written as one loop over another list."""
    items = _value(loop.iter, names)
    if not isinstance(items, (list, tuple, range)) or len(items) > _LARGE:
        raise UsageError(f"{ast.unparse(loop.iter)[:60]!r} is no list that is looped over here")
    found = []
    for item in items:
        inner = dict(names)
        _assign(loop.target, item, inner)
        if all(_value(test, inner) for test in loop.ifs):
            found.append(_value(element, inner))
    return found


def _mapping(keys: list[ast.expr | None], values: list[ast.expr], names: Mapping[str, Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in zip(keys, values, strict=True):
        item = _value(value, names)
        found.update(item if key is None else {_value(key, names): item})
    return found


def _item(value: Any, key: Any) -> Any:
    if isinstance(value, Unreadable):
        return value
    return value[key]


def _binary(action: ast.operator, left: Any, right: Any) -> Any:
    if type(action) not in _BINARY:
        raise UsageError(f"{type(action).__name__} is not read")
    numbers = [item for item in (left, right) if isinstance(item, (int, float))]
    sized = [item for item in (left, right) if isinstance(item, (str, list, tuple))]
    if isinstance(action, ast.Mult) and sized and numbers and len(sized[0]) * numbers[0] > _LARGE:
        raise UsageError("it repeats a list more often than any setting needs")
    if isinstance(action, ast.Pow) and max(map(abs, numbers), default=0) > _LARGE:
        raise UsageError("it is a power of large numbers")
    return _BINARY[type(action)](left, right)


def _touched(statement: ast.stmt) -> set[str]:
    """Return the names that a statement may give other values."""
    found = {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del))
    }
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(item.asname or item.name).partition(".")[0] for item in statement.names}
    for node in ast.walk(statement):  # model['x'] = f(), model.update(...), for ...: model[i] = ...
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            root: ast.expr = node
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            is_read = isinstance(statement, ast.Assign) and isinstance(node.ctx, ast.Load)
            if isinstance(root, ast.Name) and not is_read:
                found.add(root.id)
    return found
