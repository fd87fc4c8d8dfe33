"""Optional backends: imported when first needed, or a sentence that says how to get them."""

import importlib
from types import ModuleType

from graphopt.core.errors import MissingBackendError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional backend.

    Args:
        module: dotted name, e.g. ``"torch"``.
        extra: the extra of the package that installs it.
        purpose: what needs it, as the start of a sentence.

    Raises:
        MissingBackendError: the package is not installed. A package that is installed but
            broken shows its own traceback.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingBackendError(
            f"{purpose} needs the package {error.name}: pip install 'graphopt[{extra}]'"
        ) from error
