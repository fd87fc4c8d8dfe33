"""The ONNX checker, to be run in a child process; imports nothing that starts slowly."""

from pathlib import Path

import onnx
import onnx.checker
import onnx.shape_inference


def complaint_about(path: Path) -> str | None:
    """Return what checker or strict shape inference say about a file, or None."""
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return str(error).strip()
    return None
