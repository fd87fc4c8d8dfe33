"""From a checkpoint to raw ONNX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphopt.exporters.bundle import write_bundle
    from graphopt.exporters.checkpoint import Checkpoint, LoadReport, load_into, read_checkpoint
    from graphopt.exporters.legacy_torch16 import write_torch16_form
    from graphopt.exporters.torch_export import export_module
    from graphopt.exporters.torch_session import TorchSession

__all__ = [
    "Checkpoint",
    "LoadReport",
    "TorchSession",
    "export_module",
    "load_into",
    "read_checkpoint",
    "write_bundle",
    "write_torch16_form",
]

# What is asked for comes when it is asked for: reading a checkpoint needs nothing of ONNX.
_MODULES = {
    "bundle": ("write_bundle",),
    "checkpoint": ("Checkpoint", "LoadReport", "load_into", "read_checkpoint"),
    "legacy_torch16": ("write_torch16_form",),
    "torch_export": ("export_module",),
    "torch_session": ("TorchSession",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"graphopt.exporters.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
