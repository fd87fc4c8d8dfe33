"""The sha256 of a model with all its weights, which may lie in files beside it."""

import hashlib
from pathlib import Path

from graphopt.core.files import sha256_of
from graphopt.core.onnx_files import data_files


def model_digest(path: Path) -> str:
    """Return the hex sha256 of a model file; one over all of them where weights lie in other files.

    Args:
        path: ``.onnx`` with or without external data, ``.xml`` of OpenVINO with its ``.bin``, or any other
            file, which is taken as it is.

    Raises:
        InvalidModelError: an ONNX file is damaged, or its data are not there.
    """
    own = sha256_of(path)
    others: tuple[Path, ...] = ()
    if path.suffix == ".onnx":
        others = data_files(path)
    elif path.suffix == ".xml" and (weights := path.with_suffix(".bin")).is_file():
        others = (weights,)
    if not others:
        return own
    parts = [own, *(f"{place.name} {sha256_of(place)}" for place in others)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
