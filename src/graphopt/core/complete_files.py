"""Files whose foreign operators lack their bodies, completed for onnxruntime."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from graphopt.core.errors import GraphoptError
from graphopt.core.onnx_files import load_model, write_model
from graphopt.core.operator_bodies import has_bodies


@contextlib.contextmanager
def with_bodies(path: Path) -> Iterator[Path | None]:
    """Yield a temporary copy in which each operator that has a body is given it; None when none has.

    Args:
        path: a model file; a damaged one yields None too: whoever loads it says why.
    """
    try:
        model = load_model(path)
        needs = has_bodies(model)
    except GraphoptError:
        needs = False
    if not needs:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        copy = Path(folder, path.name)
        write_model(model, copy)
        yield copy
