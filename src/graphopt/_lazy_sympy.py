"""Let onnx-ir start without sympy, which it imports for symbolic sizes that most runs never compute with.

sympy is half of the time of ``import onnx_ir`` and 25 MB. Python's own ``LazyLoader`` puts modules in
place that load themselves when something in them is looked at: whoever needs sympy has it, as always.
"""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

_WAITING = ("onnx_ir._symbolic_shapes", "sympy")


class _Finder:
    """Finds sympy while onnx-ir starts, and the module of onnx-ir that looks at it at once."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec that loads lazily, or None: the ordinary finders then look."""
        if name not in _WAITING or not _onnx_ir_is_starting():
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def _onnx_ir_is_starting() -> bool:
    spec = getattr(sys.modules.get("onnx_ir"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


if "onnx_ir" not in sys.modules:
    sys.meta_path.insert(0, _Finder())
