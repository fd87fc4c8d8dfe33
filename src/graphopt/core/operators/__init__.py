"""Operators that are not ONNX's own: one file for each, found by walking this folder, and users' plugins."""

import functools
import importlib
from collections.abc import Iterable, Iterator
from types import ModuleType

import onnx
import onnx_ir as ir

from graphopt.core.discovery import find_constant, names_in
from graphopt.core.errors import UsageError
from graphopt.core.foreign_operator import ForeignOperator
from graphopt.core.plugins import loaded_plugins

__all__ = [
    "ForeignOperator",
    "all_operators",
    "at_home",
    "is_standard",
    "operator_modules",
    "operator_of",
    "written_as",
]


def operator_of(node: ir.Node) -> ForeignOperator | None:
    """Return what is known of the operator of a node; None for ONNX's own, and for strangers."""
    return written_as(node.domain, node.op_type)


def at_home(node: ir.Node) -> ForeignOperator | None:
    """Return the operator of a call that stands in its home domain, else None."""
    operator = operator_of(node)
    return operator if operator is not None and operator.home == node.domain else None


def written_as(domain: str, op_type: str) -> ForeignOperator | None:
    """Return the operator that is written so, at home or elsewhere."""
    if domain == "" and _is_standard(op_type):
        return None
    return _built_in().get((domain, op_type)) or _plugged_in().get((domain, op_type))


def all_operators() -> tuple[ForeignOperator, ...]:
    """Return all operators, plugins' too, by name."""
    found = {id(item): item for item in (*_built_in().values(), *_plugged_in().values())}
    return tuple(sorted(found.values(), key=lambda item: (item.home, item.op_type)))


def operator_modules() -> Iterator[tuple[ForeignOperator, ModuleType, str]]:
    """Yield each operator with the module that defines it, and a plugin's file (else an empty text).

    Raises:
        UsageError: a plugin cannot be loaded, or defines an operator that exists.
    """
    for name in names_in(__name__):
        module = importlib.import_module(f"{__name__}.{name}")
        yield module.OPERATOR, module, ""
    _plugged_in()
    for plugin in loaded_plugins():
        if hasattr(plugin.module, "OPERATOR"):
            yield plugin.module.OPERATOR, plugin.module, str(plugin.path)


def is_standard(domain: str, op_type: str) -> bool:
    """Whether ONNX itself defines an operator, of its own domains."""
    return bool(onnx.defs.has(op_type, domain))


@functools.cache
def _is_standard(op_type: str) -> bool:
    return bool(onnx.defs.has(op_type))


@functools.cache
def _built_in() -> dict[tuple[str, str], ForeignOperator]:
    return _by_spelling(
        find_constant(__name__, name, "OPERATOR", ForeignOperator, kind="operator")
        for name in names_in(__name__)
    )


def _plugged_in() -> dict[tuple[str, str], ForeignOperator]:
    found: dict[tuple[str, str], ForeignOperator] = {}
    for plugin in loaded_plugins():
        item = getattr(plugin.module, "OPERATOR", None)
        if item is None:
            continue
        if not isinstance(item, ForeignOperator):
            raise UsageError(
                f"{plugin.path}: OPERATOR must be a ForeignOperator of graphopt.core.foreign_operator"
            )
        own = _by_spelling([item])
        if taken := next((key for key in own if key in _built_in() or key in found), None):
            owner = "graphopt" if taken in _built_in() else "another plugin"
            raise UsageError(
                f"{plugin.path}: {taken[0] or 'default'}::{taken[1]} is an operator of {owner} already"
            )
        found |= own
    return found


def _by_spelling(operators: Iterable[ForeignOperator]) -> dict[tuple[str, str], ForeignOperator]:
    return {
        (domain, item.op_type): item
        for item in operators
        for domain in dict.fromkeys((item.home, *item.domains))
    }
