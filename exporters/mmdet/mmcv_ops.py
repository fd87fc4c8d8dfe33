"""Stand in for mmcv's compiled operators where these are absent, as with ``mmcv-lite``."""

import functools
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

from graphopt.core.errors import ExportError
from graphopt.core.optional import require
from graphopt.exporters.mmdet import mmcv_kernels

EXTENSION = "mmcv._ext"
KERNELS = ("nms", "roi_align_forward", "deform_conv_forward", "modulated_deform_conv_forward")
"""What ``mmcv_kernels`` supplies, by mmcv's names."""


class StandIn(ModuleType):
    """``mmcv._ext`` with a few operators in PyTorch; every other one raises when it is called."""

    def __init__(self) -> None:
        super().__init__(EXTENSION, "Stand-in for mmcv's compiled operators.")
        for name in KERNELS:
            setattr(self, name, untraced(getattr(mmcv_kernels, name)))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return functools.partial(_refuse, name)


def use_mmcv_operators() -> str:
    """Import ``mmcv.ops``, with the operators in PyTorch where the compiled ones are absent.

    Returns:
        ``"compiled"`` or ``"PyTorch"``: which operators are in use.

    Raises:
        MissingBackendError: there is no mmcv, neither the compiled nor the light one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the age of its own parts
        for name in ("torch", "mmcv"):
            require(name, extra="mmdet", purpose="exporting a detector of mmdet")
        if EXTENSION not in sys.modules and mmcv_operators() == "PyTorch":
            sys.modules[EXTENSION] = StandIn()
        importlib.import_module("mmcv.ops")
    return "PyTorch" if isinstance(sys.modules.get(EXTENSION), StandIn) else "compiled"


def mmcv_operators() -> str:
    """Return which operators are there to be used, importing nothing: as above, empty without mmcv."""
    found = importlib.util.find_spec("mmcv")
    if found is None:
        return ""
    folders = list(found.submodule_search_locations or ())
    return "compiled" if importlib.machinery.PathFinder.find_spec(EXTENSION, folders) else "PyTorch"


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hide what a function does from an export: only the autograd function around it is recorded.

    The exporter follows calls inside of autograd functions, and stumbles over those of these kernels.
    """

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        torch: Any = require("torch", extra="torch", purpose="running the operators of mmcv")
        state = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)
        try:
            with torch.no_grad():
                return function(*arguments, **options)
        finally:
            torch._C._set_tracing_state(state)

    return run


def _refuse(name: str, *_: Any, **__: Any) -> Any:
    raise ExportError(
        f"the operator {name} of mmcv needs the compiled mmcv, which is not installed; without it only "
        f"{', '.join(KERNELS)} run"
    )
