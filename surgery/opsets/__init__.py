"""Write operators in the spelling of an older opset: one file per group, found by walking this folder."""

import functools
import importlib
from collections.abc import Mapping

from graphopt.core.discovery import names_in
from graphopt.surgery.opsets.place import Adapter

__all__ = ["adapters"]


@functools.cache
def adapters() -> Mapping[str, Adapter]:
    """Return the adapters of all files here, by operator."""
    found: dict[str, Adapter] = {}
    for name in names_in(__name__):
        module = importlib.import_module(f"{__name__}.{name}")
        found.update(getattr(module, "ADAPTERS", {}))
    return found
