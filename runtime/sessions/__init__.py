"""Sessions: one protocol over onnxruntime, OpenVINO and Ascend devices."""

from pathlib import Path

from graphopt.core.errors import InvalidModelError, UsageError
from graphopt.core.session import OnnxRuntimeSession, Session

__all__ = ["open_session"]


def open_session(path: Path, *, optimize: bool = True, device: int = 0) -> Session:
    """Open a model file by its suffix.

    Args:
        path: ``.onnx`` or ``.ort`` (onnxruntime), ``.xml`` (OpenVINO), ``.om`` (Ascend).
        optimize: let onnxruntime rewrite the graph; switch it off to compare a graph as it is.
        device: number of the Ascend device.

    Raises:
        InvalidModelError: the file does not exist or its backend refuses it.
        UsageError: the suffix belongs to no backend.
        MissingBackendError: the backend is not installed.
    """
    if not path.is_file():
        raise InvalidModelError(f"the model {path} does not exist")
    suffix = path.suffix.lower()
    if suffix in (".onnx", ".ort"):
        return OnnxRuntimeSession(path, optimize=optimize)
    if suffix == ".xml":
        from graphopt.runtime.sessions.openvino import OpenVinoSession

        return OpenVinoSession(path)
    if suffix == ".om":
        from graphopt.runtime.sessions.ascend import AscendSession

        return AscendSession(path, device=device)
    raise UsageError(f"{path}: a model ends in .onnx, .ort, .xml or .om")
