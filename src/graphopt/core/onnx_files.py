"""Load and save ONNX files: the one loader and the one saver of all verbs.

Large weights stay in the file they came from (``FileTensor``) and are copied from there when the
model is saved, so that memory grows with the structure of a model and not with its weights.
"""

import contextlib
import logging
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

from graphopt.core import child
from graphopt.core._ir_checks import check_model
from graphopt.core._native_check import complaint_about
from graphopt.core._onnx_reading import FIRST_WITHOUT_INPUTS, ModelReader, deserialize, open_model
from graphopt.core._onnx_saving import StagedModel, atomic_model
from graphopt.core._onnx_writing import PROTOBUF_LIMIT, layout, to_proto
from graphopt.core._proto_checks import check_proto
from graphopt.core.errors import InvalidModelError
from graphopt.core.external_data import DataFiles
from graphopt.core.garbage import rarely_collected
from graphopt.core.operator_bodies import attached, detach_bodies, move_home
from graphopt.core.tensors import Dim, TensorSpec

__all__ = [
    "FIRST_WITHOUT_INPUTS",
    "StagedModel",
    "atomic_model",
    "check_model_file",
    "checker",
    "count_nodes",
    "from_proto",
    "input_specs",
    "load_model",
    "output_specs",
    "save_model",
    "to_proto",
    "write_model",
]

_log = logging.getLogger(__name__)

_MAX_BYTES = 64 << 30
_CHECK_TIME_S = 300.0
_CHECK_MEMORY_BYTES = 8 << 30


def load_model(path: Path, *, max_bytes: int = _MAX_BYTES, allow_stripped: bool = False) -> ir.Model:
    """Read an ONNX file; large weights are left in it until they are needed.

    Initializers listed as graph inputs are demoted to plain initializers (logged; IR version raised
    to at least 4). Sparse tensors, training information, map and opaque types are refused, not dropped.
    What says nothing is not kept: notes on tensors that do not exist or on initializers' own dtype and
    shape, left-out outputs at the end of a node's list, the long name ``ai.onnx`` of the domain ``""``.

    Args:
        path: the model; external data must lie in its folder or below.
        max_bytes: budget for the model file and its data files together.
        allow_stripped: initializers may lack their values (to look at a model, not to run it).

    Raises:
        InvalidModelError: the file is missing, unreadable, damaged, no ONNX model, larger than the
            budget, or refers to data that it must not refer to.
    """
    with rarely_collected():
        reader = ModelReader(open_model(path), DataFiles(path), max_bytes)
        model = reader.read(allow_stripped=allow_stripped)
        return _completed(model, str(path))


def data_files(path: Path) -> tuple[Path, ...]:
    """Return the files beside an ONNX file that hold weights of it; mostly none.

    Raises:
        InvalidModelError: as ``load_model``.
    """
    with rarely_collected():
        found = DataFiles(path)
        ModelReader(open_model(path), found, _MAX_BYTES).read(allow_stripped=True)
        return found.paths


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """Return the model of a protobuf message, with the checks of ``load_model``.

    The tensors keep referring to ``proto``.

    Raises:
        InvalidModelError: it is incomplete, or has external data.
    """
    where = f"the model {proto.graph.name!r}"

    def refuse(tensor: onnx.TensorProto) -> None:
        raise InvalidModelError(f"{where}: tensor {tensor.name!r} is in another file; use load_model")

    check_proto(proto, where, refuse)
    model = deserialize(proto, where)
    return _completed(model, where)


def save_model(
    model: ir.Model, path: Path, *, force: bool, inputs: tuple[Path, ...] = (), limit: int = PROTOBUF_LIMIT
) -> None:
    """Write an ONNX file that refers to no other, atomically.

    Only a model beyond ``limit`` puts its large initializers into a data file beside it.

    Args:
        model: left as it is.
        path: where it will stand.
        force: replace an existing file.
        inputs: files that must not be the output.
        limit: bytes of the largest model file; protobuf's 2 GiB.

    Raises:
        OutputError: see ``graphopt.core.files.atomic_file``.
        InvalidModelError: the model fits no ONNX file, or a file that holds its weights changed.
    """
    with atomic_model(path, force=force, inputs=inputs, limit=limit) as staged:
        staged.write(model)


