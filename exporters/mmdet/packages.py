"""Import mmdet and its family once, quietly, with operators for mmcv."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphopt.core.errors import ExportError, UsageError
from graphopt.core.optional import require
from graphopt.exporters.mmdet.mmcv_ops import use_mmcv_operators

_PURPOSE = "exporting a detector of mmdet"
_OLD_SETUPTOOLS = (
    "; it looks for bases of the form PACKAGE:: there: pip install 'setuptools<81', or write their paths"
)
STUMBLES = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    AssertionError,
    ArithmeticError,
    OSError,
)
"""What code of mmdet and of a user's configuration raises where settings do not fit."""


@dataclass(frozen=True)
class Packages:
    """The parts of mmengine and mmdet that are used.

    Attributes:
        models: mmdet's registry of networks.
        config_type: ``mmengine.Config``.
        sample_type: ``mmdet.structures.DetDataSample``.
    """

    models: Any
    config_type: Any
    sample_type: Any

    def build(self, settings: dict[str, Any]) -> Any:
        """Return the network in eval mode, with seeded random weights.

        Raises:
            ExportError: mmdet refuses the settings, or a package that they need is missing.
        """
        torch: Any = require("torch", extra="mmdet", purpose=_PURPOSE)
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                model: Any = self.models.build(self.config_type({"model": settings}).model)
                model.eval()  # this of some answers nothing
            except STUMBLES as error:
                kind = settings.get("type")
                raise ExportError(f"mmdet cannot build this {kind}: {brief(error)}") from error
            return model

    def config(self, path: Path) -> dict[str, Any]:
        """Run a configuration file and return its settings."""
        try:
            found: dict[str, Any] = self.config_type.fromfile(str(path)).to_dict()
        except (SyntaxError, *STUMBLES) as error:
            advice = _OLD_SETUPTOOLS if getattr(error, "name", "") == "pkg_resources" else ""
            raise UsageError(
                f"mmengine cannot run the configuration {path}: {brief(error)}{advice}"
            ) from error
        return found


def brief(error: Exception) -> str:
    """Return the message of an error of another package, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings: those of mmdet and mmcv are about their own use of torch, which no user can change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def mmdet_packages() -> Packages:
    """Import the packages; with compiled operators or those in PyTorch.

    Raises:
        MissingBackendError: one of them is not installed.
    """
    use_mmcv_operators()
    with quiet():
        for name in ("torch", "mmengine", "mmdet"):
            require(name, extra="mmdet", purpose=_PURPOSE)
        registry: Any = importlib.import_module("mmengine.registry")
        registry.init_default_scope("mmdet")
        importlib.import_module("mmdet.models")
        return Packages(
            models=importlib.import_module("mmdet.registry").MODELS,
            config_type=importlib.import_module("mmengine").Config,
            sample_type=importlib.import_module("mmdet.structures").DetDataSample,
        )
