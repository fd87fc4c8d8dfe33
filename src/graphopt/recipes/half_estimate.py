"""The stages ``fp16:FILE`` and ``fp16-nms:FILE``: what half precision would answer, estimated on the CPU."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from graphopt.core.errors import PreconditionError
from graphopt.core.onnx_files import load_model, write_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.shapes.shape_inference import infer_types
from graphopt.validate.half_precision import Rounded, Types, round_suppressions, round_tensors

ESTIMATES: dict[str, Callable[[ir.Model, Types], Rounded]] = {
    "fp16": round_tensors,
    "fp16-nms": round_suppressions,
}
"""What each kind of stage rounds."""
ESTIMATE_NOTES = {
    "fp16": "estimate: tensors in float16, sums in float32",
    "fp16-nms": "estimate: boxes and scores in float16 at the NMS only",
}


def estimate_note(text: str) -> str:
    """Return what is to be said beside the numbers of a stage as a user names it; empty for no estimate."""
    return ESTIMATE_NOTES.get(text.partition(":")[0], "")


def half_precision_copy(model: ir.Model, kind: str = "fp16") -> ir.Model:
    """Return a copy that computes in float32 what a chip in half precision is estimated to.

    Args:
        model: left as it is; weights are not read before the copy is run or saved.
        kind: a key of ``ESTIMATES``.

    Raises:
        PreconditionError: it has no suppression to round, or its shapes contradict each other.
    """
    copy = model.clone()
    InlinePass()(copy)
    types = {value: known.dtype for value, known in infer_types(copy).items()}
    ESTIMATES[kind](copy, types)
    return copy


def open_estimate(path: Path, kind: str, *, optimize: bool = False) -> OnnxRuntimeSession:
    """Open a session of the estimate; nothing is written beside the file.

    Args:
        path: an ONNX file.
        kind: a key of ``ESTIMATES``.
        optimize: as for ``OnnxRuntimeSession``; what is rounded stays so.

    Raises:
        InvalidModelError: the file is damaged, or onnxruntime refuses it.
        PreconditionError: as ``half_precision_copy``.
    """
    try:
        copy = half_precision_copy(load_model(path), kind)
    except PreconditionError as error:
        raise PreconditionError(f"{kind}:{path}: {error}") from error
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        place = Path(folder, path.name)
        write_model(copy, place)
        return OnnxRuntimeSession(place, optimize=optimize)
