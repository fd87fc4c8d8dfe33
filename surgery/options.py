"""Options of passes: dataclass fields, read from what users type."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


def typed_options(owner: str, cls: type, options: Mapping[str, object]) -> dict[str, object]:
    """Return the values of ``options`` in the types of the dataclass's fields.

    Args:
        owner: the pass's name, for messages.
        cls: the dataclass.
        options: texts are converted, other values must already be of the field's type.

    Raises:
        UsageError: an unknown or missing option, or a value of the wrong type.
    """
    fields = option_types(cls)
    for key in options:
        if key not in fields:
            raise UsageError(f"{owner} has no option {key!r}; {_offer(key, fields)}")
    for item in dataclasses.fields(cls):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if item.init and required and item.name not in options:
            raise UsageError(
                f"{owner} needs the option {item.name}: {owner}:{item.name}=VALUE; {_all(fields)}"
            )
    return {key: _typed(owner, key, value, fields[key], fields) for key, value in options.items()}


def option_types(cls: type) -> dict[str, Any]:
    """Return name -> type of the options of a pass, in their order."""
    hints = typing.get_type_hints(cls)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls) if item.init}


_SEVERAL: Mapping[Any, str] = {str: "texts", int: "whole numbers", float: "numbers"}


def type_text(kind: Any) -> str:
    """Return a type as users read it: ``int``, ``one of a|b``, ``texts joined by +``."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + "|".join(str(item.value) for item in kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + "|".join(str(item) for item in arguments)
    if origin is tuple:
        return f"{_SEVERAL.get(arguments[0], type_text(arguments[0]))} joined by +"
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(item) for item in arguments if item is not type(None))
    return getattr(kind, "__name__", str(kind))


def plain(value: object) -> Any:
    """Return an option's value as data that JSON can hold."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _typed(owner: str, key: str, value: object, kind: Any, fields: Mapping[str, Any]) -> object:
    converted = _read(value, kind) if isinstance(value, str) else _accept(value, kind)
    if converted is _WRONG:
        raise UsageError(f"{owner}: {key} must be {type_text(kind)}, not {value!r}; {_all(fields)}")
    return converted


_WRONG = object()
"""Returned for a value that is not of the type: None and False are values."""


def _read(text: str, kind: Any) -> object:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _first(_read(text, item) for item in _most_specific_first(arguments))
    if origin is tuple:
        items = [_read(item, arguments[0]) for item in text.split("+")]
        return _WRONG if _WRONG in items else tuple(items)
    if origin is Literal:
        return next((item for item in arguments if str(item) == text), _WRONG)
    if kind is type(None):
        return None if text in ("none", "") else _WRONG
    if kind is bool:
        word = text.lower()
        return word in _TRUE if word in _TRUE + _FALSE else _WRONG
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next((item for item in kind if text in (str(item.value), item.name.lower())), _WRONG)
    if kind in (int, float, str, Path):
        try:
            return kind(text)
        except ValueError:
            return _WRONG
    return _WRONG


def _accept(value: object, kind: Any) -> object:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _first(_accept(value, item) for item in _most_specific_first(arguments))
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return _WRONG
        read = [_read(v, arguments[0]) if isinstance(v, str) else _accept(v, arguments[0]) for v in value]
        return _WRONG if _WRONG in read else tuple(read)
    if origin is Literal:
        return value if value in arguments else _WRONG
    if origin is not None:  # a Mapping and the like: only Python can give it, and the pass reads it
        return value if isinstance(value, origin) else _WRONG
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, bool):
        return _WRONG
    return value if kind is Any or isinstance(value, kind) else _WRONG


def _most_specific_first(kinds: tuple[Any, ...]) -> list[Any]:
    # "4" is an int for ``int | str``, and "none" is None for ``str | None``.
    order = (type(None), bool, int, float)
    return sorted(kinds, key=lambda kind: order.index(kind) if kind in order else len(order) + (kind is str))


def _first(values: typing.Iterable[object]) -> object:
    return next((value for value in values if value is not _WRONG), _WRONG)


def _offer(key: str, fields: Mapping[str, Any]) -> str:
    hint = did_you_mean(key, fields)
    return f"{hint} {_all(fields)}" if fields and hint.startswith("did") else _all(fields)


def _all(fields: Mapping[str, Any]) -> str:
    if not fields:
        return "it has no options of its own, only expect (int)"
    return "options: " + ", ".join(f"{name} ({type_text(kind)})" for name, kind in fields.items())
