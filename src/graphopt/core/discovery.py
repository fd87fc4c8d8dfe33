"""Find passes, targets, recipes and verbs by walking their folder: no registry, no decorators.

The name a user types is the file's name, so one item is found without importing its neighbours.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import TypeVar

from graphopt.core.errors import UsageError

T = TypeVar("T")


def names_in(package: str) -> tuple[str, ...]:
    """Return the sorted public module names of a package, importing none of them."""
    path = importlib.import_module(package).__path__
    return tuple(sorted({m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")}))


def find_class(package: str, name: str, base: type[T], *, kind: str) -> type[T]:
    """Return the one public subclass of ``base`` defined in module ``name`` of ``package``.

    Raises:
        UsageError: there is no such module; the message offers the nearest names.
        TypeError: the module defines none or several such classes, or one of another name.
    """
    module = _module(package, name, kind)
    return class_in(module, base)


def class_in(module: ModuleType, base: type[T]) -> type[T]:
    """Return the one public, concrete subclass of ``base`` defined in ``module``.

    Raises:
        TypeError: none, several, or its ``name`` attribute differs from the file's name.
    """
    found = [
        item
        for item in vars(module).values()
        if inspect.isclass(item)
        and issubclass(item, base)
        and item.__module__ == module.__name__
        and not inspect.isabstract(item)
        and not item.__name__.startswith("_")
    ]
    if len(found) != 1:
        names = ", ".join(item.__name__ for item in found) or "none"
        raise TypeError(f"{module.__name__} must define one public {base.__name__}, found: {names}")
    stem = module.__name__.rpartition(".")[2]
    declared = getattr(found[0], "name", stem)
    if declared != stem:
        raise TypeError(f"{module.__name__}: the class is named {declared!r}, its file {stem!r}")
    return found[0]


def find_constant(package: str, name: str, constant: str, kind_of: type[T], *, kind: str) -> T:
    """Return ``constant`` (e.g. ``RECIPE``) of module ``name`` in ``package``.

    Raises:
        UsageError: there is no such module; the message offers the nearest names.
        TypeError: the module has no such constant of that type.
    """
    module = _module(package, name, kind)
    value = getattr(module, constant, None)
    if not isinstance(value, kind_of):
        raise TypeError(f"{module.__name__} must define {constant}: {kind_of.__name__}")
    return value


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest known names, else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}"


def _module(package: str, name: str, kind: str) -> ModuleType:
    known = names_in(package)
    if name not in known:
        raise UsageError(f"unknown {kind} {name!r}; {did_you_mean(name, known)}")
    return importlib.import_module(f"{package}.{name}")