def write_model(model: ir.Model, path: Path, *, limit: int = PROTOBUF_LIMIT) -> None:
    """Write an ONNX file in place, for a temporary file that the caller looks after.

    A model beyond ``limit`` bytes gets ``NAME.data`` beside it.

    Raises:
        OSError: it cannot be written.
        InvalidModelError: as ``save_model``.
    """
    data = path.with_name(path.name + ".data")
    with attached(model):
        plan = layout(model, data_name=data.name, limit=limit)
        if plan.external:
            plan.write_data(data)
        plan.write(path)


def checker() -> contextlib.AbstractContextManager[child.Child]:
    """Start a process for a later ``check_model_file``; it is killed when the block ends."""
    return child.started(complaint_about.__module__)


def check_model_file(
    path: Path, *, timeout_s: float = _CHECK_TIME_S, waiting: child.Child | None = None
) -> str | None:
    """Return what the ONNX checker and strict shape inference have against a file, or None.

    The checker is native code that trusts its input: it runs in a child process, and its death is a
    complaint too.

    Args:
        path: an ONNX file.
        timeout_s: seconds before the checker is stopped.
        waiting: a process of ``checker``; used once.

    Raises:
        InvalidModelError: the file is missing, unreadable, or no model.
    """
    structure = ModelReader(open_model(path), DataFiles(path), _MAX_BYTES).structure()
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        target = Path(folder, path.name)
        target.write_bytes(structure.SerializeToString())
        try:
            return child.call(
                complaint_about,
                target,
                timeout_s=timeout_s,
                memory_bytes=_CHECK_MEMORY_BYTES,
                waiting=waiting,
            )
        except child.ChildCrashed as error:
            return f"the ONNX checker died: {error}"


def count_nodes(model: ir.Model) -> int:
    """Return the number of nodes of the main graph and its subgraphs; function bodies do not count."""
    return sum(1 for _ in model.graph.all_nodes())


def input_specs(model: ir.Model) -> tuple[TensorSpec, ...]:
    """Return the graph inputs, in order."""
    return tuple(_spec(value) for value in model.graph.inputs)


def output_specs(model: ir.Model) -> tuple[TensorSpec, ...]:
    """Return the graph outputs, in order."""
    return tuple(_spec(value) for value in model.graph.outputs)


def _completed(model: ir.Model, where: str) -> ir.Model:
    check_model(model, where)
    for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
        if "ai.onnx" in imports:  # its other name; onnx-ir spells it "" in nodes
            imports[""] = imports.pop("ai.onnx")
    _demote_initializers(model, where)
    detach_bodies(model)
    move_home(model)
    return model


def _demote_initializers(model: ir.Model, where: str) -> None:
    graph = model.graph
    kept = [value for value in graph.inputs if value.name not in graph.initializers]
    if demoted := len(graph.inputs) - len(kept):
        graph.inputs.clear()
        graph.inputs.extend(kept)
        model.ir_version = max(model.ir_version, FIRST_WITHOUT_INPUTS)
        _log.info("%s: %d initializers were also graph inputs and are no more", where, demoted)


def _spec(value: ir.Value) -> TensorSpec:
    dims: tuple[Dim, ...] = ()
    if value.shape is not None:
        dims = tuple(_dim(dim) for dim in value.shape)
    return TensorSpec(name=value.name or "", shape=dims, dtype=_dtype_name(value))


def _dim(dim: int | ir.SymbolicDim) -> Dim:
    if isinstance(dim, int):
        return dim if dim >= 0 else None  # some exporters write -1 for an unknown size
    return dim.value


def _dtype_name(value: ir.Value) -> str:
    if value.dtype is None:
        return ""
    return "str" if value.dtype is ir.DataType.STRING else str(value.dtype.numpy())
