"""The general simplifiers of others as one pass, verified like all others."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import onnx
import onnx_ir as ir

from graphopt.core import child
from graphopt.core.errors import PreconditionError
from graphopt.core.onnx_files import from_proto, to_proto
from graphopt.core.optional import require
from graphopt.surgery.model_pass import Change, ModelPass, Outcome

TIMEOUT_S = 3600.0
_PROTOBUF_LIMIT = 2 << 30


@dataclass(frozen=True, kw_only=True)
class Simplify(ModelPass):
    """Run a general simplifier (onnxsim, OnnxSlim or onnxscript) over the whole model.

    Why: it folds and fuses what no pass of ours knows yet; compare it with ``fold_constants`` and
    ``fuse_batchnorm``, which say what they change.
    Before: any model under 2 GB.
    After: the same function in fewer nodes.
    Seen in: skip_decoder.
    Known as: simplify-first (1).

    Attributes:
        engine: which library does it.
    """

    name: ClassVar[str] = "simplify"

    engine: Literal["onnxsim", "onnxslim", "onnxscript"] = "onnxsim"

    def run(self, model: ir.Model) -> Outcome:
        """Simplify in a child process: native code, which may crash and prints.

        Raises:
            MissingBackendError: the library is not installed.
            PreconditionError: the model is too large for it, or the library failed.
        """
        nbytes = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
        if nbytes >= _PROTOBUF_LIMIT:
            raise PreconditionError(
                f"simplify: the model has {nbytes:,} bytes of weights, {self.engine} takes 2 GB"
            )
        before = to_proto(model)
        try:
            answer = child.call(_simplify, self.engine, before.SerializeToString(), timeout_s=TIMEOUT_S)
        except child.ChildCrashed as error:
            raise PreconditionError(f"simplify: {self.engine} fails on this model: {error}") from error
        after = onnx.load_model_from_string(answer)
        if _essence(before) == _essence(after):
            return Outcome(model=model, changes=())
        return Outcome(model=from_proto(after), changes=_changes(before, after))


def _simplify(engine: str, content: bytes) -> bytes:
    proto = onnx.load_model_from_string(content)
    result: onnx.ModelProto = _ENGINES[engine](proto)
    return bytes(result.SerializeToString())


def _onnxsim(proto: onnx.ModelProto) -> Any:
    return require("onnxsim", extra="simplifiers", purpose="simplify:engine=onnxsim").simplify(proto)[0]


def _onnxslim(proto: onnx.ModelProto) -> Any:
    return require("onnxslim", extra="simplifiers", purpose="simplify:engine=onnxslim").slim(proto)


def _onnxscript(proto: onnx.ModelProto) -> Any:
    library: Any = require("onnxscript", extra="simplifiers", purpose="simplify:engine=onnxscript")
    return library.optimizer.optimize(proto)


_ENGINES: dict[str, Callable[[onnx.ModelProto], Any]] = {
    "onnxsim": _onnxsim,
    "onnxslim": _onnxslim,
    "onnxscript": _onnxscript,
}


def _essence(proto: onnx.ModelProto) -> tuple[object, ...]:
    """Return what makes two models different: shapes noted on inner values and metadata do not."""
    nodes = []
    for node in proto.graph.node:
        bare = onnx.NodeProto()
        bare.CopyFrom(node)
        bare.ClearField("metadata_props")
        bare.ClearField("doc_string")
        nodes.append(bare.SerializeToString(deterministic=True))
    weights = sorted((item.name, item.data_type, tuple(item.dims)) for item in proto.graph.initializer)
    ends = [value.SerializeToString() for value in (*proto.graph.input, *proto.graph.output)]
    versions = sorted((item.domain, item.version) for item in proto.opset_import)
    return nodes, weights, ends, versions, len(proto.functions)


def _changes(before: onnx.ModelProto, after: onnx.ModelProto) -> tuple[Change, ...]:
    old = Counter(node.op_type for node in before.graph.node)
    new = Counter(node.op_type for node in after.graph.node)
    counted = tuple(
        Change(node="", op_type=op, what=f"{old[op]} -> {new[op]} nodes")
        for op in sorted(old | new)
        if old[op] != new[op]
    )
    return counted or (Change(node="", op_type="", what="same operators, other wiring or weights"),)
